//! The first process in a sandbox, and the first process of each call in one that lasts.
//!
//! The keeper executes it with one descriptor that matters as standard input. It is linked statically and
//! needs nothing from the image.
//! - Alone, it starts one program, relays its streams and ends with it ([`relay`]). Every restriction is in force before.
//! - As `gvisor`, it gives up every privilege first, and then does what it does alone ([`gvisor`]).
//! - As `session`, it makes a place for each call ([`session`]): fresh process, mount and IPC namespaces with a copy of
//!   itself as their first process, which gives up every privilege and then does what it does alone ([`place`]).
//!
//! Invariants:
//! - It holds nothing that a program may not have: no secret, no descriptor, no privilege outside of the sandbox.
//! - When the first process of a call ends, the kernel kills everything else of that call (I9).
//! - It reads the control socket whatever the program does with its streams.
//! - Nothing that a program wrote is believed: it is passed on, within limits.
//!
//! Deliberately absent: threads, and memory that grows with the program's output.

mod connect;
mod dying;
mod files;
mod gvisor;
mod interpreter;
mod keeper;
mod pack;
mod place;
mod program;
mod relay;
mod scene;
mod session;
mod stdin;
mod terminal;
mod unpack;

use std::process::ExitCode;

fn main() -> ExitCode {
    // What it is called where processes are listed.
    let _ = rustix::thread::set_name(c"casemate-guest");
    let word = std::env::args_os().nth(1);
    let served = match word.as_ref().and_then(|word| word.to_str()) {
        Some("session") => session::serve(),
        Some("gvisor") => gvisor::serve(),
        _ => relay::serve(),
    };
    // Nobody believes the exit code; it helps who debugs the guest alone.
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

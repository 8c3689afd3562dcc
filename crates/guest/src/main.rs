//! The first process in a sandbox: starts one program, relays its streams, ends with it.
//!
//! The keeper puts it there after every restriction is in force, with one descriptor that matters: the
//! control socket as its standard input. It is linked statically and needs nothing from the image.
//!
//! Invariants:
//! - It holds nothing that the program may not have: no secret, no descriptor, no privilege.
//! - When it ends, the kernel kills everything else in the pid namespace (I9).
//! - It reads the control socket whatever the program does with its streams.
//!
//! Deliberately absent: threads, and memory that grows with the program's output.

mod program;
mod relay;
mod stdin;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Nobody believes the exit code; it helps who debugs the guest alone.
    match relay::serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

//! Hostile programs, each in every tier, and ordinary programs, which go on: as root where this is root, and always as an
//! ordinary user.
//!
//! The keeper needs a process with one thread, so each trial starts this executable again for one suite.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests"
)]

use std::{env, process::ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use tokio::{runtime::Builder, task::LocalSet};

#[path = "../sessions/desk.rs"]
#[allow(dead_code, reason = "the other suite uses more of it")]
mod desk;
mod hostile;
mod life;
mod once;
mod ordinary;
mod programs;
#[path = "../escape/user.rs"]
mod user;

/// Which suite to run; the parent sets it.
const SUITE: &str = "CASEMATE_VIOLATIONS_SUITE";

/// Suites, each a process. What one shows is in its doc comment.
const SUITES: &[&str] = &[
    "hostile_once",
    "hostile_in_gvisor",
    "hostile_in_sessions",
    "hostile_in_contexts",
    "life",
    "ordinary",
];

/// More at once would make the machine's limits the suite's.
const MAX_THREADS: usize = 2;

fn main() -> ExitCode {
    if let Ok(name) = env::var(SUITE) {
        return run(&name);
    }
    let mut arguments = Arguments::from_args();
    let threads = arguments.test_threads.unwrap_or(MAX_THREADS);
    arguments.test_threads = Some(threads.clamp(1, MAX_THREADS));
    let (users, _directory) = user::all().unwrap();
    let mut trials = Vec::new();
    for &name in SUITES {
        for user in users.iter().cloned() {
            let title = format!("{}::{name}", user.name);
            trials.push(Trial::test(title, move || trial(&user, name)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(user: &user::User, name: &str) -> Result<(), Failed> {
    let output = user.command().env(SUITE, name).current_dir("/").output()?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {text}", output.status).into())
}

fn run(name: &str) -> ExitCode {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let set = LocalSet::new();
    set.block_on(&runtime, async {
        match name {
            "hostile_once" => hostile::once().await,
            "hostile_in_gvisor" => hostile::in_gvisor().await,
            "hostile_in_sessions" => hostile::in_sessions().await,
            "hostile_in_contexts" => hostile::in_contexts().await,
            "life" => life::all().await,
            "ordinary" => ordinary::all().await,
            other => panic!("no suite {other}"),
        }
    });
    ExitCode::SUCCESS
}

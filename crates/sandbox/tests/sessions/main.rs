//! Sessions of the namespace tier: as root where this is root, and always as an ordinary user.
//!
//! The keeper needs a process with one thread, so each trial starts this executable again for one case.

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

mod calls;
mod desk;
#[path = "../escape/user.rs"]
mod user;

use self::desk::Desk;

/// Which case to run; the parent sets it.
const CASE: &str = "CASEMATE_SESSIONS_CASE";

/// More at once would make the machine's limits the suite's.
const MAX_THREADS: usize = 2;

type Case = (&'static str, fn(Desk) -> futures_of::Local);

mod futures_of {
    use std::{future::Future, pin::Pin};

    /// What a case comes to.
    pub(crate) type Local = Pin<Box<dyn Future<Output = ()>>>;
}

/// Names cases after their functions.
macro_rules! cases {
    ($($module:ident::$name:ident),+ $(,)?) => {
        &[$((
            concat!(stringify!($module), "::", stringify!($name)),
            (|desk| Box::pin($module::$name(desk))) as fn(Desk) -> futures_of::Local,
        )),+]
    };
}

const CASES: &[Case] = cases![
    calls::a_program_runs_and_files_stay,
    calls::a_cell_runs_in_a_copy_of_the_warm_interpreter,
];

fn main() -> ExitCode {
    if let Ok(name) = env::var(CASE) {
        return run(&name);
    }
    let mut arguments = Arguments::from_args();
    let threads = arguments.test_threads.unwrap_or(MAX_THREADS);
    arguments.test_threads = Some(threads.clamp(1, MAX_THREADS));
    let (users, _directory) = user::all().unwrap();
    let mut trials = Vec::new();
    for (name, _) in CASES {
        for user in users.iter().cloned() {
            let title = format!("{}::{name}", user.name);
            trials.push(Trial::test(title, move || trial(&user, name)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(user: &user::User, name: &str) -> Result<(), Failed> {
    let output = user.command().env(CASE, name).current_dir("/").output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {text}", output.status).into())
}

fn run(name: &str) -> ExitCode {
    let (_, case) = CASES
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a case");
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let set = LocalSet::new();
    set.block_on(&runtime, async { case(Desk::open()).await });
    ExitCode::SUCCESS
}

//! Runs every attempt of the catalogue: in a sandbox that is used once, in one with gVisor in it, and in sessions cold,
//! warm and in contexts; as root where this is root, and always as an ordinary user.
//!
//! The keeper needs a process with one thread, so each trial starts this executable again for one attempt.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests"
)]

use std::{collections::BTreeSet, env, error::Error as _, process::ExitCode};

use casemate_sandbox::{
    Runsc,
    escape::{Attempt, Way, catalogue},
};
use libtest_mimic::{Arguments, Trial};

mod child;
mod failure;
mod trial;
mod user;
mod weak;
mod weak_interpreter;

use self::{trial::Place, user::User};

/// More at once would make the machine's limits the suite's.
const MAX_THREADS: usize = 6;

/// Attempts that do no harm without any sandbox, and must get through there.
const WEAK: &[&str] = &[
    "filesystem/canary_file",
    "inputs/only_declared_variables",
    "network/tcp_to_a_listener_of_the_host",
    "processes/daemon_outlives_its_call",
];

/// Attempts that do no harm to the host as cells of one interpreter, and must get through there.
const WEAK_INTERPRETER: &[&str] = &[
    "interpreter/left_in_its_memory",
    "interpreter/left_in_its_modules",
    "interpreter/left_in_its_process",
];

fn main() -> ExitCode {
    if let Some(attempt) = child::wanted() {
        return child::main(&attempt);
    }
    let mut arguments = Arguments::from_args();
    let threads = arguments.test_threads.unwrap_or(MAX_THREADS);
    arguments.test_threads = Some(threads.clamp(1, MAX_THREADS));
    let attempts = match catalogue() {
        Ok(attempts) => attempts,
        Err(error) => {
            println!("{error}: {}", error.source().unwrap());
            return ExitCode::FAILURE;
        }
    };
    let (users, _directory) = user::all().unwrap();
    let gvisor = Runsc::find(env::var_os("PATH"));
    if let Err(error) = &gvisor {
        assert!(env::var_os("CI").is_none(), "{error}");
        println!("nothing is tried under gVisor: {error}");
    }
    libtest_mimic::run(&arguments, trials(&attempts, &users, gvisor.is_ok())).exit_code()
}

fn trials(attempts: &[Attempt], users: &[User], has_gvisor: bool) -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut wanted = vec![(child::FAILED_STEP, Place::Once)];
    let doctors = attempts.iter().filter(|attempt| attempt.doctor().is_some());
    let doctors: BTreeSet<&str> = doctors.map(Attempt::name).collect();
    for attempt in attempts {
        let name = attempt.name();
        if attempt.ways().any(|way| way == Way::Once) {
            wanted.push((name, Place::Once));
            if has_gvisor {
                wanted.push((name, Place::InGvisor));
            }
        }
        if attempt.ways().any(Way::is_in_session) {
            wanted.push((name, Place::InSessions));
        }
    }
    for (name, place) in wanted {
        for user in users.iter().cloned() {
            // The other half of what gVisor costs: as root those that stand for the rest.
            let stands =
                place != Place::InGvisor || user.name == user::ORDINARY || doctors.contains(name);
            if !stands {
                continue;
            }
            let name = name.to_owned();
            let title = format!("{}::{}::{name}", user.name, place.name());
            trials.push(Trial::test(title, move || trial::held(&name, place, &user)));
        }
    }
    for name in WEAK {
        trials.push(Trial::test(format!("without_a_sandbox::{name}"), || {
            trial::got_through(name, child::WEAK)
        }));
    }
    for name in WEAK_INTERPRETER {
        trials.push(Trial::test(format!("in_one_interpreter::{name}"), || {
            trial::got_through(name, child::WEAK_INTERPRETER)
        }));
    }
    trials
}

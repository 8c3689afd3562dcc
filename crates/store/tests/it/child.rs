//! Other processes: this test program, started again in a role.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{self, Command, Stdio},
};

use casemate_store::{Claimed, Idempotency as _, Keys, SqliteStore, StateDir};

use crate::support::{claim, decision};

const ROLE: &str = "CASEMATE_STORE_TEST_ROLE";
const ROOT: &str = "CASEMATE_STORE_TEST_ROOT";
const ARGUMENT: &str = "CASEMATE_STORE_TEST_ARGUMENT";
/// What marks the lines that a role says, between those of the test harness.
const SAYS: &str = "child says: ";

/// A process in a role.
pub(crate) struct Child {
    process: process::Child,
    said: BufReader<process::ChildStdout>,
}

/// Starts a process in a role on the state directory at `root`.
pub(crate) fn start(role: &str, root: &Path, arguments: &[&str]) -> Child {
    let mut process = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child::role", "--nocapture"])
        .env(ROLE, role)
        .env(ROOT, root)
        .env(ARGUMENT, arguments.join(" "))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(process.stdout.take().unwrap());
    Child { process, said }
}

impl Child {
    /// The next thing that the process says; nothing when it has ended.
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.said.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // The harness writes the test's name without a newline before it.
            if let Some((_, said)) = line.split_once(SAYS) {
                return Some(said.trim_end().to_owned());
            }
        }
    }

    /// Everything that the process says until it ends well.
    pub(crate) fn lines(mut self) -> Vec<String> {
        drop(self.process.stdin.take());
        let lines = std::iter::from_fn(|| self.line()).collect();
        assert!(self.process.wait().unwrap().success());
        lines
    }

    /// SIGKILL; what it had said before.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        let lines = std::iter::from_fn(|| self.line()).collect();
        self.process.wait().unwrap();
        lines
    }
}

fn say(text: &str) {
    println!("{SAYS}{text}");
    std::io::stdout().flush().unwrap();
}

fn wait_for_the_parent() {
    let _ = std::io::stdin().read(&mut [0]);
}

/// A role that other tests start as a process; nothing without one.
#[test]
fn role() {
    let Some(root) = env::var_os(ROOT) else {
        return;
    };
    let argument = env::var(ARGUMENT).unwrap();
    let state = StateDir::open(root.as_ref()).unwrap();
    match env::var(ROLE).unwrap().as_str() {
        "seed" => say(&format!(
            "{:?}",
            *Keys::open(&state).unwrap().signing_seed().unwrap()
        )),
        "seal" => {
            let sealed = Keys::open(&state)
                .unwrap()
                .seal(&argument, b"", b"content")
                .unwrap();
            say(&serde_json::to_string(&sealed).unwrap());
        }
        "count_threads" => count_threads(&state),
        "churn" => churn(&state),
        "claim" => block_on(claim_some(&state, argument.parse().unwrap())),
        "claim_and_wait" => block_on(claim_and_wait(&state)),
        "claim_forever" => block_on(claim_forever(&state)),
        other => panic!("{other} is not a role"),
    }
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future);
}

/// Says how many threads there are before and after everything but the database was used.
fn count_threads(state: &StateDir) {
    let count = || say(&fs::read_dir("/proc/self/task").unwrap().count().to_string());
    count();
    let keys = Keys::open(state).unwrap();
    keys.signing_seed().unwrap();
    let sealed = keys.seal("a", b"", b"content").unwrap();
    keys.unseal("a", b"", &sealed).unwrap();
    count();
}

/// Seals and erases without end.
fn churn(state: &StateDir) {
    loop {
        let keys = Keys::open(state).unwrap();
        keys.signing_seed().unwrap();
        let sealed = keys.seal("a", b"", b"content").unwrap();
        say(&serde_json::to_string(&sealed).unwrap());
        say(&keys.erase("a").unwrap().concat());
    }
}

/// Claims twenty keys as `number` and says which ones it got.
async fn claim_some(state: &StateDir, number: u64) {
    let store = SqliteStore::open(state, "a").await.unwrap();
    for key in 0..20 {
        let name = key.to_string();
        let wanted = claim(&name, "call", number * 1000 + key);
        match store.claim(&wanted).await.unwrap() {
            Claimed::New => say(&name),
            Claimed::InFlight { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn claim_and_wait(state: &StateDir) {
    let store = SqliteStore::open(state, "a").await.unwrap();
    assert_eq!(
        store.claim(&claim("k", "call", 1)).await.unwrap(),
        Claimed::New
    );
    say("claimed");
    wait_for_the_parent();
}

/// Claims keys without end, ends every other one, and says what is done as soon as it is.
async fn claim_forever(state: &StateDir) {
    let store = SqliteStore::open(state, "a").await.unwrap();
    for number in 0.. {
        let name = number.to_string();
        if store.claim(&claim(&name, "call", number)).await.unwrap() == Claimed::New {
            say(&format!("claimed {number}"));
            if number % 2 == 0 {
                store.finish(decision(number), None).await.unwrap();
                say(&format!("finished {number}"));
            }
        }
    }
}

//! Signals, sudden deaths, and what is left.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::home::{Home, Ran, for_everybody};

/// Longer than anything here takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a program and waits for its first line.
fn start(home: &Home, script: &str) -> Child {
    let mut child = home
        .casemate(["run", "--", "bash", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child.stdout = Some(stdout.into_inner());
    child
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn end(child: Child) -> Ran {
    Ran(child.wait_with_output().unwrap())
}

/// The program hears the signal, and may end as it likes.
#[test]
fn a_signal_reaches_the_program_first() {
    for_everybody(|home| {
        for (sent, name) in [
            (Signal::INT, "INT"),
            (Signal::TERM, "TERM"),
            (Signal::HUP, "TERM"),
        ] {
            let script = format!(
                "trap 'echo heard; exit 3' {name}; echo ready; while :; do sleep 0.1; done"
            );
            let child = start(home, &script);
            signal(&child, sent);
            let ran = end(child);
            ran.exits(125).prints("heard\n").says("cancelled (dec_");
        }
        let log = home.log();
        assert_eq!(log[1]["summary"]["stop_reason"], "cancelled");
        assert_eq!(log[1]["summary"]["exit"], serde_json::json!({"code": 3}));
    });
}

/// A program that does not listen dies after its grace, or at once at the second signal.
#[test]
fn a_program_that_does_not_listen_is_killed() {
    let home = Home::new();
    let script = "trap '' INT TERM; echo ready; while :; do sleep 0.1; done";
    let child = start(&home, script);
    signal(&child, Signal::INT);
    end(child).exits(125);
    let child = start(&home, script);
    signal(&child, Signal::INT);
    signal(&child, Signal::TERM);
    end(child).exits(125);
    assert_eq!(home.kinds(), ["allowed", "outcome", "allowed", "outcome"]);
}

/// Whether any process has this word in its command line.
fn is_alive(word: &str) -> bool {
    fs::read_dir("/proc").unwrap().any(|entry| {
        let cmdline = entry.unwrap().path().join("cmdline");
        fs::read(cmdline).is_ok_and(|line| {
            line.split(|byte| *byte == 0)
                .any(|argument| argument == word.as_bytes())
        })
    })
}

/// Waits until a process with this word is there, or gone.
fn wait_until(word: &str, alive: Life) {
    let begin = Instant::now();
    while is_alive(word) != (alive == Life::There) {
        assert!(begin.elapsed() < PATIENCE, "{word} is not {alive:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    There,
    Gone,
}

/// Killed at the worst moment: nothing it started lives on, and the next start closes what it left.
#[test]
fn a_killed_casemate_leaves_no_process_and_no_lie() {
    for_everybody(|home| {
        let word = format!(
            "60.{}{}",
            std::process::id(),
            home.path("").display().to_string().len()
        );
        let script = format!("(setsid sleep {word} &) ; echo ready; sleep {word}");
        let mut child = start(home, &script);
        wait_until(&word, Life::There);
        child.kill().unwrap();
        child.wait().unwrap();
        wait_until(&word, Life::Gone);
        assert_eq!(home.kinds(), ["allowed"]);

        home.run(["run", "--", "true"]).exits(0);
        let log = home.log();
        assert_eq!(home.kinds(), ["allowed", "outcome", "allowed", "outcome"]);
        assert_eq!(log[1]["decision"], log[0]["decision"]);
        assert_eq!(log[1]["summary"]["status"], "unknown");
        home.run(["audit", "verify"]).exits(0);
    });
}

/// The same, under an idempotency key: nobody knows whether it ran, so it does not run again.
#[test]
fn a_killed_call_is_not_repeated_in_silence() {
    let home = Home::new();
    let words = [
        "run",
        "--idempotency-key",
        "k",
        "--",
        "bash",
        "-c",
        "echo ready; exec sleep 60",
    ];
    let mut child = home.casemate(words).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let ran = home.run(words);
    ran.exits(120)
        .prints("")
        .says("refused: outcome_unknown")
        .says("use a new idempotency key");
}

/// R26: what a program leaves running dies with the call.
#[test]
fn nothing_outlives_the_call() {
    for_everybody(|home| {
        let word = format!(
            "61.{}{}",
            std::process::id(),
            home.path("").display().to_string().len()
        );
        let script = format!("(setsid nohup sleep {word} >/dev/null 2>&1 &); sleep 0.1; echo x");
        home.run(["run", "--", "bash", "-c", &script])
            .exits(0)
            .prints("x\n");
        wait_until(&word, Life::Gone);
    });
}

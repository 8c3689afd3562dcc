//! The same key and the same call run once, across processes (R142).

use std::{fs, process::Stdio};

use crate::home::{Home, for_everybody};

#[test]
fn a_repeat_gets_the_first_result() {
    for_everybody(|home| {
        let script = "date +%s%N; echo err >&2; exit 4";
        let words = ["run", "--idempotency-key", "k", "--", "bash", "-c", script];
        let first = home.run(words);
        first.exits(4).says("err\n");
        let second = home.run(words);
        second
            .exits(4)
            .prints(&first.stdout())
            .says("err\n")
            .says("nothing ran");
        let json = home.run([
            "run",
            "--json",
            "--idempotency-key",
            "k",
            "--",
            "bash",
            "-c",
            script,
        ]);
        let answer = json.exits(4).json();
        assert_eq!(answer["stdout"], first.stdout());
        assert_eq!(answer["replay_of"], home.log()[0]["decision"]);
        let kinds = home.kinds();
        assert_eq!(kinds.iter().filter(|kind| *kind == "allowed").count(), 3);
        home.run(["audit", "verify"]).exits(0);
    });
}

#[test]
fn another_call_under_the_same_key_is_refused() {
    for_everybody(|home| {
        home.run(["run", "--idempotency-key", "k", "--", "true"])
            .exits(0);
        let other = home.run(["run", "--idempotency-key", "k", "--", "false"]);
        other.exits(120).says("refused: idempotency_conflict");
        // Other agents have other keys.
        home.run([
            "run",
            "--agent",
            "other",
            "--idempotency-key",
            "k",
            "--",
            "false",
        ])
        .exits(1);
    });
}

/// Of any number of processes at one time exactly one runs the call.
#[test]
fn racing_processes_run_it_once() {
    let home = Home::new();
    let words = [
        "run",
        "--idempotency-key",
        "k",
        "--",
        "sh",
        "-c",
        "sleep 0.3; echo done",
    ];
    let racers: Vec<_> = (0..6)
        .map(|_| {
            let mut command = home.casemate(words);
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut codes: Vec<_> = racers
        .into_iter()
        .map(|racer| racer.wait_with_output().unwrap().status.code().unwrap())
        .collect();
    codes.sort_unstable();
    assert_eq!(codes[0], 0, "{codes:?}");
    assert!(
        codes.iter().all(|code| [0, 120].contains(code)),
        "{codes:?}"
    );
    let ran = home
        .log()
        .iter()
        .filter(|record| record["kind"] == "outcome" && record["summary"]["replay_of"].is_null())
        .count();
    assert_eq!(ran, 1);
    home.run(words).exits(0).prints("done\n");
}

/// I1: a key whose store cannot be read may have been used.
#[test]
fn a_damaged_store_refuses() {
    let home = Home::new();
    home.run(["run", "--idempotency-key", "k", "--", "true"])
        .exits(0);
    fs::write(home.path("state/agents/local/agent.db"), "damaged").unwrap();
    for journal in ["agent.db-wal", "agent.db-shm"] {
        drop(fs::remove_file(
            home.path("state/agents/local").join(journal),
        ));
    }
    let ran = home.run(["run", "--idempotency-key", "k", "--", "echo", "ran"]);
    ran.exits(123).prints("").says("record_unavailable");
    home.run(["run", "--", "echo", "ran"])
        .exits(0)
        .prints("ran\n");
}

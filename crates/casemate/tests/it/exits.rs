//! How `casemate run` ends, and what it says.

use std::process::Command;

use crate::home::{Home, for_everybody};

#[test]
fn the_exit_code_is_the_programs() {
    for_everybody(|home| {
        for code in [0, 1, 2, 42, 124, 255] {
            let ran = home.run(["run", "--", "sh", "-c", &format!("exit {code}")]);
            ran.exits(code).prints("").says("casemate: decision dec_");
        }
        home.run(["run", "--", "sh", "-c", "kill -SEGV $$"])
            .exits(128 + 11);
        home.run(["run", "--", "sh", "-c", "kill -TERM $$"])
            .exits(128 + 15);
    });
}

#[test]
fn quiet_says_nothing_of_its_own() {
    let home = Home::new();
    let ran = home.run(["run", "-q", "--", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!(ran.exits(0).prints("out\n").stderr(), "err\n");
}

#[test]
fn a_command_that_is_not_there_or_not_executable() {
    for_everybody(|home| {
        home.run(["run", "--", "no-such-command"])
            .exits(127)
            .says("`no-such-command` is not in the sandbox");
        home.run(["run", "--", "/etc/hostname-or-not/x"]).exits(127);
        home.run(["run", "--", "/usr"])
            .exits(126)
            .says("cannot be executed");
    });
}

#[test]
fn a_timeout_ends_the_program_and_says_so() {
    for_everybody(|home| {
        let script = "trap '' TERM INT; echo started; while :; do sleep 1; done";
        let ran = home.run(["run", "--timeout", "700ms", "--", "bash", "-c", script]);
        ran.exits(124)
            .prints("started\n")
            .says("casemate: timed out after 700 ms (dec_");
        ran.says("hint: give it more time");
        let outcome = &home.log()[1];
        assert_eq!(outcome["summary"]["stop_reason"], "timed_out");
        assert_eq!(outcome["summary"]["status"], "failed");
    });
}

/// Where nothing enforces the tree's memory, the allocation fails in the program itself.
#[test]
fn too_much_memory_ends_the_program() {
    for_everybody(|home| {
        let code = "x = bytearray(400 << 20); x[::4096] = b'x' * len(x[::4096]); print('had it')";
        let ran = home.run(["run", "--memory", "64MiB", "--", "python3", "-c", code]);
        assert!(!ran.stdout().contains("had it"), "{ran:?}");
        if ran.0.status.code() == Some(122) {
            ran.says("killed: it needs more than 64 MiB of memory (dec_")
                .says("--memory");
        } else {
            ran.exits(1).says("MemoryError");
        }
    });
}

#[test]
fn output_is_cut_at_the_limit() {
    for_everybody(|home| {
        let words = [
            "run",
            "--max-output",
            "1KB",
            "--",
            "sh",
            "-c",
            "head -c 5000 /dev/zero | tr '\\0' x",
        ];
        let ran = home.run(words);
        ran.exits(0)
            .prints(&"x".repeat(1_000))
            .says("cut after 1000 bytes")
            .says("--max-output");
        assert_eq!(home.log()[1]["summary"]["stdout_bytes"], 5_000);
        assert_eq!(home.log()[1]["summary"]["output_truncated"], true);
    });
}

/// Without `/proc` nothing can be measured, so no sandbox is made.
#[test]
fn a_sandbox_that_cannot_be_made_runs_nothing() {
    let home = Home::new();
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let casemate = home.casemate(["run", "--", "echo", "ran"]);
    let hidden = "mount -t tmpfs none /proc && exec \"$@\"";
    let ran = Command::new("unshare")
        .args(["--mount", "sh", "-c", hidden, "-"])
        .arg(casemate.get_program())
        .args(casemate.get_args())
        .env("CASEMATE_STATE_DIR", home.path("state"))
        .output()
        .unwrap();
    let ran = crate::home::Ran(ran);
    ran.exits(121)
        .prints("")
        .says("refused: isolation_unavailable");
    assert_eq!(home.kinds(), ["denied"]);
}

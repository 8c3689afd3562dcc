//! What the policy or the record refuses does not run, and is told in one line with advice.

use std::fs;

use crate::home::{Home, Ran, for_everybody};

/// Nothing ran, the record says why, and so does the line.
#[track_caller]
fn assert_refused(home: &Home, ran: &Ran, reason: &str) {
    ran.exits(120)
        .prints("")
        .says(&format!("casemate: refused: {reason}: "))
        .says("\nhint: ");
    assert!(!home.path("out").exists(), "the program ran");
    let log = home.log();
    let record = log.last().unwrap();
    assert_eq!(record["kind"], "denied");
    assert_eq!(record["summary"]["reason"], reason);
    assert!(ran.stderr().contains(record["decision"].as_str().unwrap()));
}

const LEAVES_A_TRACE: [&str; 3] = ["--", "touch", "/workspace/out/ran"];

#[test]
fn what_the_policy_refuses_does_not_run() {
    for_everybody(|home| {
        let secret = format!("--env=GREETING=ghp_{}", "a1B2".repeat(9));
        for (options, reason) in [
            (&["--timeout", "2h"][..], "limit_exceeded"),
            (&["--memory", "65GiB"], "limit_exceeded"),
            (&["--env", "GITHUB_TOKEN=x"], "secret_in_environment"),
            (&[secret.as_str()], "secret_in_environment"),
            (&["--env", "PATH=/tmp"], "invalid_call"),
            (&["--env", "A B=1"], "invalid_call"),
            (&["--idempotency-key", ""], "invalid_call"),
            (&["--idempotency-key", "a\nb"], "invalid_call"),
        ] {
            let words = ["run", "--out", "out"]
                .iter()
                .chain(options)
                .chain(&LEAVES_A_TRACE);
            assert_refused(home, &home.run(words), reason);
        }
        let show = home.run(["audit", "show", "2", "--json"]).exits(0).stdout();
        assert!(!show.contains("ghp_"), "{show}");
    });
}

/// R4: a profile that cannot be used denies, and the refusal is recorded.
#[test]
fn a_profile_that_cannot_be_used_denies() {
    for_everybody(|home| {
        home.write("empty.json", "");
        home.write("broken.toml", "route = \"run\"\nunknown = 1\n");
        home.write("profile.yaml", "route: run");
        fs::create_dir(home.path("dir.json")).unwrap();
        for file in [
            "empty.json",
            "broken.toml",
            "profile.yaml",
            "dir.json",
            "missing.json",
        ] {
            let options = ["run", "--profile", file, "--out", "out"];
            let ran = home.run(options.iter().chain(&LEAVES_A_TRACE));
            assert_refused(home, &ran, "invalid_profile");
            assert_eq!(
                home.log().last().unwrap()["summary"]["policy"],
                serde_json::Value::Null
            );
        }
        let ran = home.run(["run", "--profile", "broken.toml", "--", "true"]);
        ran.says("broken.toml:2:1").says("unknown");
    });
}

#[test]
fn a_profile_decides() {
    for_everybody(|home| {
        let builtin = home.run(["profile", "show"]).exits(0).stdout();
        let with = |from: &str, to: &str| {
            assert!(builtin.contains(from), "{from}");
            home.write("p.toml", builtin.replace(from, to));
        };
        let run = || {
            home.run(
                ["run", "--profile", "p.toml", "--out", "out"]
                    .iter()
                    .chain(&LEAVES_A_TRACE),
            )
        };
        with("[\"python\", \"shell\"]", "[\"python\"]");
        assert_refused(home, &run(), "missing_scope");
        with(
            "workspace = \"/workspace\"",
            "workspace = \"/workspace\"\ntier = \"vm\"",
        );
        assert_refused(home, &run(), "isolation_unavailable");
        with("casemate:local", "https://id.example.com");
        assert_refused(home, &run(), "untrusted_issuer");
        with("max_runtime_ms = 3_600_000", "max_runtime_ms = 300");
        let slow = ["run", "--profile", "p.toml", "--", "sleep", "60"];
        home.run(slow).exits(124).says("300 ms");
    });
}

/// R175: there is nobody at this command line who could approve.
#[test]
fn a_call_that_needs_an_approval_is_held_and_does_not_run() {
    let home = Home::new();
    let builtin = home.run(["profile", "show"]).stdout();
    let held = builtin.replace("approval_required = []", "approval_required = [\"shell\"]");
    home.write("p.toml", held);
    let words = ["run", "--profile", "p.toml", "--out", "out"];
    let ran = home.run(words.iter().chain(&LEAVES_A_TRACE));
    ran.exits(120)
        .prints("")
        .says("refused: approval_required: ")
        .says("hint: ask an approver");
    assert!(!home.path("out").exists());
    assert_eq!(home.kinds(), ["held"]);
}

/// I1: no durable record, no action.
#[test]
fn without_a_record_nothing_runs() {
    for_everybody(|home| {
        let record = |what: &str| {
            let words = ["run", "--out", "out"];
            let ran = home.run(words.iter().chain(&LEAVES_A_TRACE));
            ran.exits(123)
                .prints("")
                .says("refused: record_unavailable: ");
            assert!(!home.path("out").exists(), "{what}");
        };
        home.write("state", "a file");
        record("a file in place of the state directory");
        fs::remove_file(home.path("state")).unwrap();

        home.run(["run", "--", "true"]).exits(0);
        let log = home.path("state/ledger/log");
        let genuine = fs::read(&log).unwrap();
        let mut tampered = genuine.clone();
        let last = tampered.len() - 10;
        tampered[last] ^= 1;
        let cut = &genuine[..genuine.len() / 2];
        for (what, content) in [("tampered", tampered.as_slice()), ("cut", cut)] {
            fs::write(&log, content).unwrap();
            record(what);
        }
        fs::write(&log, &genuine).unwrap();
        home.run(["run", "--", "true"]).exits(0);
    });
}

/// A state directory that others can write to is not trusted with a record.
#[test]
fn a_state_directory_open_to_others_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    for_everybody(|home| {
        fs::create_dir(home.path("state")).unwrap();
        home.give("state");
        fs::set_permissions(home.path("state"), fs::Permissions::from_mode(0o777)).unwrap();
        let ran = home.run(["run", "--out", "out"].iter().chain(&LEAVES_A_TRACE));
        ran.exits(123).says("others can write");
        assert!(!home.path("out").exists());
    });
}

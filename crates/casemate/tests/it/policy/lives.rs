//! A living gateway, and what is brought into force meanwhile.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use super::{NO_SHELL, Sketch, activate, break_in, in_force, policy, trial};
use crate::{home::Home, keeper::Keepers, serve::Gateway};

const NO_SOLVER: [&str; 2] = ["--solver", "/nonexistent"];

/// I13, R150: whatever comes into force is what the next decision is made by, and a rollback is one command.
#[test]
fn the_next_decision_is_made_by_what_is_in_force() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let wide = break_in(&home, &Sketch::wide(1).write(&home, "wide"));
    let gateway = Gateway::start(&home);
    let asked = |thread: &str| {
        let call = ["call", "--thread", thread, "--", "echo", "ran"];
        gateway.run(&call).status.code()
    };
    assert_eq!(asked("t"), Some(0));
    let narrow = Sketch::narrow(2).write(&home, "narrow");
    activate(&home, &narrow, &NO_SOLVER).exits(0);
    assert_eq!(asked("u"), Some(120));
    let ran = policy(&home, ["rollback"]);
    let stdout = ran.exits(0).stdout();
    let now = format!("{wide} is in force: small version 1 (");
    assert!(stdout.starts_with(&now), "{stdout}");
    assert_eq!(asked("v"), Some(0));
    assert_eq!(in_force(&home), Some(1));
    policy(&home, ["rollback"]).exits(1);
    let log = home.log();
    let back = |record: &&Value| record["summary"]["tool"] == "policy.rollback";
    let back = log.iter().find(back).unwrap();
    assert_eq!(back["summary"]["alert"], true);
    for version in 3..8 {
        let thread = format!("v{version}");
        let narrow = version % 2 == 1;
        let next = match narrow {
            true => Sketch::narrow(version),
            false => Sketch::wide(version),
        };
        break_in(&home, &next.write(&home, &thread));
        let code = if narrow { 120 } else { 0 };
        assert_eq!(asked(&thread), Some(code), "version {version}");
    }
    let log = home.log();
    let used: BTreeSet<_> = log
        .iter()
        .filter(|record| record["summary"]["tool"] == "shell" && record["kind"] != "outcome")
        .map(|record| record["summary"]["policy"].to_string())
        .collect();
    assert_eq!(used.len(), 7, "{used:?}");
    home.run(["audit", "verify"]).exits(0);
}

/// I13, I8: a session that is open is decided about by what is in force; one whose profile was changed is over.
#[test]
fn an_open_session_meets_the_new_bundle() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    break_in(&home, &Sketch::wide(1).write(&home, "wide"));
    let gateway = Gateway::start(&home);
    let call = ["call", "--thread", "t", "--", "echo", "ran"];
    let refused = |reason: &str| {
        let output = gateway.run(&call);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(120), "{error}");
        assert!(
            output.stdout.is_empty() && error.contains(reason),
            "{error}"
        );
    };
    assert_eq!(gateway.says(&call), "ran\n");
    let guarded = Sketch::wide(2).with("policies/shell.cedar", NO_SHELL);
    activate(&home, &guarded.write(&home, "guarded"), &NO_SOLVER).exits(0);
    refused("policy_forbids");
    policy(&home, ["rollback"]).exits(0);
    assert_eq!(gateway.says(&call), "ran\n");
    activate(&home, &Sketch::narrow(3).write(&home, "narrow"), &NO_SOLVER).exits(0);
    refused("session_gone");
    refused("missing_scope");
}

/// I1: a gateway that cannot tell what is in force refuses, and decides again once it can.
#[test]
fn a_gateway_refuses_while_nobody_can_tell_what_is_in_force() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    break_in(&home, &Sketch::wide(1).write(&home, "wide"));
    let gateway = Gateway::start(&home);
    let call = ["call", "--thread", "t", "--", "echo", "ran"];
    assert!(gateway.run(&call).status.success());
    let current = home.path("state/policy/current");
    let whole = fs::read(&current).unwrap();
    for damaged in [Vec::new(), [&whole[..], b"x"].concat()] {
        fs::write(&current, damaged).unwrap();
        let refused = gateway.run(&call);
        assert!(!refused.status.success(), "{refused:?}");
        assert!(refused.stdout.is_empty(), "{refused:?}");
        fs::write(&current, &whole).unwrap();
        assert_eq!(gateway.says(&call), "ran\n");
    }
    fs::remove_file(&current).unwrap();
    assert!(!gateway.run(&call).status.success());
}

/// R98, R151: a gateway that lives meets the gate of whatever comes into force, also of the first bundle.
#[test]
fn a_living_gateway_meets_the_gate_of_what_comes_into_force() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let gateway = Gateway::start(&home);
    let asked = |thread: &str| gateway.run(&["call", "--thread", thread, "--", "echo", "ran"]);
    assert_eq!(asked("built-in").status.code(), Some(0));
    break_in(&home, &Sketch::wide(1).write(&home, "wide"));
    assert_eq!(asked("first").status.code(), Some(0));
    let log = home.log();
    let ran = |record: &&Value| record["kind"] == "allowed" && record["summary"]["tool"] == "shell";
    let last = log.iter().rfind(ran).unwrap();
    assert_eq!(last["summary"]["route"], "work", "{last}");
    let closed = Sketch {
        sandbox: "tier = \"vm\"",
        ..Sketch::wide(2).with("tests/work.toml", trial("allow", "allowed"))
    };
    break_in(&home, &closed.write(&home, "closed"));
    for _ in 0..2 {
        let refused = asked("second");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(
            !refused.status.success() && refused.stdout.is_empty(),
            "{said}"
        );
        assert!(said.contains("isolation_unavailable"), "{said}");
    }
    policy(&home, ["rollback"]).exits(0);
    assert_eq!(asked("third").status.code(), Some(0));
    home.run(["audit", "verify"]).exits(0);
}

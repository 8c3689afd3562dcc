//! What is decided under a bundle, and what can be told of it.

use std::path::Path;

use super::{Sketch, activate, in_force, newest_decision, policy, shell};
use crate::home::Home;

fn library() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/policies")
}

/// R140, R144: the library is valid, passes its tests, and is shown in Cedar; none of that leaves a trace.
#[test]
fn the_library_is_checked_tested_and_shown() {
    let home = Home::new();
    let ran = policy(&home, ["check", library()]);
    let stdout = ran.exits(0).stdout();
    assert!(
        stdout.starts_with("library version 1: valid, sha256:"),
        "{stdout}"
    );
    for route in ["support_refund_assistant", "billing", "coding", "research"] {
        assert!(stdout.contains(route), "{stdout}");
    }
    let ran = policy(&home, ["test", library()]);
    let stdout = ran.exits(0).stdout();
    assert!(stdout.ends_with(" passed, 0 failed\n"), "{stdout}");
    assert!(!stdout.starts_with("0 "), "{stdout}");
    let ran = policy(&home, ["show", library()]);
    let stdout = ran.exits(0).stdout();
    assert!(stdout.contains("forbid") && stdout.contains("no_credit_after_untrusted_text"));
    assert!(home.is_untouched());
}

/// R144, R150, I13: the first bundle is proved and comes into force; calls are decided under it, the log names it,
/// and each decision is explained and made again with the same answer.
#[test]
fn a_decision_names_its_bundle_and_is_made_again() {
    let home = Home::new();
    home.run(["run", "--route", "work", "--", "true"])
        .exits(120)
        .says("policy_error: the policy cannot be read: no bundle is in force");
    let wide = Sketch::wide(1).write(&home, "wide");
    let ran = activate(&home, &wide, &[]);
    ran.exits(0);
    assert_eq!(in_force(&home), Some(1));
    let digest = ran.stdout().lines().last().unwrap().to_owned();
    let (digest, rest) = digest.split_once(' ').unwrap();
    assert!(rest.starts_with("is in force (dec_"), "{rest}");
    activate(&home, &wide, &[])
        .exits(0)
        .prints(&format!("{digest} is in force already\n"));
    policy(&home, ["prove"]).exits(0);

    shell(&home).exits(0).prints("ran\n");
    let allowed = newest_decision(&home);
    let log = home.log();
    let made = log.iter().find(|record| record["decision"] == *allowed);
    let made = made.unwrap();
    assert_eq!(made["summary"]["policy"], digest);
    assert_eq!(made["summary"]["route"], "work");
    let ran = policy(&home, ["explain", &allowed]);
    let stdout = ran.exits(0).stdout();
    assert!(
        stdout.starts_with(&format!("{allowed}: allow (allowed)\n")),
        "{stdout}"
    );
    assert!(stdout.contains(digest), "{stdout}");
    let again = format!("{allowed}: the same answer again: allow (allowed)\n");
    policy(&home, ["replay", &allowed]).exits(0).prints(&again);

    // It is made again under the policy of then, whatever is in force now.
    let narrow = Sketch::narrow(2).write(&home, "narrow");
    let ran = activate(&home, &narrow, &[]);
    let stdout = ran.exits(0).stdout();
    assert!(
        stdout.contains(&format!("replayed {allowed}: allow then, deny now")),
        "{stdout}"
    );
    shell(&home).exits(120).prints("").says("missing_scope");
    let denied = newest_decision(&home);
    policy(&home, ["replay", &allowed]).exits(0).prints(&again);
    let again = format!("{denied}: the same answer again: deny (missing_scope)\n");
    policy(&home, ["replay", &denied]).exits(0).prints(&again);
    let ran = policy(&home, ["explain", &denied]);
    let stdout = ran.exits(0).stdout();
    assert!(
        stdout.starts_with(&format!("{denied}: deny (missing_scope)\n")),
        "{stdout}"
    );
    assert!(stdout.contains("\n  NO "), "{stdout}");
    assert!(stdout.contains("\nwhat to do: "), "{stdout}");
    let json = policy(&home, ["explain", "--json", &denied]).json();
    assert_eq!(json["decided"]["reason"], "missing_scope");
    assert_eq!(json["inputs"]["route"], "work");
    home.run(["audit", "verify"]).exits(0);
}

/// A policy of the bundle forbids what its profile allows, and the explanation names it.
#[test]
fn a_forbid_wins_and_is_named() {
    let home = Home::new();
    let bundle = Sketch::wide(1).with("policies/shell.cedar", super::NO_SHELL);
    super::break_in(&home, &bundle.write(&home, "bundle"));
    shell(&home).exits(120).says("policy_forbids");
    let ran = policy(&home, ["explain", &newest_decision(&home)]);
    let stdout = ran.exits(0).stdout();
    assert!(
        stdout.contains("by the policy ") && stdout.contains("no_shell"),
        "{stdout}"
    );
    home.run([
        "run",
        "--quiet",
        "--route",
        "work",
        "--language",
        "python",
        "-",
    ])
    .exits(0);
    home.run(["run", "--route", "elsewhere", "--", "true"])
        .exits(120)
        .says("there is no route `elsewhere`: there are work");
}

#[test]
fn what_is_not_there_is_not_explained() {
    let home = Home::new();
    let none = "dec_00000000000000000000000000";
    for verb in ["explain", "replay"] {
        assert_ne!(policy(&home, [verb, none]).0.status.code(), Some(0));
        policy(&home, [verb, "nonsense"]).exits(2);
    }
    for verb in ["check", "test", "show", "prove"] {
        policy(&home, [verb, "active"])
            .exits(1)
            .says("no bundle is in force");
        policy(&home, [verb, "nowhere"])
            .exits(1)
            .says("neither a directory");
    }
    policy(&home, ["rollback"])
        .exits(1)
        .says("no bundle is in force");
    assert!(Path::new(library()).is_dir());
}

//! A bundle that permits more needs somebody who approves that, and a proof of what it permits (I13).

use serde_json::json;

use super::{NO_SHELL, Sketch, activate, activations, break_in, in_force, policy, shell};
use crate::home::Home;

/// Makes a key of this name, and returns its public half.
fn key(home: &Home, name: &str) -> String {
    let ran = policy(home, ["key", "new", &format!("{name}.key"), "--name", name]);
    ran.exits(0).stdout().trim_end().to_owned()
}

fn approve(home: &Home, bundle: &str, by: &str, note: &str) {
    let key = format!("{by}.key");
    policy(home, ["approve", bundle, "--key", &key, "--out", note]).exits(0);
}

/// Not activated: with a record, and the old bundle in force.
#[track_caller]
fn assert_refused(home: &Home, bundle: &str, options: &[&str], reason: &str) {
    let before = in_force(home);
    let records = activations(home).len();
    activate(home, &home.path(bundle), options)
        .exits(120)
        .says("not activated: ")
        .says("\nhint: ");
    assert_eq!(in_force(home), before);
    let log = activations(home);
    assert_eq!(log.len(), records + 1);
    let record = log.last().unwrap();
    assert_eq!(record["kind"], "denied");
    assert_eq!(record["summary"]["reason"], reason);
    home.run(["audit", "verify"]).exits(0);
}

/// I13, R150: what is newly permitted is shown, and comes into force on the note of a trusted approver about exactly this
/// step, and on nothing else.
#[test]
fn what_permits_more_needs_a_trusted_approver() {
    let home = Home::new();
    let approver = key(&home, "approver");
    key(&home, "stranger");
    let publisher = key(&home, "publisher");
    policy(&home, ["key", "trust", "approver", &approver]).exits(0);
    policy(&home, ["key", "trust", "publisher", &publisher]).exits(0);
    break_in(&home, &Sketch::narrow(1).write(&home, "narrow"));
    Sketch::wide(2).write(&home, "wide");
    Sketch::wide(3).write(&home, "other");

    let ran = policy(&home, ["diff", "active", "wide"]);
    let stdout = ran.exits(1).stdout();
    assert!(
        stdout.contains("wider    work: ") && stdout.contains("shell"),
        "{stdout}"
    );
    assert!(stdout.contains("\nexample  work: "), "{stdout}");
    policy(&home, ["diff", "wide", "active"]).exits(0);

    assert_refused(&home, "wide", &[], "approval_required");
    let refused = activations(&home).last().unwrap()["summary"].clone();
    assert_eq!(refused["alert"], false);
    assert!(
        refused["subject"]["lack"]
            .as_str()
            .unwrap()
            .contains("permits more")
    );
    approve(&home, "wide", "stranger", "by-stranger");
    approve(&home, "wide", "publisher", "by-publisher");
    approve(&home, "other", "approver", "of-other");
    home.write("split", "ü".repeat(1 << 14) + "x");
    for note in ["by-stranger", "by-publisher", "of-other", "split"] {
        assert_refused(&home, "wide", &["--approval", note], "approval_invalid");
    }
    shell(&home).exits(120);

    approve(&home, "wide", "approver", "note");
    assert_refused(&home, "other", &["--approval", "note"], "approval_invalid");
    activate(&home, &home.path("wide"), &["--approval", "note"]).exits(0);
    assert_eq!(in_force(&home), Some(2));
    let log = activations(&home);
    let summary = &log.last().unwrap()["summary"];
    assert_eq!(summary["subject"]["approver"], json!(approver));
    assert_eq!(summary["alert"], false);
    shell(&home).exits(0).prints("ran\n");

    // Narrowing needs nobody.
    activate(&home, &Sketch::narrow(4).write(&home, "narrower"), &[]).exits(0);
    shell(&home).exits(120);
    Sketch::wide(5).write(&home, "again");
    assert_refused(&home, "again", &["--approval", "note"], "approval_invalid");
    policy(&home, ["key", "distrust", "approver", &approver]).exits(0);
    approve(&home, "again", "approver", "too-late");
    assert_refused(
        &home,
        "again",
        &["--approval", "too-late"],
        "approval_invalid",
    );
}

/// I13: a policy that is taken away permits more, although no profile says so.
#[test]
fn a_forbid_that_goes_is_a_widening() {
    let home = Home::new();
    let guarded = Sketch::wide(1).with("policies/shell.cedar", NO_SHELL);
    break_in(&home, &guarded.write(&home, "guarded"));
    Sketch::wide(2).write(&home, "open");
    assert_refused(&home, "open", &[], "approval_required");
    let hollow = NO_SHELL.replace(");", ") when { context.mode == \"review\" };");
    let hollow = Sketch::wide(2).with("policies/shell.cedar", hollow);
    hollow.write(&home, "hollow");
    assert_refused(&home, "hollow", &[], "approval_required");
    assert_refused(
        &home,
        "hollow",
        &["--solver", "/nonexistent"],
        "approval_required",
    );
    shell(&home).exits(120);
}

/// Without a solver nothing is proved: what permits more is refused unless broken open, which is recorded as an alert;
/// what permits less is not.
#[test]
fn without_a_solver_a_widening_is_broken_open_or_refused() {
    const NO_SOLVER: [&str; 2] = ["--solver", "/nonexistent"];
    let home = Home::new();
    Sketch::wide(1).write(&home, "first");
    assert_refused(&home, "first", &NO_SOLVER, "approval_required");
    assert_eq!(in_force(&home), None);
    let broken = |reason| [&NO_SOLVER[..], &["--break-glass", reason]].concat();
    for reason in ["", " ", "two\nlines"] {
        activate(&home, &home.path("first"), &broken(reason)).exits(2);
    }
    activate(&home, &home.path("first"), &broken("the solver is down"))
        .exits(0)
        .says("ALERT: broken open, although ")
        .says("the solver is down");
    let log = activations(&home);
    let summary = &log
        .iter()
        .rfind(|record| record["kind"] == "allowed")
        .unwrap()["summary"];
    assert_eq!(summary["alert"], true);
    assert_eq!(summary["subject"]["break_glass"], "the solver is down");
    assert_eq!(summary["subject"]["kind"], "break_glass");
    assert_eq!(summary["subject"]["approver"], json!(null));

    activate(&home, &Sketch::narrow(2).write(&home, "narrow"), &NO_SOLVER).exits(0);
    assert_eq!(in_force(&home), Some(2));
    assert_eq!(
        activations(&home).last().unwrap()["summary"]["alert"],
        false
    );
    Sketch::wide(3).write(&home, "wide");
    assert_refused(&home, "wide", &NO_SOLVER, "approval_required");
    home.run(["audit", "verify"]).exits(0);
}

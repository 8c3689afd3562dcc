//! `casemate approvals`: calls that wait for a person, by the command line, with real gateways, keepers and keys.

use std::{
    fs,
    process::{Child, Output, Stdio},
};

use serde_json::Value;

use crate::{
    home::{Home, Ran},
    keeper::{Keepers, until},
    route::Route,
    serve::Gateway,
};

/// The profile of a route on which every program waits for this many people.
pub(crate) fn profile(home: &Home, needed: u64) -> &'static str {
    let route = Route {
        allowed: "\"python\"",
        approval_required: "\"shell\"",
        more: &format!("[approvals]\nneeded = {needed}\n"),
        ..Route::default()
    };
    home.write("work.toml", route.profile());
    "work.toml"
}

/// Somebody with a key who may approve.
pub(crate) fn enlist(home: &Home, name: &str, roles: &[&str]) {
    let file = format!("{name}.key");
    let made = home.run(["approvals", "new-key", &file, "--name", name]);
    let key = made.exits(0).stdout();
    let mut words = vec!["approvals", "enlist", name, key.trim_end()];
    roles.iter().for_each(|role| words.extend(["--role", role]));
    home.run(words).exits(0);
}

/// The calls in a state.
pub(crate) fn listed(home: &Home, state: &str) -> Vec<Value> {
    let ran = home.run(["approvals", "list", "--json", "--state", state]);
    let found = ran.exits(0).json();
    found["approvals"].as_array().unwrap().clone()
}

pub(crate) fn call(home: &Home, thread: &str, script: &str) -> Child {
    let words = ["call", "--thread", thread, "--", "sh", "-c", script];
    let mut call = home.casemate(words);
    let call = call.stdin(Stdio::null()).stdout(Stdio::piped());
    call.stderr(Stdio::piped()).spawn().unwrap()
}

pub(crate) fn waits(home: &Home, count: usize) -> Vec<Value> {
    until("the calls wait", || listed(home, "pending").len() == count);
    listed(home, "pending")
}

pub(crate) fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap().to_owned()
}

pub(crate) fn approve(home: &Home, call: &Value, by: &str) -> Ran {
    let (decision, action) = (text(call, "decision"), text(call, "action"));
    let key = format!("{by}.key");
    home.run([
        "approvals",
        "approve",
        &decision,
        "--key",
        &key,
        "--action",
        &action,
    ])
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// R163, R174, R175, R176: a call waits for two people, is shown as it would run, and goes on by itself, once.
#[test]
fn a_call_goes_on_when_enough_people_consent() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let _gateway = Gateway::under(&home, &[profile(&home, 2)]);
    enlist(&home, "alice", &[]);
    enlist(&home, "bob", &[]);
    let waiting = call(&home, "t", "echo ran >> log; cat log");
    let held = waits(&home, 1).remove(0);
    let decision = text(&held, "decision");
    let shown = home.run(["approvals", "show", &decision]).exits(0).stdout();
    for part in [
        "asked by",
        "echo ran >> log; cat log",
        &text(&held, "action"),
        "needs        2 consent",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let ran = approve(&home, &held, "alice");
    ran.exits(0).prints(&format!("{decision} is pending\n"));
    approve(&home, &held, "alice")
        .exits(120)
        .says("answered already");
    approve(&home, &held, "bob")
        .exits(0)
        .prints(&format!("{decision} is approved\n"));
    let output = waiting.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(output.stdout, b"ran\n");
    assert!(said(&output).contains("waits for approval"));
    approve(&home, &held, "bob").exits(120).says("consumed");
    let again = call(&home, "t", "cat log").when_it_waits(&home);
    approve(&home, &again.1, "alice").exits(0);
    approve(&home, &again.1, "bob").exits(0);
    let output = again.0.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"ran\n", "it ran once: {}", said(&output));
    home.run(["audit", "verify"]).exits(0);
}

pub(crate) trait Held {
    fn when_it_waits(self, home: &Home) -> (Child, Value);
}

impl Held for Child {
    /// The call, when it waits.
    fn when_it_waits(self, home: &Home) -> (Child, Value) {
        (self, waits(home, 1).remove(0))
    }
}

/// The agent is told why; nothing ran, nobody unknown can answer, and who was dismissed does not count.
#[test]
fn a_refusal_says_why_and_strangers_do_not_count() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let _gateway = Gateway::under(&home, &[profile(&home, 1)]);
    enlist(&home, "alice", &[]);
    let made = home.run(["approvals", "new-key", "mallory.key", "--name", "alice"]);
    made.exits(0);
    let (waiting, held) = call(&home, "t", "touch ran").when_it_waits(&home);
    let decision = text(&held, "decision");
    approve(&home, &held, "mallory")
        .exits(120)
        .says("approval_invalid");
    let other = format!("sha256:{}", "0".repeat(64));
    let wrong = [
        "approvals",
        "approve",
        &decision,
        "--key",
        "alice.key",
        "--action",
        &other,
    ];
    home.run(wrong).exits(2).says("other hashes");
    let unasked = ["approvals", "approve", &decision, "--key", "alice.key"];
    home.run(unasked).exits(2).says("nobody at a terminal");
    let without = ["approvals", "deny", &decision, "--key", "alice.key"];
    home.run(without).exits(2).says("--reason");
    let deny = [
        "approvals",
        "deny",
        &decision,
        "--key",
        "alice.key",
        "--reason",
        "not on a Friday",
    ];
    home.run(deny)
        .exits(0)
        .prints(&format!("{decision} is denied\n"));
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(120), "{}", said(&output));
    assert!(
        said(&output).contains("approval_denied: by alice: not on a Friday"),
        "{}",
        said(&output)
    );
    home.run(["approvals", "dismiss", "alice"]).exits(0);
    home.run(["approvals", "dismiss", "alice"]).exits(1);
    let (waiting, held) = call(&home, "t", "touch ran").when_it_waits(&home);
    approve(&home, &held, "alice")
        .exits(120)
        .says("approval_invalid");
    home.run(["approvals", "cancel", &text(&held, "decision")])
        .exits(0);
    let output = waiting.wait_with_output().unwrap();
    assert!(
        said(&output).contains("approval_cancelled"),
        "{}",
        said(&output)
    );
    // Nothing of it has run.
    enlist(&home, "bob", &[]);
    let (looks, held) = call(&home, "t", "ls").when_it_waits(&home);
    approve(&home, &held, "bob").exits(0);
    let listed = String::from_utf8(looks.wait_with_output().unwrap().stdout).unwrap();
    assert!(listed.lines().all(|name| name != "ran"), "{listed}");
    home.run(["audit", "verify"]).exits(0);
}

/// What is long is not approved unseen, and what would drive a terminal, or hide, is shown as what it is.
#[test]
fn nothing_is_hidden_from_an_approver() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let _gateway = Gateway::under(&home, &[profile(&home, 1)]);
    enlist(&home, "alice", &[]);
    let script = format!(
        "echo \u{202e}harmless\u{1b}[2K; # {}\nrm -rf \"$HOME\"\n{}",
        "x".repeat(100_000),
        "echo more\n".repeat(3_000)
    );
    home.write("long.sh", &script);
    let words = ["call", "--thread", "t", "long.sh"];
    let mut waiting = home.casemate(words);
    let waiting = waiting
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (waiting, held) = waiting.spawn().unwrap().when_it_waits(&home);
    let decision = text(&held, "decision");
    let cut = home.run(["approvals", "show", &decision]).exits(0).stdout();
    assert!(cut.contains("more bytes are NOT shown") && cut.contains("--full shows all of it"));
    assert!(cut.contains("\\u{202e}harmless\\u{1b}[2K"), "{cut}");
    assert!(!cut.contains('\u{1b}') && !cut.contains('\u{202e}'));
    let full = home
        .run(["approvals", "show", "--full", &decision])
        .exits(0)
        .stdout();
    assert!(full.contains("rm -rf \"$HOME\"") && !full.contains("NOT shown"));
    assert_eq!(full.matches("echo more").count(), 3_000);
    let unseen = ["approvals", "approve", &decision, "--key", "alice.key"];
    home.run(unseen)
        .exits(2)
        .says("nobody approves what they did not see");
    home.run(["approvals", "cancel", &decision]).exits(0);
    waiting.wait_with_output().unwrap();
}

/// kill -9 of the gateway: what waited waits, what was approved goes on by itself, and what was answered stays answered.
#[test]
fn waiting_calls_survive_the_gateway() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let name = profile(&home, 1);
    let gateway = Gateway::under(&home, &[name]);
    enlist(&home, "alice", &[]);
    for number in 0..4 {
        let words = ["call", "--detach", "--thread", "t", "--", "sh", "-c"];
        let script = format!("echo {number} >> log");
        let words = words.iter().copied().chain([script.as_str()]);
        home.run(words).exits(0);
    }
    let held = waits(&home, 4);
    drop(gateway);
    let gateway = Gateway::under(&home, &[name]);
    assert_eq!(waits(&home, 4).len(), 4);
    for call in held.iter().take(2) {
        approve(&home, call, "alice").exits(0);
    }
    drop(gateway);
    let gateway = Gateway::under(&home, &[name]);
    until("the approved calls have run", || {
        listed(&home, "consumed").len() == 2
    });
    for call in held.iter().skip(2) {
        approve(&home, call, "alice").exits(0);
    }
    until("all have run", || listed(&home, "consumed").len() == 4);
    let last = call(&home, "t", "cat log").when_it_waits(&home);
    approve(&home, &last.1, "alice").exits(0);
    let output = last.0.wait_with_output().unwrap();
    let mut lines: Vec<_> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort_unstable();
    assert_eq!(lines, ["0", "1", "2", "3"], "each ran once");
    drop(gateway);
    for call in &held {
        let records = home.log().into_iter();
        let records = records.filter(|record| record["decision"] == call["decision"]);
        let kinds: Vec<_> = records.map(|record| record["kind"].to_string()).collect();
        let allowed = kinds.iter().filter(|kind| *kind == "\"allowed\"").count();
        assert_eq!(allowed, 1, "{kinds:?}");
    }
    home.run(["audit", "verify"]).exits(0);
    assert!(fs::exists(home.path("state/policy/approvers")).unwrap());
}

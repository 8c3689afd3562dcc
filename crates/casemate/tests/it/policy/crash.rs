//! Two who activate at once, and one who dies while doing it.

use std::{
    collections::BTreeMap,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Sketch, activate, break_in, command, in_force, policy, shell};
use crate::home::{Home, Ran};

const ROUNDS: u64 = 10;

/// Options with which nothing is lacking, and no solver is waited for.
const AT_ANY_RATE: [&str; 4] = ["--solver", "/nonexistent", "--break-glass", "a test"];

fn start(home: &Home, bundle: &str) -> Child {
    let mut activation = command(home, ["activate", bundle].iter().chain(&AT_ANY_RATE));
    let activation = activation.stdout(Stdio::piped()).stderr(Stdio::piped());
    activation.spawn().unwrap()
}

/// I13: of several who activate something on top of the same bundle, at most one does so unseen; each that says that it
/// did is in the log, and what is in force is one of them.
#[test]
fn of_several_activations_at_once_one_wins() {
    let home = Home::new();
    break_in(&home, &Sketch::wide(1).write(&home, "first"));
    let names: Vec<_> = (0..4).map(|number| format!("same{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        let readme = format!("Number {number}.\n");
        Sketch::wide(2).with("README.md", readme).write(&home, name);
    }
    let children: Vec<_> = names.iter().map(|name| start(&home, name)).collect();
    let ended = children
        .into_iter()
        .map(|child| Ran(child.wait_with_output().unwrap()));
    let (won, lost): (Vec<_>, Vec<_>) = ended.partition(|ran| ran.0.status.success());
    assert_eq!(won.len(), 1, "{won:?} {lost:?}");
    for ran in &lost {
        ran.exits(120);
    }
    let stdout = won[0].stdout();
    let digest = stdout.lines().last().unwrap().split(' ').next().unwrap();
    let listed = policy(&home, ["list"]).exits(0).stdout();
    assert!(listed.contains(&format!("* {digest}")), "{listed}");
    shell(&home).exits(0);
    home.run(["audit", "verify"]).exits(0);
    assert_closed(&home);
}

/// I1, I13: kill -9 of an activation at any moment: the old bundle is in force or the new one, whole; the log verifies,
/// and the next start closes what was left open.
#[test]
fn a_killed_activation_is_done_or_not_done() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let home = Home::new();
    let begin = Instant::now();
    break_in(&home, &Sketch::wide(1).write(&home, "v1"));
    let long = begin.elapsed();
    let mut version = 1;
    for next in 2..2 + ROUNDS {
        let name = format!("v{next}");
        Sketch::wide(next).write(&home, &name);
        let mut child = start(&home, &name);
        thread::sleep(Duration::from_micros(random.u64(..as_micros(long))));
        child.kill().unwrap();
        child.wait().unwrap();
        let now = in_force(&home).unwrap();
        assert!(
            now == version || now == next,
            "{now} after {version} and {next}"
        );
        version = now;
        policy(&home, ["check", "active"]).exits(0);
        shell(&home).exits(0).prints("ran\n");
        home.run(["audit", "verify"]).exits(0);
        assert_closed(&home);
    }
    // Nothing that was left stands in anybody's way.
    activate(&home, &Sketch::wide(100).write(&home, "last"), &AT_ANY_RATE).exits(0);
    assert_eq!(in_force(&home), Some(100));
}

fn as_micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}

/// Every decision that was allowed has one outcome.
#[track_caller]
fn assert_closed(home: &Home) {
    let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in home.log() {
        let decision = record["decision"].as_str().unwrap().to_owned();
        let kind = record["kind"].as_str().unwrap().to_owned();
        kinds.entry(decision).or_default().push(kind);
    }
    let closed = |kinds: &Vec<String>| kinds == &["allowed", "outcome"] || kinds == &["denied"];
    assert!(kinds.values().all(closed), "{kinds:#?}");
}

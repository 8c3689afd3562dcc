//! Kill -9 of any process of a call, at any moment.

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::home::{Home, for_everybody};

const ROUNDS: usize = 40;

const AT_ONCE: usize = 120;

/// About how long a call takes to its first instruction, and some more.
const MOMENTS_US: u64 = 20_000;

const PATIENCE: Duration = Duration::from_secs(10);

/// I8, I9, R26, R49: whoever is killed, and whenever, no process is left, the next start closes and cleans what
/// was left, and the log verifies and says how every call ended that was allowed.
#[test]
fn nothing_is_left_of_a_call_that_was_killed() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    for_everybody(|home| {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut keepers = Vec::new();
        for round in 0..ROUNDS {
            let word = format!("62.{}{round:03}", std::process::id());
            let script = format!("setsid sleep {word} & sleep {word} & sleep {word}");
            let mut child = home
                .casemate(["run", "--quiet", "--", "sh", "-c", &script])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            thread::sleep(Duration::from_micros(random.u64(..MOMENTS_US)));
            keepers.push(keeper(&child));
            let inside = children(&child);
            match inside.get(random.usize(..=inside.len())) {
                Some(first_inside) => kill(*first_inside),
                None => child.kill().unwrap(),
            }
            wait(&mut child, round);
            wait_until_dead(&word, round);
        }
        // What the kernel still takes apart is removed by the next start after that.
        for _ in 0..20 {
            home.run(["run", "--quiet", "--", "true"]).exits(0);
            if cgroups_of(&keepers).is_empty() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(cgroups_of(&keepers), Vec::<String>::new());
        home.run(["audit", "verify"]).exits(0);
        let mut ends: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for record in home.log() {
            let decision = record["decision"].as_str().unwrap().to_owned();
            ends.entry(decision)
                .or_default()
                .push(record["kind"].as_str().unwrap().to_owned());
        }
        // Denied, when the sandbox was killed before there was anything to decide.
        let closed = |kinds: &Vec<String>| kinds == &["allowed", "outcome"] || kinds == &["denied"];
        assert!(ends.values().all(closed), "{ends:#?}");
    });
}

/// I12: processes that start while others end do not take them for dead: each decision has one outcome.
#[test]
fn calls_at_once_have_one_outcome_each() {
    let home = Home::new();
    let calls: Vec<Child> = (0..AT_ONCE)
        .map(|_| {
            home.casemate(["run", "--quiet", "--", "true"])
                .spawn()
                .unwrap()
        })
        .collect();
    for mut call in calls {
        assert!(call.wait().unwrap().success());
    }
    let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in home.log() {
        let decision = record["decision"].as_str().unwrap().to_owned();
        let status = record["summary"]["status"].as_str().unwrap_or("decided");
        kinds.entry(decision).or_default().push(status.to_owned());
    }
    assert_eq!(kinds.len(), AT_ONCE);
    assert!(
        kinds
            .values()
            .all(|kinds| kinds == &["decided", "succeeded"]),
        "{kinds:#?}"
    );
}

/// The first process of the sandbox, once it is there: nothing else is a child.
fn children(of: &Child) -> Vec<Pid> {
    let parent = of.id().to_string();
    let processes = fs::read_dir("/proc").unwrap();
    let is_child = |pid: &Pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat
            .rsplit_once(") ")
            .map(|(_, fields)| fields.split(' ').nth(1));
        fields == Some(Some(&parent))
    };
    processes
        .filter_map(|entry| Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .filter(is_child)
        .collect()
}

fn kill(pid: Pid) {
    // It may have ended meanwhile, and is not reaped before its parent is.
    let _ = kill_process(pid, Signal::KILL);
}

fn wait(child: &mut Child, round: usize) {
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("round {round}: it waits for a sandbox that is dead");
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn wait_until_dead(word: &str, round: usize) {
    let begin = Instant::now();
    while is_alive(word) {
        assert!(
            begin.elapsed() < PATIENCE,
            "round {round}: something lives on"
        );
        thread::sleep(Duration::from_millis(1));
    }
}

fn is_alive(word: &str) -> bool {
    fs::read_dir("/proc").unwrap().any(|entry| {
        let line = fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        line.windows(word.len()).any(|part| part == word.as_bytes())
    })
}

/// How the cgroups of this keeper are called. A pid alone would find those that another had, in a run before.
fn keeper(child: &Child) -> String {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let started_ticks = stat
        .rsplit_once(") ")
        .and_then(|(_, fields)| fields.split(' ').nth(19))
        .unwrap();
    format!("casemate-{}-{started_ticks}-", child.id())
}

/// Cgroups of sandboxes of these keepers, in any hierarchy.
fn cgroups_of(keepers: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = rest.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if keepers.iter().any(|keeper| name.starts_with(keeper)) {
                found.push(name);
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                rest.push(entry.path());
            }
        }
    }
    found
}

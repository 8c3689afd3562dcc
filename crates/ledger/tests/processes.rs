//! The ledger among processes: several that append, some that die, and a disk that is full.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests"
)]

use std::{
    collections::BTreeSet,
    env,
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, SystemTime},
};

use casemate_ledger::{Entry, Kind, Ledger, LedgerError, LogKey, Receipt, Verified, read, verify};
use casemate_model::DecisionId;
use serde_json::json;

const DIR: &str = "CASEMATE_LEDGER_TEST_DIR";
const CHILD: &str = "CASEMATE_LEDGER_TEST_CHILD";
const COUNT: &str = "CASEMATE_LEDGER_TEST_COUNT";

fn key() -> LogKey {
    LogKey::from_seed(&[7; 32], "casemate.test/processes").unwrap()
}

fn entry(child: u64, thread: u64, nth: u64) -> Entry {
    let mut entropy = [0; 10];
    entropy[..2].copy_from_slice(&[child, thread].map(|id| u8::try_from(id % 256).unwrap()));
    Entry {
        at_ms: nth,
        decision: DecisionId::new(nth, entropy),
        kind: if nth.is_multiple_of(3) {
            Kind::Allowed
        } else {
            Kind::Denied
        },
        agent: format!("agent {child}"),
        tenant: "t".into(),
        summary: json!({ "child": child, "thread": thread, "nth": nth }),
        payload: None,
    }
}

fn check(dir: &Path) -> Verified {
    verify(dir, &key().public(), None).unwrap()
}

/// Runs a test of this file in another process.
fn child(test: &str, dir: &Path, number: u64, count: u64) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(DIR, dir)
        .env(CHILD, number.to_string())
        .env(COUNT, count.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn number(name: &str) -> u64 {
    env::var(name).unwrap().parse().unwrap()
}

/// Not a test by itself: the process that appends. Prints each receipt once the append has
/// returned.
#[test]
fn child_that_appends() {
    let Ok(dir) = env::var(DIR) else { return };
    let (number, count) = (number(CHILD), number(COUNT));
    let ledger = Ledger::open(Path::new(&dir), key()).unwrap();
    thread::scope(|scope| {
        for thread in 0..4 {
            let ledger = &ledger;
            scope.spawn(move || {
                for nth in 0..count {
                    let receipt = ledger.append(entry(number, thread, nth)).unwrap();
                    let receipt = serde_json::to_string(&receipt).unwrap();
                    // One write: lines of several threads must not mix.
                    let line = format!("\nreceipt {receipt}\n");
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}

/// The receipts that a child printed. Kills it when `kill_after` have come, after some more
/// microseconds.
fn receipts(mut child: Child, kill_after: Option<(usize, u64)>) -> Vec<Receipt> {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut receipts = Vec::new();
    while let Some(Ok(line)) = lines.next() {
        let Some(json) = line.strip_prefix("receipt ") else {
            continue;
        };
        // The last line may be cut short by the kill.
        receipts.extend(serde_json::from_str::<Receipt>(json));
        if let Some((count, micros)) = kill_after
            && receipts.len() == count
        {
            thread::sleep(Duration::from_micros(micros));
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    receipts
}

fn check_receipts(dir: &Path, receipts: &[Receipt]) {
    let records: Vec<_> = read(dir).map(Result::unwrap).collect();
    for receipt in receipts {
        let record = &records[usize::try_from(receipt.index).unwrap()];
        assert_eq!(record.leaf, receipt.leaf, "record {}", receipt.index);
    }
    let newest = receipts.iter().max_by_key(|receipt| receipt.size);
    if let Some(newest) = newest {
        verify(dir, &key().public(), Some(&newest.checkpoint)).unwrap();
    }
}

/// R231: processes that append at the same time make one log.
#[test]
fn processes_that_append_at_once_make_one_log() {
    let dir = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..3)
        .map(|number| child("child_that_appends", dir.path(), number, 50))
        .collect();
    let threads: Vec<_> = children
        .into_iter()
        .map(|child| thread::spawn(move || receipts(child, None)))
        .collect();
    let receipts: Vec<_> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    let indexes: BTreeSet<_> = receipts.iter().map(|receipt| receipt.index).collect();
    assert_eq!(indexes, (0..600).collect(), "dense, and each index once");
    assert_eq!(check(dir.path()).size, 600);
    check_receipts(dir.path(), &receipts);
    let entries: BTreeSet<_> = read(dir.path())
        .map(|record| record.unwrap().entry.summary.to_string())
        .collect();
    assert_eq!(entries.len(), 600);
}

/// A small generator, so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// I12, R241: killed at any moment, the log verifies, holds every receipt that was given, and goes
/// on; the decisions that the dead left open are open, in the name of a dead owner.
#[test]
fn a_log_survives_kill_9_of_its_writers() {
    let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let seed = env::var("CASEMATE_TEST_SEED").map_or_else(
        |_| u64::from(since_1970.subsec_nanos()) + 1,
        |seed| seed.parse().unwrap(),
    );
    println!("CASEMATE_TEST_SEED={seed}");
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut given = Vec::new();
    for round in 0..12 {
        let children: Vec<_> = (0..2)
            .map(|nth| {
                let child = child("child_that_appends", dir.path(), 2 * round + nth, 100_000);
                let when = (
                    usize::try_from(1 + random.below(40)).unwrap(),
                    random.below(3_000),
                );
                thread::spawn(move || receipts(child, Some(when)))
            })
            .collect();
        for child in children {
            let receipts = child.join().unwrap();
            assert!(!receipts.is_empty());
            given.extend(receipts);
        }
        let before = check(dir.path());
        check_receipts(dir.path(), &given);
        let ledger = Ledger::open(dir.path(), key()).unwrap();
        let open = ledger.open_decisions().unwrap();
        assert!(!open.is_empty() && open.iter().all(|open| !open.owner.is_alive()));
        assert_eq!(open.len() as u64, before.open_decisions);
        for open in &open {
            let mut outcome = entry(0, 0, 1);
            outcome.kind = Kind::Outcome;
            outcome.decision = open.decision;
            ledger.append(outcome).unwrap();
        }
        assert_eq!(ledger.open_decisions().unwrap(), []);
        let after = check(dir.path());
        assert_eq!(after.size, before.size + open.len() as u64);
        assert_eq!((after.unfinished_bytes, after.open_decisions), (0, 0));
    }
    let size = check(dir.path()).size;
    println!("{size} records, {} receipts", given.len());
}

/// Not a test by itself: runs on a file system of 256 KiB and fills it.
#[test]
fn child_that_fills_its_disk() {
    let Ok(dir) = env::var(DIR) else { return };
    let dir = Path::new(&dir).join("ledger");
    let ballast = dir.with_file_name("ballast");
    let ledger = Ledger::open(&dir, key()).unwrap();
    fs::write(&ballast, vec![0; 64 << 10]).unwrap();
    let mut nth = 0;
    let full = loop {
        match ledger.append(entry(0, 0, 1)) {
            Ok(receipt) => assert_eq!(receipt.index, nth),
            Err(full) => break full,
        }
        nth += 1;
    };
    assert!(matches!(full, LedgerError::Write { .. }), "{full}");
    assert!(nth > 10);
    for _ in 0..3 {
        assert!(ledger.append(entry(0, 0, 1)).is_err());
        assert_eq!(check(&dir).size, nth);
    }
    fs::remove_file(&ballast).unwrap();
    assert_eq!(ledger.append(entry(0, 0, 1)).unwrap().index, nth);
    assert_eq!(check(&dir).size, nth + 1);
    println!("\nfilled {nth}");
}

/// I1: a disk that is really full.
#[test]
fn a_full_file_system_refuses_entries_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut script = String::from("mount -t tmpfs -o size=256k tmpfs \"$0\" && ");
    write!(
        script,
        "{DIR}=\"$0\" exec \"$1\" --exact child_that_fills_its_disk --nocapture"
    )
    .unwrap();
    let run = Command::new("unshare")
        .args(["-Urm", "sh", "-c", &script])
        .arg(dir.path())
        .arg(env::current_exe().unwrap())
        .output();
    let allowed = Command::new("unshare").args(["-Urm", "true"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no user namespaces here");
        return;
    }
    let output = run.unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("\nfilled "), "{stdout}{stderr}");
}

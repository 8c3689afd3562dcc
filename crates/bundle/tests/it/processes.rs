//! Several processes on one store.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use casemate_bundle::{ActivationKind, Bundle, MANIFEST, PolicyStore, PolicyStoreError};

use crate::support::{Fixture, files, signed};

const STORE: &str = "CASEMATE_BUNDLE_TEST_STORE";
const WRITER: &str = "CASEMATE_BUNDLE_TEST_WRITER";
const ROUNDS: u64 = 20;

fn start(store: &Path, writer: u64) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "processes::writer", "--nocapture"])
        .env(STORE, store)
        .env(WRITER, writer.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Not a test by itself: a process that activates a version on top of what it saw, again and again, and says which
/// ones came into force.
#[test]
fn writer() {
    let Ok(store) = env::var(STORE) else { return };
    let writer = env::var(WRITER).unwrap();
    let store = PolicyStore::open(store.as_ref()).unwrap();
    for round in 0..ROUNDS {
        let seen = store.current().unwrap();
        let version = seen.as_ref().map_or(0, |seen| seen.version) + 1;
        let mut files = files("p", version);
        let manifest = files.get_mut(MANIFEST).unwrap();
        writeln!(manifest, "description = \"{writer} {round}\"").unwrap();
        let bundle = signed(Bundle::from_files(files, None).unwrap());
        store.stage(&bundle).unwrap();
        let seen = seen.map(|seen| seen.digest);
        match store.activate(bundle.digest(), seen, round, ActivationKind::Activate) {
            Ok(done) => println!("\nforce {} {}", done.sequence, done.digest),
            Err(PolicyStoreError::Changed { found }) => assert_ne!(found, seen),
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Each activation that a process was told of is in the history, once, on top of the one before.
#[test]
fn of_several_processes_one_wins_each_time() {
    let fixture = Fixture::new();
    let writers: Vec<_> = (0..4)
        .map(|writer| start(fixture.store.path(), writer))
        .collect();
    let mut told = Vec::new();
    for mut writer in writers {
        for line in BufReader::new(writer.stdout.take().unwrap()).lines() {
            if let Some(("force", rest)) = line.unwrap().split_once(' ') {
                told.push(rest.to_owned());
            }
        }
        assert!(writer.wait().unwrap().success());
    }
    let history = fixture.store.history().unwrap();
    assert!(history.len() >= usize::try_from(ROUNDS).unwrap());
    let mut kept: Vec<_> = history
        .iter()
        .map(|done| format!("{} {}", done.sequence, done.digest))
        .collect();
    told.sort();
    kept.sort();
    assert_eq!(told, kept);
    for pair in history.windows(2) {
        assert_eq!(pair[1].previous, Some(pair[0].digest));
        assert_eq!(pair[1].version, pair[0].version + 1);
    }
    for done in history {
        fixture.store.load(done.digest).unwrap();
    }
}

/// A process that opens a store for the first time together with others has the same key.
#[test]
fn a_store_that_many_make_at_once_has_one_key() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/policy");
        let keys: Vec<_> = std::thread::scope(|scope| {
            let openers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| PolicyStore::open(&path).unwrap().public_key().clone()))
                .collect();
            openers
                .into_iter()
                .map(|opener| opener.join().unwrap())
                .collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }
}

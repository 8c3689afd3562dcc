//! What a writer leaves behind that fails, or dies, at any step: the old bundle in force, whole, or the new one.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Read as _, Write as _},
    path::Path,
    process::{Command, Stdio, abort},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use tempfile::TempDir;

use super::*;
use crate::{ActivationKind, MANIFEST};

const ROLE: &str = "CASEMATE_BUNDLE_TEST_ROLE";
const DIR: &str = "CASEMATE_BUNDLE_TEST_DIR";
const STEP: &str = "CASEMATE_BUNDLE_TEST_STEP";

/// What to do before a step.
#[derive(Debug)]
enum At {
    Note(Mutex<Vec<String>>),
    Fail(usize),
    Die(usize),
    Say,
}

/// Counts the steps.
#[derive(Debug)]
struct Script {
    at: At,
    seen: AtomicUsize,
}

impl Script {
    fn new(at: At) -> Arc<Self> {
        let seen = AtomicUsize::new(0);
        Arc::new(Self { at, seen })
    }
}

impl Steps for Script {
    fn before(&self, step: &'static str, path: &Path) -> io::Result<()> {
        let nth = self.seen.fetch_add(1, Ordering::SeqCst);
        match &self.at {
            At::Note(steps) => {
                let parts: Vec<_> = path.iter().map(|part| part.to_str().unwrap()).collect();
                let at = parts.iter().rposition(|part| *part == "policy").unwrap();
                let path = parts[at..].join("/");
                steps.lock().unwrap().push(format!("{step} {path}"));
            }
            At::Fail(at) if nth == *at => return Err(io::ErrorKind::StorageFull.into()),
            At::Die(at) if nth == *at => abort(),
            At::Say => say("."),
            At::Fail(_) | At::Die(_) => {}
        }
        Ok(())
    }
}

/// One write, so that nothing of it is lost when the process is killed after it.
fn say(text: &str) {
    io::stdout()
        .write_all(format!("\n{text}\n").as_bytes())
        .unwrap();
}

fn key() -> PolicyKey {
    PolicyKey::from_seed(&[1; 32], "casemate.test/publisher").unwrap()
}

fn bundle(version: u64) -> Bundle {
    let manifest = format!("name = \"p\"\nversion = {version}\n");
    let file = |path: &str, content: &str| (path.to_owned(), content.as_bytes().to_vec());
    let files = BTreeMap::from([
        file(MANIFEST, &manifest),
        file("policies/a.cedar", "permit(principal, action, resource);\n"),
        file("profiles/a.toml", &"# long\n".repeat(2_000)),
        file("profiles/b.toml", ""),
    ]);
    let bundle = Bundle::from_files(files, None).unwrap();
    let note = key().sign(&bundle);
    bundle.with_signature(Some(note))
}

fn digest(version: u64) -> Digest {
    bundle(version).digest()
}

/// Something that a writer does to a store in which versions 1 and 2 were activated and 3 is staged.
#[derive(Clone, Copy, Debug)]
struct Deed {
    name: &'static str,
    run: fn(&PolicyStore) -> Result<(), PolicyStoreError>,
    /// The version that is in force when it is done.
    then: u64,
}

const DEEDS: [Deed; 6] = [
    Deed {
        name: "stage",
        run: |store| store.stage(&bundle(4)),
        then: 2,
    },
    Deed {
        name: "stage again with another signature",
        run: |store| {
            let other = PolicyKey::from_seed(&[2; 32], "casemate.test/other").unwrap();
            let bundle = bundle(3);
            let note = other.sign(&bundle);
            store.stage(&bundle.with_signature(Some(note)))
        },
        then: 2,
    },
    Deed {
        name: "trust",
        run: |store| store.trust(Role::Approver, key().public()),
        then: 2,
    },
    Deed {
        name: "activate",
        run: |store| {
            let kind = ActivationKind::Activate;
            store
                .activate(digest(3), Some(digest(2)), 3, kind)
                .map(drop)
        },
        then: 3,
    },
    Deed {
        name: "activate when history lacks the current one",
        run: |store| {
            fs::remove_file(store.path().join("history/2")).unwrap();
            let kind = ActivationKind::Activate;
            store
                .activate(digest(3), Some(digest(2)), 3, kind)
                .map(drop)
        },
        then: 3,
    },
    Deed {
        name: "rollback",
        run: |store| store.rollback(None, digest(2), 3).map(drop),
        then: 1,
    },
];

/// The directory of a store that is ready for each deed: a copy, because to make one takes many syncs.
fn prepared() -> TempDir {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    let dir = tempfile::tempdir().unwrap();
    copy(MADE.get_or_init(make).path(), dir.path());
    dir
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if from.is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

fn make() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = PolicyStore::open(&dir.path().join("policy")).unwrap();
    let other = PolicyKey::from_seed(&[2; 32], "casemate.test/other").unwrap();
    store.trust(Role::Publisher, key().public()).unwrap();
    store.trust(Role::Publisher, other.public()).unwrap();
    let mut seen = None;
    for version in 1..=3 {
        let bundle = bundle(version);
        store.stage(&bundle).unwrap();
        if version < 3 {
            let kind = ActivationKind::Activate;
            store
                .activate(bundle.digest(), seen, version, kind)
                .unwrap();
            seen = Some(bundle.digest());
        }
    }
    dir
}

fn open(dir: &Path) -> PolicyStore {
    PolicyStore::open(&dir.join("policy")).unwrap()
}

/// The version in force, after a look at everything: whole bundles, a whole history, and nothing else.
fn checked(store: &PolicyStore) -> u64 {
    let current = store.current().unwrap().unwrap();
    assert_eq!(
        store.load(current.digest).unwrap().version(),
        current.version
    );
    assert_eq!(store.history().unwrap().last(), Some(&current));
    for listed in store.list().unwrap() {
        listed.bundle.unwrap();
    }
    store.trusted().unwrap();
    current.version
}

/// Does a deed on a store of its own.
fn tried(deed: Deed, at: At) -> (TempDir, Arc<Script>, Result<(), PolicyStoreError>) {
    let dir = prepared();
    let script = Script::new(at);
    let steps: Arc<dyn Steps> = Arc::clone(&script) as _;
    let store = PolicyStore::open_with(&dir.path().join("policy"), Some(steps)).unwrap();
    let done = (deed.run)(&store);
    (dir, script, done)
}

fn noted(deed: Deed) -> Vec<String> {
    let (dir, script, done) = tried(deed, At::Note(Mutex::default()));
    done.unwrap();
    assert_eq!(checked(&open(dir.path())), deed.then, "{}", deed.name);
    let At::Note(steps) = &script.at else {
        panic!("{script:?}")
    };
    steps.lock().unwrap().clone()
}

/// The disk fills up, or breaks, before each step in turn.
#[test]
fn a_writer_that_fails_at_any_step_leaves_the_old_bundle_in_force() {
    for deed in DEEDS {
        let steps = noted(deed);
        assert!(steps.len() >= 4, "{}: {steps:?}", deed.name);
        for (at, step) in steps.iter().enumerate() {
            let (dir, _, done) = tried(deed, At::Fail(at));
            let store = open(dir.path());
            let what = format!("{}, {step}: {done:?}", deed.name);
            let version = checked(&store);
            match done {
                // Only what the next activation would do again.
                Ok(()) => {
                    assert!(step.contains("/history"), "{what}");
                    assert_eq!(version, deed.then, "{what}");
                }
                Err(PolicyStoreError::Unsettled { activation, .. }) => {
                    assert_eq!(step, "sync policy", "{what}");
                    assert_eq!(
                        (version, activation.version),
                        (deed.then, version),
                        "{what}"
                    );
                }
                Err(_) => {
                    assert_eq!(version, 2, "{what}");
                    // The deed can be done again, unless it took its own ground away.
                    if fs::exists(dir.path().join("policy/history/2")).unwrap() {
                        (deed.run)(&store).unwrap_or_else(|error| panic!("{what}: {error}"));
                        assert_eq!(checked(&store), deed.then, "{what}");
                    }
                }
            }
        }
    }
}

/// The process dies before each step in turn, and takes its locks with it.
#[test]
fn a_writer_that_dies_at_any_step_leaves_the_old_bundle_in_force() {
    for (number, deed) in DEEDS.into_iter().enumerate() {
        let steps = noted(deed);
        let renamed = steps
            .iter()
            .position(|step| step == "rename policy/current");
        for (at, step) in steps.iter().enumerate() {
            let dir = prepared();
            let died = Command::new(env::current_exe().unwrap())
                .args(["--exact", "store::tests::child"])
                .env(ROLE, number.to_string())
                .env(STEP, at.to_string())
                .env(DIR, dir.path())
                .output()
                .unwrap();
            assert!(!died.status.success(), "{}, {step}: {died:?}", deed.name);
            let store = open(dir.path());
            let after = renamed.is_some_and(|renamed| at > renamed);
            let expected = if after { deed.then } else { 2 };
            assert_eq!(checked(&store), expected, "{}, {step}", deed.name);
            let gone = !fs::exists(dir.path().join("policy/history/2")).unwrap();
            if !after && !gone {
                (deed.run)(&store).unwrap();
                assert_eq!(checked(&store), deed.then, "{}, {step}", deed.name);
            }
        }
    }
}

/// Not a test by itself: the process that dies, of itself or by its parent's hand.
#[test]
fn child() {
    let (Ok(role), Ok(dir)) = (env::var(ROLE), env::var(DIR)) else {
        return;
    };
    let path = Path::new(&dir).join("policy");
    if role == "writes" {
        write_forever(&path);
    }
    let step = env::var(STEP).unwrap().parse().unwrap();
    let store = PolicyStore::open_with(&path, Some(Script::new(At::Die(step)))).unwrap();
    (DEEDS[role.parse::<usize>().unwrap()].run)(&store).unwrap();
}

/// Says each step before it, each activation before and after it.
fn write_forever(path: &Path) -> ! {
    let store = PolicyStore::open_with(path, Some(Script::new(At::Say))).unwrap();
    loop {
        let seen = store.current().unwrap();
        let past = store.history().unwrap();
        let newest = past.iter().map(|past| past.version).max().unwrap_or(0);
        let seen = seen.map(|seen| seen.digest);
        if newest > 2 && past.len().is_multiple_of(3) {
            let target = past.iter().rev().find(|past| Some(past.digest) != seen);
            let target = target.unwrap().digest;
            say(&format!("try {target}"));
            let done = store.rollback(Some(target), seen.unwrap(), 0).unwrap();
            say(&format!("done {} {}", done.sequence, done.digest));
            continue;
        }
        let bundle = bundle(newest + 1);
        store.stage(&bundle).unwrap();
        say(&format!("try {}", bundle.digest()));
        let kind = ActivationKind::Activate;
        let done = store.activate(bundle.digest(), seen, 0, kind).unwrap();
        say(&format!("done {} {}", done.sequence, done.digest));
    }
}

/// What a writer that was killed had said.
#[derive(Default)]
struct Said {
    tried: Option<String>,
    done: Option<(u64, String)>,
}

/// Starts a writer, kills it when it has said so many lines, and gives what it had said.
fn killed(dir: &Path, lines: usize, spins: u32) -> Said {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "store::tests::child", "--nocapture"])
        .env(ROLE, "writes")
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut text = Vec::new();
    let mut byte = [0];
    while text.split(|byte| *byte == b'\n').count() <= lines {
        assert_eq!(out.read(&mut byte).unwrap(), 1, "it ended by itself");
        text.push(byte[0]);
    }
    // It goes on meanwhile: the moment is anywhere in or between its steps.
    for _ in 0..spins {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    out.read_to_end(&mut text).unwrap();
    let mut said = Said::default();
    for line in String::from_utf8(text).unwrap().lines() {
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["try", digest] => said.tried = Some((*digest).to_owned()),
            ["done", sequence, digest] => {
                said.done = Some((sequence.parse().unwrap(), (*digest).to_owned()));
            }
            _ => {}
        }
    }
    said
}

/// SIGKILL at random moments, again and again on one store: nothing that was done is lost, nothing is half done.
#[test]
fn a_writer_that_is_killed_at_any_moment_leaves_a_whole_store() {
    const KILLS: usize = 100;
    let seed = env::var("CASEMATE_TEST_SEED")
        .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("CASEMATE_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let dir = prepared();
    let mut before = open(dir.path()).current().unwrap().unwrap();
    let (mut in_between, mut moved) = (0, 0);
    for kill in 0..KILLS {
        let said = killed(dir.path(), random.usize(5..120), random.u32(..200_000));
        let store = open(dir.path());
        checked(&store);
        let now = store.current().unwrap().unwrap();
        let (sequence, digest) = said
            .done
            .unwrap_or((before.sequence, before.digest.to_string()));
        // Either the last that was done, or the one that it was at.
        if now.sequence == sequence {
            assert_eq!(now.digest.to_string(), digest, "kill {kill}");
        } else {
            assert_eq!(now.sequence, sequence + 1, "kill {kill}");
            assert_eq!(Some(now.digest.to_string()), said.tried, "kill {kill}");
            in_between += 1;
        }
        moved += usize::from(now != before);
        before = now;
    }
    println!(
        "{moved} of {KILLS} kills came after an activation, {in_between} between it and its answer"
    );
    assert!(moved > KILLS / 4, "the writers did too little: {moved}");
}

/// What has to be on disk before a name points to it, and the name before anybody is told (power cut, not kill).
#[test]
fn an_activation_is_durable_in_this_order() {
    assert_eq!(
        noted(DEEDS[3]),
        [
            "sync policy/history",
            "create policy/.new",
            "write policy/.new",
            "sync policy/.new",
            "rename policy/current",
            "sync policy",
            "create policy/history/.new",
            "write policy/history/.new",
            "sync policy/history/.new",
            "rename policy/history/3",
            "sync policy/history",
        ]
    );
}

/// Each file and each directory of a staged bundle, then its name.
#[test]
fn a_stage_is_durable_in_this_order() {
    let steps = noted(DEEDS[0]);
    let at = |wanted: &str| {
        let mut found = steps.iter().enumerate().filter(|(_, step)| *step == wanted);
        let first = found.next();
        assert!(found.next().is_none(), "{wanted} twice in {steps:#?}");
        first
            .unwrap_or_else(|| panic!("no {wanted} in {steps:#?}"))
            .0
    };
    let new = "policy/bundles/.new";
    let name = directory_of(&digest(4));
    let rename = at(&format!("rename policy/bundles/{name}"));
    for file in [
        "bundle.sig",
        "bundle.toml",
        "policies/a.cedar",
        "profiles/a.toml",
        "profiles/b.toml",
    ] {
        let write = at(&format!("write {new}/{file}"));
        let sync = at(&format!("sync {new}/{file}"));
        assert!(write < sync && sync < rename, "{file}: {steps:#?}");
    }
    for dir in ["/policies", "/profiles", ""] {
        let sync = at(&format!("sync {new}{dir}"));
        let last = steps.iter().rposition(|step| {
            step.strip_prefix("create ")
                .is_some_and(|path| path.starts_with(&format!("{new}{dir}/")))
        });
        assert!(last.unwrap() < sync && sync < rename, "{dir}: {steps:#?}");
    }
    assert_eq!(steps.last().unwrap(), "sync policy/bundles");
    assert_eq!(steps.len(), rename + 2, "{steps:#?}");
}

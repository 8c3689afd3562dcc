use std::{
    fs,
    path::Path,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use casemate_files::{Dir, FileError, Privacy, Steps, UNFINISHED, make};

const MAX: u64 = 1_000;
const WAIT_MS: u64 = 60_000;

fn open(path: &Path) -> Dir {
    Dir::open(path, Privacy::Readable).unwrap()
}

#[test]
fn missing_parents_are_made_for_this_user_only() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b/c");
    make(&deep).unwrap();
    make(&deep).unwrap();
    for made in [&deep, &dir.path().join("a")] {
        assert_eq!(fs::metadata(made).unwrap().permissions().mode(), 0o40_700);
    }
    fs::write(deep.join("file"), "").unwrap();
    assert!(make(&deep.join("file/d")).is_err());
    let opened = Dir::open(&deep.join("file"), Privacy::Secret);
    assert!(
        matches!(opened, Err(FileError::NotADirectory { .. })),
        "{opened:?}"
    );
}

/// What somebody did not finish is neither read nor in the way, be it a file or a tree.
#[test]
fn what_was_left_unfinished_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    let held = opened.lock(WAIT_MS).unwrap();
    for tree in [false, true] {
        let left = dir.path().join(UNFINISHED);
        match tree {
            false => fs::write(&left, "half").unwrap(),
            true => fs::create_dir_all(left.join("deep")).unwrap(),
        }
        opened.replace(&held, "name", b"whole").unwrap();
        let read = opened.read("name", MAX, Privacy::Secret).unwrap().unwrap();
        assert_eq!(read.content, b"whole");
        assert_eq!(opened.names().unwrap().len(), 3, "`.`, `..` and the file");
    }
}

/// A reader sees the old content or the new, whole; and knows by one look which.
#[test]
fn a_reader_never_sees_half() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("name");
    let contents = [vec![b'a'; 900], vec![b'b'; 100]];
    let opened = open(dir.path());
    opened
        .replace(&opened.lock(WAIT_MS).unwrap(), "name", &contents[0])
        .unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..200 {
                let held = opened.lock(WAIT_MS).unwrap();
                opened.replace(&held, "name", &contents[n % 2]).unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        let reader = open(dir.path());
        while !done.load(Ordering::SeqCst) {
            let read = reader.read("name", MAX, Privacy::Secret).unwrap().unwrap();
            assert!(contents.contains(&read.content));
        }
    });
    let read = opened.read("name", MAX, Privacy::Secret).unwrap().unwrap();
    let (pinned, content) = read.pin();
    assert_eq!(content, contents[1]);
    assert!(pinned.is(&fs::metadata(&file).unwrap()));
    let held = opened.lock(WAIT_MS).unwrap();
    opened.replace(&held, "name", &contents[1]).unwrap();
    assert!(
        !pinned.is(&fs::metadata(&file).unwrap()),
        "the same content in another file is another file"
    );
}

/// Two handles in one process keep each other out as two processes do, and who cannot wait is told.
#[test]
fn one_at_a_time_holds_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let counter = dir.path().join("counter");
    fs::write(&counter, "0").unwrap();
    let begin = Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let dir = open(dir.path());
                begin.wait();
                for _ in 0..50 {
                    let _held = dir.lock(WAIT_MS).unwrap();
                    let now: u32 = fs::read_to_string(&counter).unwrap().parse().unwrap();
                    fs::write(&counter, (now + 1).to_string()).unwrap();
                }
            });
        }
    });
    assert_eq!(fs::read_to_string(&counter).unwrap(), "200");

    let held = open(dir.path()).lock(WAIT_MS).unwrap();
    let second = open(dir.path()).lock(0);
    assert!(
        matches!(second, Err(FileError::Locked { waited_ms: 0, .. })),
        "{second:?}"
    );
    drop(held);
    open(dir.path()).lock(0).unwrap();
}

#[derive(Debug, Default)]
struct Refuse {
    at: &'static str,
    seen: Mutex<Vec<&'static str>>,
}

impl Steps for Refuse {
    fn before(&self, step: &'static str, _: &Path) -> std::io::Result<()> {
        self.seen.lock().unwrap().push(step);
        match step == self.at {
            true => Err(std::io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

/// Whatever the system refuses: the old content keeps its name.
#[test]
fn a_replacement_that_fails_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let plain = open(dir.path());
    let held = plain.lock(WAIT_MS).unwrap();
    plain.replace(&held, "name", b"old").unwrap();
    for at in ["create", "write", "sync", "rename"] {
        let steps = Arc::new(Refuse {
            at,
            ..Refuse::default()
        });
        let refusing = open(dir.path()).with_steps(Some(Arc::clone(&steps) as _));
        let failed = refusing.replace(&held, "name", b"new");
        let refused = matches!(&failed, Err(FileError::Io { step, .. }) if *step == at);
        assert!(refused, "{failed:?}");
        assert_eq!(steps.seen.lock().unwrap().last(), Some(&at));
        assert_eq!(fs::read(dir.path().join("name")).unwrap(), b"old");
    }
}

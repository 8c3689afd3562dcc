use std::os::unix::fs::{PermissionsExt as _, symlink};

use tempfile::TempDir;

use super::*;

struct Place {
    dir: TempDir,
    sink: Sink,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("a/out");
        let sink = Sink::open(Some(&out)).unwrap();
        Self { dir, sink }
    }

    fn out(&self) -> std::path::PathBuf {
        self.dir.path().join("a/out")
    }

    fn write(&mut self, path: &[u8], mut content: &[u8]) -> Option<String> {
        self.sink
            .file(&path.to_vec().into(), false, &mut content)
            .unwrap()
    }
}

#[test]
fn files_are_written_below_the_directory() {
    let mut place = Place::new();
    assert_eq!(place.write(b"a.txt", b"one"), None);
    assert_eq!(place.write(b"x/y/z.txt", b"two"), None);
    assert_eq!(place.write(b"a.txt", b"three"), None, "replaces");
    assert_eq!(place.write(b"\xff\n", b"bytes"), None);
    let script = &mut &b"#!/bin/sh"[..];
    assert_eq!(place.sink.file(&"run".into(), true, script).unwrap(), None);
    assert_eq!(fs::read(place.out().join("a.txt")).unwrap(), b"three");
    assert_eq!(fs::read(place.out().join("x/y/z.txt")).unwrap(), b"two");
    assert_eq!(
        fs::read(place.out().join(OsStr::from_bytes(b"\xff\n"))).unwrap(),
        b"bytes"
    );
    let mode = |name: &str| {
        fs::metadata(place.out().join(name))
            .unwrap()
            .permissions()
            .mode()
    };
    assert_eq!(mode("run") & 0o100, 0o100);
    assert_eq!(mode("a.txt") & 0o111, 0);
    assert_eq!(
        fs::read_dir(place.out()).unwrap().count(),
        4,
        "nothing unfinished is left"
    );
}

/// Whatever the path is: nothing outside is written.
#[test]
fn a_path_that_leads_elsewhere_is_refused() {
    let mut place = Place::new();
    for path in [
        &b""[..],
        b".",
        b"..",
        b"../escaped",
        b"x/../../escaped",
        b"/escaped",
        b"x//y",
        b"x/.",
        b"x/./y",
        b"x/",
        b"a\0b",
    ] {
        assert!(place.write(path, b"no").is_some(), "{path:?}");
    }
    assert!(!place.dir.path().join("a/escaped").exists());
    assert!(!Path::new("/escaped").exists());
    assert_eq!(fs::read_dir(place.dir.path().join("a")).unwrap().count(), 1);
}

/// Links that wait in the directory are neither followed nor written through.
#[test]
fn links_in_the_directory_lead_nowhere() {
    let mut place = Place::new();
    let outside = place.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "kept").unwrap();
    symlink(&outside, place.out().join("sub")).unwrap();
    symlink(outside.join("kept"), place.out().join("link")).unwrap();
    fs::hard_link(outside.join("kept"), place.out().join("hard")).unwrap();

    let refused = place.write(b"sub/file", b"no").unwrap();
    assert!(refused.contains("`sub`"), "{refused}");
    assert_eq!(place.write(b"link", b"new"), None, "the link is replaced");
    assert_eq!(place.write(b"hard", b"new"), None);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read(outside.join("kept")).unwrap(), b"kept");
    assert!(!place.out().join("link").is_symlink());
}

#[test]
fn a_file_that_cannot_be_written_leaves_nothing_and_does_not_stop_the_next() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
    let mut place = Place::new();
    fs::create_dir(place.out().join("dir")).unwrap();
    assert!(place.write(b"dir", b"a directory has this name").is_some());
    assert_eq!(place.write(b"file", b"x"), None);
    assert!(
        place
            .write(b"file/below", b"a file has this name")
            .is_some()
    );
    assert!(place.write(&[b'n'; 256], b"too long").is_some());
    assert!(
        place
            .sink
            .file(&"broken".into(), false, &mut Broken)
            .unwrap()
            .is_some()
    );
    let mut names: Vec<_> = fs::read_dir(place.out())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["dir", "file"]);
}

/// What a dead run left does not stop this one, and is not overwritten through a link.
#[test]
fn an_unfinished_name_that_is_taken_is_not_used() {
    let mut place = Place::new();
    let outside = place.dir.path().join("outside");
    fs::write(&outside, "kept").unwrap();
    let taken = format!("{TEMPORARY}-{}-0", std::process::id());
    symlink(&outside, place.out().join(taken)).unwrap();
    assert_eq!(place.write(b"file", b"new"), None);
    assert_eq!(fs::read(outside).unwrap(), b"kept");
    assert_eq!(fs::read(place.out().join("file")).unwrap(), b"new");
}

#[test]
fn without_a_directory_artefacts_are_listed_only() {
    let mut sink = Sink::open(None).unwrap();
    let skipped = sink.file(&"a".into(), false, &mut &b"x"[..]).unwrap();
    assert!(skipped.unwrap().contains("--out"));
}

#[test]
fn a_file_is_no_directory_for_artefacts() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(Sink::open(Some(file.path())).is_err());
    assert!(Sink::open(Some(&file.path().join("x"))).is_err());
}

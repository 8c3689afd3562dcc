//! I13, I15: what is not a bundle is refused with the path at fault.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt as _, fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
    process::Command,
};

use casemate_bundle::{Bundle, BundleError, MAX_FILES};
use serde::Deserialize;

use crate::support::{files, unsigned, write};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    why: String,
    put: BTreeMap<String, String>,
    path: String,
    says: String,
}

fn path_of(base: &Path, text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut parts = text.trim_end_matches('/').split("\\xff");
    bytes.extend(parts.next().unwrap().bytes());
    for part in parts {
        bytes.push(0xff);
        bytes.extend(part.bytes());
    }
    match bytes.is_empty() {
        true => base.to_owned(),
        false => base.join(OsString::from_vec(bytes)),
    }
}

fn put(path: &Path, what: &str) {
    let (what, argument) = what.split_once(':').unwrap_or((what, ""));
    if what != "files" {
        let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
    }
    match what {
        "none" => {}
        "file" => fs::write(path, "").unwrap(),
        "text" => fs::write(path, argument).unwrap(),
        "bytes" => fs::File::create(path)
            .unwrap()
            .set_len(argument.parse().unwrap())
            .unwrap(),
        "link" => symlink(argument, path).unwrap(),
        "pipe" => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        "socket" => drop(UnixListener::bind(path).unwrap()),
        "directory" => fs::create_dir(path).unwrap(),
        "files" => {
            for number in 0..argument.parse().unwrap() {
                fs::write(path.join(format!("{number}.toml")), "").unwrap();
            }
        }
        other => panic!("{other}?"),
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[test]
fn what_is_not_a_bundle_is_refused_by_name() {
    let cases: Cases = toml::from_str(include_str!("../bad.toml")).unwrap();
    assert!(cases.case.len() > 50);
    for case in cases.case {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("bundle");
        write(&base, &files("p", 1));
        assert!(Bundle::read(&base).is_ok());
        for (path, what) in &case.put {
            put(&path_of(&base, path), what);
        }
        let error = Bundle::read(&base).expect_err(&case.why);
        let said = chain(&error);
        assert!(said.contains(&case.says), "{}: {said}", case.why);
        let path = format!("bundle/{}", case.path);
        let path = path.trim_end_matches('/');
        assert!(said.contains(path), "{}: {path} is not in {said}", case.why);
        assert!(!said.contains('\x1b'), "{}", case.why);
    }
}

/// As many files and bytes as the limits say are still a bundle.
#[test]
fn a_bundle_at_its_limits_is_one() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &files("p", 1));
    put(&dir.path().join("tests"), "files:1018");
    put(&dir.path().join("policies/b.cedar"), "bytes:4194304");
    fs::remove_file(dir.path().join("tests/0.toml")).unwrap();
    let bundle = Bundle::read(dir.path()).unwrap();
    assert_eq!(bundle.files().len(), MAX_FILES);
    put(&dir.path().join("tests/0.toml"), "file");
    assert!(matches!(
        Bundle::read(dir.path()),
        Err(BundleError::TooMany { .. })
    ));
}

/// What is made in memory meets the same rules.
#[test]
fn files_in_memory_are_checked_like_those_on_disk() {
    for bad in [
        "bundle.sig",
        "other",
        "profiles",
        "profiles/",
        "profiles/.a.toml",
        "profiles/../a.toml",
        "profiles/x/a.toml",
        "/profiles/a.toml",
        "./profiles/a.toml",
        "profiles//a.toml",
        "profiles/.toml",
        "profiles/ä.toml",
        "policies/a.toml",
        "",
    ] {
        let mut files = files("p", 1);
        files.insert(bad.into(), Vec::new());
        assert!(Bundle::from_files(files, None).is_err(), "{bad:?}");
    }
    let mut large = files("p", 1);
    large.insert("policies/b.cedar".into(), vec![0; (4 << 20) + 1]);
    assert!(matches!(
        Bundle::from_files(large, None),
        Err(BundleError::TooLarge { .. })
    ));
    let note = Some("x".repeat(16_385));
    assert!(matches!(
        Bundle::from_files(files("p", 1), note),
        Err(BundleError::TooLarge { .. })
    ));
    let shown = format!("{:?}", unsigned("p", 1));
    assert!(!shown.contains("permit"), "{shown}");
}

use std::{
    os::unix::fs::{PermissionsExt as _, symlink},
    process::Command,
    time::{Duration, SystemTime},
};

use super::*;
use crate::sample;

fn index_of(fill: impl Fn(&Path)) -> Result<Vec<u8>, ImageError> {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    write(&entries(dir.path())?)
}

/// The same content is the same index, whatever the order in which it was written and the time.
#[test]
fn only_content_counts() {
    let first = index_of(sample::fill).unwrap();
    let again = index_of(|tree| {
        std::thread::sleep(Duration::from_millis(2));
        fs::create_dir_all(tree.join("site-packages")).unwrap();
        fs::write(tree.join("site-packages/x"), "gone").unwrap();
        sample::fill(tree);
        fs::remove_file(tree.join("site-packages/x")).unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let data = fs::File::open(tree.join("site-packages/pkg/data")).unwrap();
        data.set_modified(old).unwrap();
    });
    assert_eq!(first, again.unwrap());

    let others: [fn(&Path); 7] = [
        |tree| fs::write(tree.join("site-packages/pkg/data"), "\0").unwrap(),
        |tree| fs::write(tree.join("new"), "").unwrap(),
        |tree| fs::create_dir(tree.join("new")).unwrap(),
        |tree| fs::remove_file(tree.join("site-packages/pkg/data")).unwrap(),
        |tree| {
            fs::rename(
                tree.join("site-packages/pkg"),
                tree.join("site-packages/Pkg"),
            )
            .unwrap()
        },
        |tree| {
            let executable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(tree.join("site-packages/pkg/data"), executable).unwrap();
        },
        |tree| {
            fs::remove_file(tree.join("site-packages/link")).unwrap();
            symlink("pkg/dat", tree.join("site-packages/link")).unwrap();
        },
    ];
    for (number, change) in others.iter().enumerate() {
        let changed = index_of(|tree| {
            sample::fill(tree);
            change(tree);
        });
        assert_ne!(first, changed.unwrap(), "change {number}");
    }
}

/// A file cannot pretend to be several entries, nor one entry another's content.
#[test]
fn hostile_names_survive() {
    let names: [&[u8]; 4] = [
        b"a\n{\"path\":\"b\",\"directory\":{}}",
        b"\xff\xfe",
        b"\"",
        b"a\\nb",
    ];
    let lines = index_of(|tree| {
        for name in names {
            fs::write(tree.join(std::ffi::OsStr::from_bytes(name)), "x").unwrap();
        }
    });
    let parsed = parse(&lines.unwrap()).unwrap();
    let mut found: Vec<_> = parsed.iter().map(|entry| entry.path.as_bytes()).collect();
    found.sort_unstable();
    let mut expected = names.to_vec();
    expected.push(b"");
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn an_index_is_sorted_and_complete_lines() {
    let one = r#"{"path":"a","directory":{}}"#;
    let two = r#"{"path":"b","file":{"sha256":"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","bytes":3,"executable":false}}"#;
    assert_eq!(
        parse(format!("{one}\n{two}\n").as_bytes()).unwrap().len(),
        2
    );
    for bad in [
        String::new(),
        "\n".to_owned(),
        one.to_owned(),
        format!("{two}\n{one}\n"),
        format!("{one}\n{one}\n"),
        format!("{one}\n\n{two}\n"),
        format!("{one} {one}\n"),
        r#"{"path":"a","device":{}}"#.to_owned() + "\n",
        r#"{"path":"a"}"#.to_owned() + "\n",
    ] {
        assert!(parse(bad.as_bytes()).is_none(), "{bad}");
    }
}

#[test]
fn a_link_that_leads_out_is_refused() {
    for target in [
        "/etc/passwd",
        "/",
        "..",
        "../x",
        "a/../../..",
        "site-packages/../..",
        "./../x",
        "pkg/..",
        "pkg/../pkg",
    ] {
        let refused = index_of(|tree| {
            sample::fill(tree);
            symlink(target, tree.join("evil")).unwrap();
        });
        let Err(ImageError::Entry { path, what }) = refused else {
            panic!("{target}: {refused:?}");
        };
        assert_eq!((path, what), ("evil".into(), "a link that leads out"));
    }
    for (place, target) in [
        ("fine", "site-packages/pkg"),
        ("fine", "missing"),
        ("site-packages/fine", "../site-packages/link"),
        ("site-packages/pkg/fine", "../../site-packages"),
        ("site-packages/pkg/fine", "./data"),
    ] {
        let accepted = index_of(|tree| {
            sample::fill(tree);
            symlink(target, tree.join(place)).unwrap();
        });
        assert!(accepted.is_ok(), "{place} to {target}: {accepted:?}");
    }
}

/// A link is an entry, never a way: what it leads to is not read, not even when it stands for the tree.
#[test]
fn no_link_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("secret")).unwrap();
    fs::write(dir.path().join("secret/file"), "x").unwrap();
    symlink("secret", dir.path().join("tree")).unwrap();
    let sights = scan(&dir.path().join("tree")).unwrap();
    assert_eq!(sights.len(), 1);
    assert!(matches!(
        &sights[0],
        Sight::Fine(Found {
            entry: Entry {
                kind: Kind::Link { .. },
                ..
            },
            ..
        })
    ));
}

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let refused = index_of(|tree| {
        let made = Command::new("mkfifo").arg(tree.join("pipe")).status();
        assert!(made.unwrap().success());
    });
    assert!(
        matches!(refused, Err(ImageError::Entry { .. })),
        "{refused:?}"
    );
}

//! The state directory.

use std::{
    fs,
    os::unix::fs::{chown, symlink},
    path::Path,
};

use casemate_store::{Keys, StateDir, StoreError};

use crate::{
    child,
    support::{Home, chmod, files_under, is_root, mode},
};

#[test]
fn everything_is_made_for_its_owner_alone() {
    let home = Home::new();
    home.keys().signing_seed().unwrap();
    home.keys().seal("a", b"", b"x").unwrap();
    home.state.agent("a").unwrap();
    for dir in [
        "",
        "keys",
        "keys/agents",
        "keys/agents/a",
        "ledger",
        "agents",
        "agents/a",
    ] {
        assert_eq!(mode(&home.path(dir)), 0o700, "{dir}");
    }
    let files = files_under(&home.root());
    assert_eq!(files.len(), 3, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{file:?}");
    }
    assert_eq!(home.state.keys(), home.path("keys"));
    assert_eq!(home.state.ledger(), home.path("ledger"));
    assert_eq!(home.state.agent("a").unwrap(), home.path("agents/a"));
}

#[test]
fn missing_parents_are_made() {
    let temp = tempfile::tempdir().unwrap();
    StateDir::open(&temp.path().join("a/b/state")).unwrap();
    assert_eq!(mode(&temp.path().join("a")), 0o700);
}

/// The way of every start after the first: nothing is written.
#[test]
fn opening_again_changes_nothing() {
    let home = Home::new();
    let first = home.keys();
    let seed = first.signing_seed().unwrap();
    let sealed = first.seal("a", b"", b"x").unwrap();
    let dirs = [
        "",
        "keys",
        "keys/agents",
        "keys/agents/a",
        "ledger",
        "agents",
    ];
    let times = || dirs.map(|dir| fs::metadata(home.path(dir)).unwrap().modified().unwrap());
    let before = times();
    let again = Keys::open(&StateDir::open(&home.root()).unwrap()).unwrap();
    assert_eq!(again.signing_seed().unwrap(), seed);
    again.unseal("a", b"", &sealed).unwrap();
    again.seal("a", b"", b"y").unwrap();
    assert_eq!(times(), before);
}

/// The process forks a sandbox after these.
#[test]
fn nothing_but_the_database_starts_a_thread() {
    let home = Home::new();
    let counts = child::start("count_threads", &home.root(), &[]).lines();
    assert_eq!(counts.len(), 2);
    assert_eq!(counts[0], counts[1]);
}

#[test]
fn a_root_that_others_can_write_to_is_refused_and_left_alone() {
    for bad in [0o770, 0o707, 0o1777, 0o720] {
        let temp = tempfile::tempdir().unwrap();
        chmod(temp.path(), bad);
        let error = StateDir::open(temp.path()).unwrap_err();
        assert!(
            matches!(error, StoreError::WritableByOthers { mode, .. } if mode == bad),
            "{error}"
        );
        assert!(error.to_string().contains("chmod go-w"), "{error}");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_directory_inside_that_others_can_write_to_is_refused() {
    for inside in ["keys", "ledger", "agents"] {
        let home = Home::new();
        chmod(&home.path(inside), 0o777);
        let error = StateDir::open(&home.root()).unwrap_err();
        assert!(
            matches!(error, StoreError::WritableByOthers { .. }),
            "{inside}: {error}"
        );
    }
}

/// Somebody else's directory, reached directly or through a link.
#[test]
fn another_users_directory_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let foreign = temp.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    let foreign = if is_root() {
        chown(&foreign, Some(60001), None).unwrap();
        foreign
    } else {
        "/usr".into()
    };
    let link = temp.path().join("link");
    symlink(&foreign, &link).unwrap();
    let before = fs::read_dir(&foreign).unwrap().count();
    for root in [&foreign, &link] {
        let error = StateDir::open(root).unwrap_err();
        assert!(matches!(error, StoreError::ForeignOwner { .. }), "{error}");
    }
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), before);
}

#[test]
fn a_link_to_an_own_directory_leads_there() {
    let home = Home::new();
    let link = home.path("../link");
    symlink(home.root(), &link).unwrap();
    let state = StateDir::open(&link).unwrap();
    assert_eq!(state.keys(), home.path("keys"));
}

#[test]
fn a_link_inside_is_refused() {
    for inside in ["keys", "ledger", "agents"] {
        let home = Home::new();
        let elsewhere = home.path("../elsewhere");
        fs::rename(home.path(inside), &elsewhere).unwrap();
        symlink(&elsewhere, home.path(inside)).unwrap();
        let error = StateDir::open(&home.root()).unwrap_err();
        assert!(
            matches!(error, StoreError::NotADirectory { .. }),
            "{inside}: {error}"
        );
    }
    let home = Home::new();
    symlink(home.path("keys"), home.path("agents/a")).unwrap();
    let error = home.state.agent("a").unwrap_err();
    assert!(matches!(error, StoreError::NotADirectory { .. }), "{error}");
}

#[test]
fn a_root_that_cannot_be_a_directory_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    fs::write(&file, "mine").unwrap();
    let error = StateDir::open(&file).unwrap_err();
    assert!(matches!(error, StoreError::NotADirectory { .. }), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"mine");

    let dangling = temp.path().join("dangling");
    symlink(temp.path().join("nowhere"), &dangling).unwrap();
    let impossible = [
        file.join("below"),
        dangling,
        "/proc/casemate".into(),
        "".into(),
    ];
    for root in impossible {
        let error = StateDir::open(&root).unwrap_err();
        assert!(
            matches!(error, StoreError::Create { .. } | StoreError::Io { .. }),
            "{root:?}: {error}"
        );
    }
    assert!(!temp.path().join("nowhere").exists());
}

/// I10: an agent's name is one directory below `agents`, never a path.
#[test]
fn an_agent_name_is_never_a_path() {
    let home = Home::new();
    let long = "a".repeat(64);
    let hostile = [
        "", ".", "..", "../x", "a/b", "/etc", "a\0b", "A", "-a", "_a", "a b", "a.b", "ä", "a\n",
        &long,
    ];
    for name in hostile {
        let outcomes = [
            home.state.agent(name).map(drop),
            home.keys().seal(name, b"", b"x").map(drop),
            home.keys().erase(name).map(drop),
        ];
        for outcome in outcomes {
            let error = outcome.unwrap_err();
            assert!(
                matches!(error, StoreError::AgentName { .. }),
                "{name:?}: {error}"
            );
        }
    }
    assert_eq!(fs::read_dir(home.path("agents")).unwrap().count(), 0);
    assert!(!home.path("keys/agents").exists());
    for name in ["a", "0", "a-b_c9", &"a".repeat(63)] {
        let path = home.state.agent(name).unwrap();
        assert_eq!(path.parent(), Some(home.path("agents").as_path()));
    }
}

/// A message repeats a hostile name escaped and cut.
#[test]
fn a_message_cannot_be_driven_by_a_name() {
    let home = Home::new();
    let hostile = format!("\x1b[2J\n{}", "x".repeat(10_000));
    let message = home.state.agent(&hostile).unwrap_err().to_string();
    assert!(
        message.len() < 400 && !message.contains(['\x1b', '\n']),
        "{message}"
    );
}

#[test]
fn a_relative_root_does_not_move_with_the_process() {
    let home = Home::new();
    let here = std::env::current_dir().unwrap();
    let up: String = here.components().skip(1).map(|_| "../").collect();
    let relative = format!(
        "{up}{}",
        home.root().display().to_string().trim_start_matches('/')
    );
    let state = StateDir::open(Path::new(&relative)).unwrap();
    assert_eq!(state.keys(), home.path("keys"));
}

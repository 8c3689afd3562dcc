//! The provider key and the signing seed.

use std::{fs, os::unix::fs::symlink, path::Path, thread};

use casemate_store::{CryptoError, FileProvider, KeyProvider as _, Keys, StateDir, StoreError};

use crate::{
    child,
    support::{Home, chmod, mode},
};

#[test]
fn the_signing_seed_is_made_once_and_is_on_disk_only_wrapped() {
    let home = Home::new();
    let seed = home.keys().signing_seed().unwrap();
    assert_eq!(home.keys().signing_seed().unwrap(), seed);
    assert_ne!(Home::new().keys().signing_seed().unwrap(), seed);
    assert!(home.holding(seed.as_slice()).is_empty());
    assert_eq!(fs::read(home.path("keys/provider.key")).unwrap().len(), 32);
    assert!(!home.path("keys/new").exists());
}

#[test]
fn sixteen_threads_and_four_processes_agree_on_the_first_keys() {
    let home = Home::new();
    let root = home.root();
    let children: Vec<_> = (0..4).map(|_| child::start("seed", &root, &[])).collect();
    let seeds: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| format!("{:?}", *open(&root).signing_seed().unwrap())))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let said = children.into_iter().flat_map(child::Child::lines);
    let all: Vec<String> = seeds.into_iter().chain(said).collect();
    assert_eq!(all.len(), 20);
    assert!(all.iter().all(|seed| *seed == all[0]));
}

fn open(root: &Path) -> Keys {
    Keys::open(&StateDir::open(root).unwrap()).unwrap()
}

#[test]
fn a_key_file_that_others_can_use_is_refused() {
    for (file, bad) in [
        ("provider.key", 0o640),
        ("provider.key", 0o604),
        ("provider.key", 0o620),
        ("signing.key", 0o644),
    ] {
        let home = Home::new();
        home.keys().signing_seed().unwrap();
        let path = home.path("keys").join(file);
        chmod(&path, bad);
        let error = open_and_sign(&home).unwrap_err();
        assert!(
            matches!(error, StoreError::OpenToOthers { mode, .. } if mode == bad),
            "{error}"
        );
        assert!(error.to_string().contains("chmod 600"), "{error}");
        assert_eq!(mode(&path), bad, "left as it is");
    }
}

#[test]
fn a_link_or_a_pipe_in_place_of_a_key_file_is_refused() {
    for file in ["provider.key", "signing.key"] {
        let home = Home::new();
        home.keys().signing_seed().unwrap();
        let path = home.path("keys").join(file);
        let copy = home.path("../copy");
        fs::rename(&path, &copy).unwrap();

        symlink(&copy, &path).unwrap();
        let error = open_and_sign(&home).unwrap_err();
        assert!(matches!(error, StoreError::NotAFile { .. }), "{error}");

        fs::remove_file(&path).unwrap();
        symlink(home.path("../nowhere"), &path).unwrap();
        let error = open_and_sign(&home).unwrap_err();
        assert!(matches!(error, StoreError::NotAFile { .. }), "{error}");
        assert!(
            !home.path("../nowhere").exists(),
            "nothing was written through the link"
        );

        fs::remove_file(&path).unwrap();
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
        let error = open_and_sign(&home).unwrap_err();
        assert!(matches!(error, StoreError::NotAFile { .. }), "{error}");
    }
}

#[test]
fn a_truncated_or_grown_key_file_is_refused_and_kept() {
    for file in ["provider.key", "signing.key"] {
        for bytes in [0, 1, 31, 33, 59, 61, 5000] {
            let home = Home::new();
            home.keys().signing_seed().unwrap();
            let path = home.path("keys").join(file);
            let whole = fs::read(&path).unwrap();
            let broken: Vec<u8> = whole.iter().copied().cycle().take(bytes).collect();
            fs::write(&path, &broken).unwrap();
            let error = open_and_sign(&home).unwrap_err();
            assert!(
                matches!(
                    error,
                    StoreError::KeyFileSize { .. } | StoreError::Unwrap { .. }
                ),
                "{file} {bytes}: {error}"
            );
            assert!(error.to_string().contains(file), "{error}");
            assert_eq!(fs::read(&path).unwrap(), broken, "never replaced");
        }
    }
}

/// I1: a new key would make everything sealed under the old one unreadable in silence.
#[test]
fn a_lost_provider_key_is_not_replaced_while_it_has_wrapped_others() {
    for first_use in [
        |keys: &Keys| drop(keys.signing_seed().unwrap()),
        |keys: &Keys| drop(keys.seal("a", b"", b"x").unwrap()),
    ] {
        let home = Home::new();
        first_use(&home.keys());
        fs::remove_file(home.path("keys/provider.key")).unwrap();
        let error = Keys::open(&home.state).unwrap_err();
        assert!(
            matches!(error, StoreError::ProviderKeyLost { .. }),
            "{error}"
        );
        assert!(!home.path("keys/provider.key").exists());
    }
}

#[test]
fn another_provider_key_unwraps_nothing() {
    let (home, other) = (Home::new(), Home::new());
    home.keys().signing_seed().unwrap();
    other.keys();
    fs::copy(
        other.path("keys/provider.key"),
        home.path("keys/provider.key"),
    )
    .unwrap();
    let error = home.keys().signing_seed().unwrap_err();
    assert!(matches!(error, StoreError::Unwrap { .. }), "{error}");
}

/// A wrapped key is good for its own place only.
#[test]
fn a_data_key_does_not_serve_as_the_signing_key() {
    let home = Home::new();
    home.keys().signing_seed().unwrap();
    home.keys().seal("a", b"", b"x").unwrap();
    fs::copy(home.data_key("a"), home.path("keys/signing.key")).unwrap();
    let error = home.keys().signing_seed().unwrap_err();
    assert!(matches!(error, StoreError::Unwrap { .. }), "{error}");
}

#[test]
fn what_a_killed_process_left_half_written_is_replaced() {
    let home = Home::new();
    fs::write(home.path("keys/new"), "half a ke").unwrap();
    symlink("/etc/passwd", home.path("keys/agents-link")).unwrap();
    home.keys().signing_seed().unwrap();
    assert!(!home.path("keys/new").exists());
}

#[test]
fn no_message_shows_a_key() {
    let home = Home::new();
    let keys = home.keys();
    keys.signing_seed().unwrap();
    let key = fs::read(home.path("keys/provider.key")).unwrap();
    let shown = format!("{keys:?} {:?}", FileProvider::open(&home.state).unwrap());
    assert!(shown.contains("SecretKey(..)"), "{shown}");
    let list = format!("{key:?}");
    assert!(!shown.contains(list.trim_matches(['[', ']'])), "{shown}");
}

#[test]
fn a_provider_refuses_what_it_did_not_wrap_for_this_place() {
    let home = Home::new();
    let provider = FileProvider::open(&home.state).unwrap();
    let wrapped = provider.wrap(b"here", b"key").unwrap();
    assert_eq!(
        provider.unwrap(b"here", &wrapped).unwrap().as_slice(),
        b"key"
    );
    let mut attempts = vec![(b"there".as_slice(), wrapped.clone())];
    attempts.extend((0..wrapped.len()).map(|end| (b"here".as_slice(), wrapped[..end].to_vec())));
    attempts.extend((0..wrapped.len()).map(|at| {
        let mut changed = wrapped.clone();
        changed[at] ^= 1;
        (b"here".as_slice(), changed)
    }));
    for (aad, bytes) in attempts {
        let refused = provider.unwrap(aad, &bytes);
        assert!(matches!(refused, Err(CryptoError::Decrypt)), "{bytes:?}");
    }
}

fn open_and_sign(home: &Home) -> Result<(), StoreError> {
    Keys::open(&home.state)?.signing_seed().map(drop)
}

//! A store that somebody changed behind our back: found out, and never "no policy" (I1).

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use casemate_bundle::{ActivationKind, PolicyKey, PolicyStore, PolicyStoreError, Role, SIGNATURE};
use casemate_files::FileError;

use crate::support::{Fixture, bundle, key};

fn place(fixture: &Fixture, version: u64) -> PathBuf {
    let digest = bundle("p", version).digest().to_string();
    let hex = digest.strip_prefix("sha256:").unwrap();
    fixture.store.path().join("bundles").join(hex)
}

/// All files below a directory.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files_below(&path)),
            false => found.push(path),
        }
    }
    found
}

/// Whatever byte of a stored bundle was changed, it is neither loaded nor activated.
#[test]
fn a_changed_byte_of_a_stored_bundle_is_found() {
    let fixture = Fixture::with(&[1]);
    fixture.store.stage(&bundle("p", 2)).unwrap();
    let digest = bundle("p", 2).digest();
    let place = place(&fixture, 2);
    let activate = || {
        let kind = ActivationKind::Activate;
        fixture.store.activate(digest, fixture.now(), 0, kind)
    };
    let damaged = |error: &PolicyStoreError| {
        matches!(
            error,
            PolicyStoreError::Tampered { .. } | PolicyStoreError::Stored { .. }
        )
    };
    let paths = files_below(&place);
    assert_eq!(paths.len(), 7);
    for path in paths {
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            if path.ends_with(SIGNATURE) {
                let refused = activate().unwrap_err();
                assert!(
                    damaged(&refused) || matches!(refused, PolicyStoreError::Signature { .. }),
                    "{path:?} {at}: {refused}"
                );
            } else {
                let refused = fixture.store.load(digest).unwrap_err();
                assert!(damaged(&refused), "{path:?} {at}: {refused}");
            }
        }
        fs::write(&path, &whole[..whole.len().saturating_sub(1)]).unwrap();
        if !whole.is_empty() {
            assert!(activate().is_err(), "{path:?} cut");
        }
        fs::remove_file(&path).unwrap();
        assert!(activate().is_err(), "{path:?} removed");
        fs::write(&path, whole).unwrap();
    }
    fs::write(place.join("policies/more.cedar"), "").unwrap();
    assert!(matches!(
        fixture.store.load(digest),
        Err(PolicyStoreError::Tampered { .. })
    ));
    assert!(
        fixture.store.stage(&bundle("p", 2)).is_err(),
        "not repaired"
    );
    let listed = fixture.store.list().unwrap();
    assert_eq!(
        listed
            .iter()
            .filter(|listed| listed.bundle.is_err())
            .count(),
        1
    );
    assert_eq!(fixture.now(), Some(bundle("p", 1).digest()));
    // As the message says: remove it and stage it again.
    fs::remove_dir_all(&place).unwrap();
    fixture.store.stage(&bundle("p", 2)).unwrap();
    activate().unwrap();
}

/// A whole bundle under the name of another one.
#[test]
fn an_exchanged_bundle_is_found() {
    let fixture = Fixture::with(&[1]);
    fixture.store.stage(&bundle("p", 2)).unwrap();
    let (one, two) = (place(&fixture, 1), place(&fixture, 2));
    fs::remove_dir_all(&one).unwrap();
    fs::rename(&two, &one).unwrap();
    let digest = bundle("p", 1).digest();
    assert!(matches!(
        fixture.store.load(digest),
        Err(PolicyStoreError::Tampered { found, .. }) if found == bundle("p", 2).digest()
    ));
    fs::rename(&one, &two).unwrap();
    symlink(&two, &one).unwrap();
    assert!(matches!(
        fixture.store.load(digest),
        Err(PolicyStoreError::File(FileError::NotADirectory { .. }))
    ));
}

/// Every bit of the record in force.
#[test]
fn a_changed_bit_of_the_record_is_found() {
    let fixture = Fixture::with(&[1, 2]);
    let path = fixture.store.path().join("current");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            fs::write(&path, bytes).unwrap();
            let found = fixture.store.current();
            assert!(
                matches!(found, Err(PolicyStoreError::Record { .. })),
                "byte {at} bit {bit}: {found:?}"
            );
        }
    }
    // A second signature, even by the same key.
    let text = String::from_utf8(whole.clone()).unwrap();
    let twice = format!("{text}{}", text.rsplit_once("\n\n").unwrap().1);
    let twice = twice.as_bytes();
    for content in [twice, b"", b"\n", &whole[..whole.len() / 2], &[0; 20_000]] {
        fs::write(&path, content).unwrap();
        assert!(fixture.store.current().is_err());
        assert!(fixture.store.list().is_err());
        let [old, new] = [1, 2].map(|version| bundle("p", version).digest());
        assert!(fixture.store.rollback(Some(old), new, 0).is_err());
        assert!(fixture.store.rollback(None, new, 0).is_err());
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(fixture.now(), Some(bundle("p", 2).digest()));
}

impl Fixture {
    fn record(&self, name: &str) -> PathBuf {
        self.store.path().join(name)
    }
}

/// The record lost, put back, taken from another store, or exchanged for something else.
#[test]
fn another_record_than_the_newest_is_found() {
    let fixture = Fixture::with(&[1, 2, 3]);
    let current = fixture.record("current");
    let kept = fs::read(&current).unwrap();
    let [first, second, third] =
        ["1", "2", "3"].map(|name| fs::read(fixture.record("history").join(name)).unwrap());
    assert_eq!(third, kept);
    for (old, number) in [(first, 1), (second, 2)] {
        fs::write(&current, old).unwrap();
        assert!(matches!(
            fixture.store.current(),
            Err(PolicyStoreError::WentBack { found, .. }) if found == number
        ));
        let [next, seen] = [4, number].map(|version| bundle("p", version));
        fixture.store.stage(&next).unwrap();
        let kind = ActivationKind::Activate;
        let refused = fixture
            .store
            .activate(next.digest(), Some(seen.digest()), 0, kind);
        assert!(matches!(refused, Err(PolicyStoreError::WentBack { .. })));
    }
    fs::remove_file(&current).unwrap();
    assert!(matches!(
        fixture.store.current(),
        Err(PolicyStoreError::CurrentLost { .. })
    ));
    let other = Fixture::with(&[1, 2, 3]);
    fs::copy(other.record("current"), &current).unwrap();
    assert!(matches!(
        fixture.store.current(),
        Err(PolicyStoreError::Record { .. })
    ));
    fs::remove_file(&current).unwrap();
    symlink("history/3", &current).unwrap();
    assert!(fixture.store.current().is_err());
    fs::remove_file(&current).unwrap();
    // As the message says: the newest file of history.
    fs::copy(fixture.record("history").join("3"), &current).unwrap();
    assert_eq!(fixture.now(), Some(bundle("p", 3).digest()));
}

/// A rollback believes no changed, missing or exchanged record of the past.
#[test]
fn a_changed_past_is_found() {
    let fixture = Fixture::with(&[1, 2, 3, 4]);
    let past = fixture.record("history").join("2");
    let whole = fs::read(&past).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&past, bytes).unwrap();
        assert!(fixture.store.history().is_err(), "byte {at}");
    }
    assert!(matches!(
        fixture.back(Some(&bundle("p", 1))),
        Err(PolicyStoreError::Record { .. })
    ));
    fs::copy(fixture.record("history").join("1"), &past).unwrap();
    assert!(matches!(
        fixture.store.history(),
        Err(PolicyStoreError::Misplaced { found: 1, .. })
    ));
    fs::remove_file(&past).unwrap();
    assert!(matches!(
        fixture.store.list(),
        Err(PolicyStoreError::HistoryLost { .. })
    ));
    assert_eq!(fixture.now(), Some(bundle("p", 4).digest()));
}

#[test]
fn a_lost_or_exchanged_key_is_not_made_anew() {
    let fixture = Fixture::with(&[1]);
    let key_file = fixture.record("key");
    let kept = fs::read(&key_file).unwrap();
    fs::remove_file(&key_file).unwrap();
    assert!(matches!(
        PolicyStore::open(fixture.store.path()),
        Err(PolicyStoreError::KeyLost { .. })
    ));
    assert!(matches!(
        fixture.put(&bundle("p", 2)),
        Err(PolicyStoreError::KeyLost { .. })
    ));
    PolicyKey::generate("casemate-policy-store")
        .unwrap()
        .save(&key_file)
        .unwrap();
    assert!(matches!(
        fixture.put(&bundle("p", 2)),
        Err(PolicyStoreError::OtherKey { .. })
    ));
    let other = PolicyStore::open(fixture.store.path()).unwrap();
    assert!(matches!(
        other.current(),
        Err(PolicyStoreError::Record { .. })
    ));
    fs::write(&key_file, kept).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(PolicyStore::open(fixture.store.path()).is_err());
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    fixture.put(&bundle("p", 2)).unwrap();
}

#[test]
fn a_store_that_others_can_write_to_is_not_used() {
    let fixture = Fixture::with(&[1]);
    for name in ["", "bundles", "history"] {
        let path = fixture.store.path().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(
            matches!(
                PolicyStore::open(fixture.store.path()),
                Err(PolicyStoreError::File(FileError::WritableByOthers { .. }))
            ),
            "{name}"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    assert!(PolicyStore::open(&dir.path().join("file")).is_err());
    assert!(PolicyStore::open(&dir.path().join("file/below")).is_err());
    let deep = PolicyStore::open(&dir.path().join("a/b/c")).unwrap();
    deep.trust(Role::Publisher, key(1).public()).unwrap();
    for name in ["key", "trusted"] {
        let mode = fs::metadata(deep.path().join(name)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o7777, 0o600, "{name}");
    }
}

//! Erasing an agent's data keys.

use std::{
    fs,
    os::unix::fs::symlink,
    sync::{Arc, Mutex},
    thread,
};

use casemate_store::{CryptoError, FileProvider, KeyProvider, Keys, StoreError};
use zeroize::Zeroizing;

use crate::support::{Home, chmod, contains, files_under};

/// After an erasure nothing under the state directory holds the key, raw or wrapped, and everyone who asks
/// for the content is told why it is gone.
#[test]
fn an_erased_key_is_gone_and_remembered_as_erased() {
    let home = Home::new();
    let provider = Spy::new(&home);
    let keys = Keys::with_provider(&home.state, Box::new(provider.clone())).unwrap();
    let sealed = keys.seal("a", b"", b"personal data").unwrap();
    let of_b = keys.seal("b", b"", b"kept").unwrap();
    let path = home.data_key("a");
    let wrapped = fs::read(&path).unwrap();
    let raw = provider.seen.lock().unwrap()[0].clone();
    // The old content of the file stays visible through another name, as it would in a backup by link.
    let link = home.path("../link");
    fs::hard_link(&path, &link).unwrap();
    assert!(
        home.holding(&wrapped).contains(&path),
        "the scan finds what is there"
    );

    assert_eq!(keys.erase("a").unwrap(), [sealed.key.as_str()]);

    assert!(!path.exists());
    for secret in [raw.as_slice(), &wrapped, &wrapped[12..], &wrapped[..12]] {
        assert!(home.holding(secret).is_empty());
        assert!(
            !contains(&fs::read(&link).unwrap(), secret),
            "the file itself was emptied"
        );
    }
    for _ in 0..2 {
        let error = home.keys().unseal("a", b"", &sealed).unwrap_err();
        assert!(
            matches!(&error, StoreError::KeyErased { agent, key } if agent == "a" && *key == sealed.key),
            "{error}"
        );
        assert!(
            keys.erase("a").unwrap().is_empty(),
            "there is nothing left to erase"
        );
    }
    assert_eq!(
        keys.unseal("b", b"", &of_b).unwrap().as_slice(),
        b"kept",
        "I10: b is not touched"
    );
}

#[test]
fn sealing_goes_on_under_a_new_key_that_does_not_open_the_old() {
    let home = Home::new();
    let keys = home.keys();
    let mut erased = Vec::new();
    for round in 0..5 {
        let sealed = keys.seal("a", b"", b"data").unwrap();
        assert!(!erased.contains(&sealed), "round {round}");
        assert_eq!(keys.unseal("a", b"", &sealed).unwrap().as_slice(), b"data");
        assert_eq!(keys.erase("a").unwrap(), [sealed.key.as_str()]);
        erased.push(sealed);
    }
    let new = keys.seal("a", b"", b"data").unwrap();
    for mut sealed in erased {
        let error = keys.unseal("a", b"", &sealed).unwrap_err();
        assert!(matches!(error, StoreError::KeyErased { .. }), "{error}");
        sealed.key.clone_from(&new.key);
        let error = keys.unseal("a", b"", &sealed).unwrap_err();
        assert!(matches!(error, StoreError::Unseal { .. }), "{error}");
    }
}

#[test]
fn an_agent_without_keys_has_nothing_to_erase() {
    let home = Home::new();
    assert!(home.keys().erase("a").unwrap().is_empty());
    assert!(!home.path("keys/agents").exists());
}

/// A process killed between the two steps of an erasure: the key is unreadable, and the next erasure
/// destroys it.
#[test]
fn an_interrupted_erasure_is_finished_by_the_next() {
    let home = Home::new();
    let keys = home.keys();
    let sealed = keys.seal("a", b"", b"data").unwrap();
    let path = home.data_key("a");
    let wrapped = fs::read(&path).unwrap();
    let erased = home.path("keys/agents/a/erased");
    fs::create_dir(&erased).unwrap();
    fs::rename(&path, erased.join(&sealed.key)).unwrap();

    let error = keys.unseal("a", b"", &sealed).unwrap_err();
    assert!(matches!(error, StoreError::KeyErased { .. }), "{error}");
    let new = keys.seal("a", b"", b"data").unwrap();
    assert_ne!(new.key, sealed.key);
    // Killed while it made a key, between its two names.
    fs::hard_link(home.data_key("a"), home.path("keys/agents/a/new")).unwrap();
    let new_wrapped = fs::read(home.data_key("a")).unwrap();

    let mut both = [sealed.key.clone(), new.key.clone()];
    both.sort();
    assert_eq!(keys.erase("a").unwrap(), both);
    assert!(home.holding(&wrapped).is_empty());
    assert!(home.holding(&new_wrapped).is_empty());
    assert!(!home.path("keys/agents/a/new").exists());
}

#[test]
fn a_key_that_comes_back_from_a_backup_stays_erased() {
    let home = Home::new();
    let keys = home.keys();
    let sealed = keys.seal("a", b"", b"data").unwrap();
    let path = home.data_key("a");
    let backup = fs::read(&path).unwrap();
    keys.erase("a").unwrap();
    fs::write(&path, &backup).unwrap();
    chmod(&path, 0o600);

    let error = keys.unseal("a", b"", &sealed).unwrap_err();
    assert!(matches!(error, StoreError::KeyErased { .. }), "{error}");
    let new = keys.seal("a", b"", b"data").unwrap();
    assert_ne!(new.key, sealed.key, "nothing is sealed under it any more");
    keys.unseal("a", b"", &new).unwrap();
    let mut both = [sealed.key, new.key];
    both.sort();
    assert_eq!(keys.erase("a").unwrap(), both);
    assert!(home.holding(&backup).is_empty());
}

/// What a reader sees that opened the key just before another process overwrote it.
#[test]
fn a_key_that_is_being_overwritten_is_erased_and_not_damaged() {
    for half_gone in [vec![0; 60], Vec::new()] {
        let home = Home::new();
        let keys = home.keys();
        let sealed = keys.seal("a", b"", b"data").unwrap();
        let path = home.data_key("a");
        keys.erase("a").unwrap();
        fs::write(&path, &half_gone).unwrap();
        chmod(&path, 0o600);
        let error = keys.unseal("a", b"", &sealed).unwrap_err();
        assert!(matches!(error, StoreError::KeyErased { .. }), "{error}");
        assert_ne!(keys.seal("a", b"", b"data").unwrap().key, sealed.key);
    }
}

#[test]
fn a_key_file_with_wrong_permissions_is_erased_all_the_same() {
    let home = Home::new();
    let keys = home.keys();
    let sealed = keys.seal("a", b"", b"data").unwrap();
    let wrapped = fs::read(home.data_key("a")).unwrap();
    chmod(&home.data_key("a"), 0o644);
    assert_eq!(keys.erase("a").unwrap(), [sealed.key]);
    assert!(home.holding(&wrapped).is_empty());
}

/// A link in a key's place must not make erasing write to somebody else's file.
#[test]
fn erasing_does_not_follow_a_link() {
    let home = Home::new();
    let keys = home.keys();
    keys.seal("a", b"", b"data").unwrap();
    let victim = home.path("../victim");
    fs::write(&victim, "precious").unwrap();
    let path = home.data_key("a");
    fs::remove_file(&path).unwrap();
    symlink(&victim, &path).unwrap();
    let error = keys.erase("a").unwrap_err();
    assert!(matches!(error, StoreError::NotAFile { .. }), "{error}");
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
}

/// Sealing and erasing at the same time: every payload opens or says that its key was erased, and no key
/// file is left half done.
#[test]
fn sealing_while_erasing_never_damages_anything() {
    let home = Home::new();
    let sealed = thread::scope(|scope| {
        let seal = || {
            let keys = home.keys();
            let seal = |_| keys.seal("a", b"", b"data").unwrap();
            (0..50).map(seal).collect::<Vec<_>>()
        };
        let erase = || (0..50).for_each(|_| drop(home.keys().erase("a").unwrap()));
        let sealing: Vec<_> = (0..3).map(|_| scope.spawn(seal)).collect();
        scope.spawn(erase);
        let sealed = sealing.into_iter().map(|one| one.join().unwrap());
        sealed.flatten().collect::<Vec<_>>()
    });
    let keys = home.keys();
    let survivor = keys.seal("a", b"", b"data").unwrap();
    keys.unseal("a", b"", &survivor).unwrap();
    for one in sealed {
        match keys.unseal("a", b"", &one) {
            Ok(content) => assert_eq!(content.as_slice(), b"data"),
            Err(error) => assert!(matches!(error, StoreError::KeyErased { .. }), "{error}"),
        }
    }
    let names = files_under(&home.path("keys/agents/a"));
    let living = names
        .iter()
        .filter(|path| path.extension().is_some())
        .count();
    assert_eq!(living, 1, "{names:?}");
}

/// A provider that remembers the keys it wrapped, to look for them later.
#[derive(Clone, Debug)]
struct Spy {
    inner: Arc<FileProvider>,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Spy {
    fn new(home: &Home) -> Self {
        Self {
            inner: Arc::new(FileProvider::open(&home.state).unwrap()),
            seen: Arc::default(),
        }
    }
}

impl KeyProvider for Spy {
    fn wrap(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.seen.lock().unwrap().push(plaintext.to_vec());
        self.inner.wrap(aad, plaintext)
    }

    fn unwrap(&self, aad: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        self.inner.unwrap(aad, wrapped)
    }
}

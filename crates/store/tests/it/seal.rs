//! Sealed payloads.

use std::{collections::BTreeSet, fs, path::Path, thread};

use casemate_model::Sealed;
use casemate_store::{Keys, MAX_SEALED_BYTES, StateDir, StoreError};

use crate::{
    child,
    support::{Home, chmod},
};

const CONTENT: &[u8] = b"the incident report, in full";

#[test]
fn what_was_sealed_comes_back_and_only_the_owner_key_is_made_once() {
    let home = Home::new();
    let keys = home.keys();
    for content in [CONTENT, b"", &[0; 100_000]] {
        let sealed = keys.seal("a", b"row 1", content).unwrap();
        assert_eq!(sealed.ciphertext.len(), content.len() + 16);
        let reopened = home.keys();
        assert_eq!(
            reopened.unseal("a", b"row 1", &sealed).unwrap().as_slice(),
            content
        );
        assert_eq!(
            Path::new(&sealed.key),
            home.data_key("a").file_stem().unwrap()
        );
    }
}

#[test]
fn the_same_content_is_never_sealed_the_same_way_twice() {
    let home = Home::new();
    let keys = home.keys();
    let sealed: Vec<Sealed> = (0..1000)
        .map(|_| keys.seal("a", b"", CONTENT).unwrap())
        .collect();
    let nonces: BTreeSet<_> = sealed.iter().map(|one| &one.nonce).collect();
    let ciphertexts: BTreeSet<_> = sealed.iter().map(|one| &one.ciphertext).collect();
    assert_eq!((nonces.len(), ciphertexts.len()), (1000, 1000));
}

/// Whatever part of a payload or of its place is changed, the answer is a refusal.
#[test]
fn a_changed_or_moved_payload_is_refused() {
    let home = Home::new();
    let keys = home.keys();
    let sealed = keys.seal("a", b"row 1", CONTENT).unwrap();
    let other = keys.seal("a", b"row 1", b"something else").unwrap();
    let mut changed = vec![
        Sealed {
            nonce: other.nonce.clone(),
            ..sealed.clone()
        },
        Sealed {
            ciphertext: other.ciphertext.clone(),
            ..sealed.clone()
        },
        Sealed {
            nonce: Vec::new(),
            ..sealed.clone()
        },
        Sealed {
            nonce: [sealed.nonce.as_slice(), b"x"].concat(),
            ..sealed.clone()
        },
        Sealed {
            ciphertext: Vec::new(),
            ..sealed.clone()
        },
    ];
    for at in 0..sealed.ciphertext.len() {
        let mut one = sealed.clone();
        one.ciphertext[at] ^= 0x80;
        changed.push(one);
        let ciphertext = sealed.ciphertext[..at].to_vec();
        changed.push(Sealed {
            ciphertext,
            ..sealed.clone()
        });
    }
    for at in 0..sealed.nonce.len() {
        let mut one = sealed.clone();
        one.nonce[at] ^= 1;
        changed.push(one);
    }
    for one in &changed {
        let error = keys.unseal("a", b"row 1", one).unwrap_err();
        assert!(
            matches!(error, StoreError::Unseal { .. }),
            "{one:?}: {error}"
        );
    }
    for aad in [b"row 2".as_slice(), b"", b"row 1 ", b"row 11"] {
        let error = keys.unseal("a", aad, &sealed).unwrap_err();
        assert!(matches!(error, StoreError::Unseal { .. }), "{error}");
    }
    assert_eq!(
        keys.unseal("a", b"row 1", &sealed).unwrap().as_slice(),
        CONTENT
    );
}

/// I10, R184: what one agent sealed is noise for every other, also with the key file in its hands.
#[test]
fn an_agent_cannot_read_what_another_sealed() {
    let home = Home::new();
    let keys = home.keys();
    let of_a = keys.seal("a", b"", CONTENT).unwrap();
    let error = keys.unseal("b", b"", &of_a).unwrap_err();
    assert!(
        matches!(error, StoreError::KeyNotFound { .. }),
        "b has no keys at all: {error}"
    );

    let of_b = keys.seal("b", b"", b"of b").unwrap();
    assert_ne!(of_a.key, of_b.key);
    let error = keys.unseal("b", b"", &of_a).unwrap_err();
    assert!(matches!(error, StoreError::KeyNotFound { .. }), "{error}");
    let renamed = Sealed {
        key: of_b.key.clone(),
        ..of_a.clone()
    };
    let error = keys.unseal("b", b"", &renamed).unwrap_err();
    assert!(matches!(error, StoreError::Unseal { .. }), "{error}");

    let stolen = home.path("keys/agents/b").join(format!("{}.key", of_a.key));
    fs::copy(home.data_key("a"), &stolen).unwrap();
    let error = keys.unseal("b", b"", &of_a).unwrap_err();
    assert!(
        matches!(error, StoreError::Unwrap { .. }),
        "bound to its agent: {error}"
    );
    fs::copy(
        home.path("keys/agents/b").join(format!("{}.key", of_b.key)),
        &stolen,
    )
    .unwrap();
    let error = keys.unseal("b", b"", &of_a).unwrap_err();
    assert!(
        matches!(error, StoreError::Unwrap { .. }),
        "bound to its id: {error}"
    );
}

#[test]
fn a_key_id_is_never_a_path() {
    let home = Home::new();
    let keys = home.keys();
    let sealed = keys.seal("a", b"", CONTENT).unwrap();
    let long = format!("key_{}", "0".repeat(33));
    let upper = sealed.key.to_uppercase().replace("KEY_", "key_");
    let hostile = [
        "",
        "key_",
        "../provider",
        "erased",
        "new",
        "/etc/passwd",
        &long,
        &upper,
    ];
    for id in hostile.into_iter().filter(|id| *id != sealed.key) {
        let forged = Sealed {
            key: id.to_owned(),
            ..sealed.clone()
        };
        let error = keys.unseal("a", b"", &forged).unwrap_err();
        assert!(matches!(error, StoreError::KeyId { .. }), "{id}: {error}");
    }
}

#[test]
fn a_damaged_data_key_is_an_error_and_not_a_new_key() {
    for damage in [
        |path: &Path| fs::write(path, b"").unwrap(),
        |path: &Path| fs::write(path, [0; 60]).unwrap(),
        |path: &Path| fs::write(path, [0; 5000]).unwrap(),
        |path: &Path| chmod(path, 0o644),
    ] {
        let home = Home::new();
        let keys = home.keys();
        let sealed = keys.seal("a", b"", CONTENT).unwrap();
        let path = home.data_key("a");
        damage(&path);
        for error in [
            keys.unseal("a", b"", &sealed).map(drop).unwrap_err(),
            keys.seal("a", b"", CONTENT).map(drop).unwrap_err(),
        ] {
            assert!(
                matches!(
                    error,
                    StoreError::KeyFileSize { .. }
                        | StoreError::Unwrap { .. }
                        | StoreError::OpenToOthers { .. }
                ),
                "{error}"
            );
        }
        assert_eq!(home.data_key("a"), path);
    }
}

#[test]
fn content_beyond_the_limit_is_refused_both_ways() {
    let home = Home::new();
    let keys = home.keys();
    let large = vec![0; MAX_SEALED_BYTES + 1];
    let error = keys.seal("a", b"", &large).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    assert!(!home.path("keys/agents").exists(), "nothing was made");
    let sealed = keys.seal("a", b"", &large[1..]).unwrap();
    assert_eq!(
        keys.unseal("a", b"", &sealed).unwrap().len(),
        MAX_SEALED_BYTES
    );
    let ciphertext = vec![0; MAX_SEALED_BYTES + 17];
    let error = keys
        .unseal(
            "a",
            b"",
            &Sealed {
                ciphertext,
                ..sealed
            },
        )
        .unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
}

#[test]
fn sixteen_threads_that_share_one_value_agree_on_the_first_keys() {
    for _ in 0..5 {
        let home = Home::new();
        let keys = home.keys();
        let used = thread::scope(|scope| {
            let first_use = || {
                let seed = keys.signing_seed().unwrap();
                (*seed, keys.seal("a", b"", CONTENT).unwrap().key)
            };
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(first_use)).collect();
            let joined = threads.into_iter().map(|thread| thread.join().unwrap());
            joined.collect::<BTreeSet<_>>()
        });
        assert_eq!(used.len(), 1);
    }
}

#[test]
fn sixteen_threads_and_four_processes_agree_on_the_first_data_key() {
    let home = Home::new();
    let root = home.root();
    let children: Vec<_> = (0..4)
        .map(|_| child::start("seal", &root, &["a"]))
        .collect();
    let mut sealed: Vec<Sealed> = thread::scope(|scope| {
        let seal = || {
            let keys = Keys::open(&StateDir::open(&root).unwrap()).unwrap();
            keys.seal("a", b"", CONTENT).unwrap()
        };
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(seal)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let said = children.into_iter().flat_map(child::Child::lines);
    sealed.extend(said.map(|line| serde_json::from_str(&line).unwrap()));
    assert_eq!(sealed.len(), 20);
    let keys = home.keys();
    let id = home.data_key("a");
    for one in &sealed {
        assert_eq!(Path::new(&one.key), id.file_stem().unwrap());
        keys.unseal("a", b"", one).unwrap();
    }
}

//! I13: what counts as signed.

use std::{fs, os::unix::fs::PermissionsExt as _};

use casemate_bundle::{
    ActivationKind, Approval, KeyError, NoteError, PolicyKey, PolicyStoreError, PublicKey, Role,
};
use casemate_files::FileError;
use casemate_model::Digest;

use crate::support::{Fixture, bundle, key, unsigned};

fn publics(keys: &[&PolicyKey]) -> Vec<PublicKey> {
    keys.iter().map(|key| key.public().clone()).collect()
}

#[test]
fn a_note_names_its_key_and_is_of_one_bundle() {
    let one = unsigned("p", 1);
    let note = key(1).sign(&one);
    let trusted = publics(&[&key(2), &key(1)]);
    assert_eq!(one.verify(&note, &trusted).unwrap(), *key(1).public());
    for other in [unsigned("p", 2), unsigned("q", 1)] {
        assert_eq!(
            other.verify(&note, &trusted),
            Err(NoteError::OtherStatement)
        );
    }
    let signers = vec![key(1).public().name().to_owned()];
    assert_eq!(
        one.verify(&note, &publics(&[&key(2)])),
        Err(NoteError::Untrusted {
            signers: signers.clone()
        })
    );
    assert_eq!(
        one.verify(&note, &[]),
        Err(NoteError::Untrusted { signers })
    );
}

/// No bit of a note is free.
#[test]
fn a_changed_note_does_not_count() {
    let one = unsigned("p", 1);
    let note = key(1).sign(&one);
    let trusted = publics(&[&key(1)]);
    for at in 0..note.len() {
        for bit in 0..8 {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(
                    one.verify(&changed, &trusted).is_err(),
                    "byte {at} bit {bit}"
                );
            }
        }
    }
    for (at, _) in note.char_indices() {
        let (cut, _) = note.split_at(at);
        assert!(one.verify(cut, &trusted).is_err(), "cut at {at}");
    }
}

/// Several may sign. Who is not trusted does not matter; a forged line of who is does.
#[test]
fn further_signatures_neither_help_nor_harm_but_a_forged_one_does() {
    let one = unsigned("p", 1);
    let note = key(1).sign(&one);
    let line = |note: &str| note.rsplit_once("\n\n").unwrap().1.to_owned();
    let both = format!("{}{}", key(3).sign(&one), line(&note));
    let trusted = publics(&[&key(1), &key(2)]);
    assert_eq!(one.verify(&both, &trusted).unwrap(), *key(1).public());
    // The line of the trusted key 2, over another bundle.
    let forged = format!("{note}{}", line(&key(2).sign(&unsigned("p", 2))));
    assert_eq!(
        one.verify(&forged, &trusted),
        Err(NoteError::Signature(key(2).public().clone()))
    );
    let many = format!("{note}{}", line(&note).repeat(16));
    assert_eq!(one.verify(&many, &trusted), Err(NoteError::Malformed));
    for bad in ["", "\n\n", "x", &note.replace('\u{2014}', "-")] {
        assert_eq!(one.verify(bad, &trusted), Err(NoteError::Malformed));
    }
}

#[test]
fn an_approval_is_of_one_step_and_one_difference() {
    let [a, b, c] = [b"a", b"b", b"c"].map(|bytes| Digest::of(bytes));
    let approval = Approval {
        old: Some(a),
        new: b,
        difference: c,
    };
    let note = approval.sign(&key(5));
    let trusted = publics(&[&key(5)]);
    assert_eq!(approval.verify(&note, &trusted).unwrap(), *key(5).public());
    for other in [
        Approval {
            old: None,
            ..approval
        },
        Approval {
            old: Some(b),
            new: a,
            ..approval
        },
        Approval { new: c, ..approval },
        Approval {
            difference: a,
            ..approval
        },
    ] {
        let verified = other.verify(&note, &trusted);
        assert_eq!(verified, Err(NoteError::OtherStatement), "{other:?}");
    }
    assert!(unsigned("p", 1).verify(&note, &trusted).is_err());
    let first = Approval {
        old: None,
        ..approval
    };
    assert!(first.verify(&first.sign(&key(5)), &trusted).is_ok());
}

/// The key and seed of Go's `golang.org/x/mod/sumdb/note`: written by another implementation.
#[test]
fn key_files_are_those_of_the_reference_implementation() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let private =
        "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz\n";
    let public = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    fs::write(&path, private).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let key = PolicyKey::load(&path).unwrap();
    assert_eq!(key.public().to_string(), public);
    assert_eq!(public.parse::<PublicKey>().unwrap(), *key.public());
    assert!(!format!("{key:?}").contains("AYEKFALV"));

    let copy = dir.path().join("copy");
    key.save(&copy).unwrap();
    assert_eq!(fs::read_to_string(&copy).unwrap(), private);
    let mode = fs::metadata(&copy).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert!(key.save(&copy).is_err(), "an old key is never replaced");

    for mode in [0o640, 0o604, 0o644, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let refused = PolicyKey::load(&path).unwrap_err();
        assert!(
            matches!(
                refused,
                KeyError::File(FileError::OpenToOthers { .. } | FileError::WritableByOthers { .. })
            ),
            "{mode:o}: {refused}"
        );
    }
    for changed in [
        "",
        "x",
        public,
        &private.replace("c74f20a3", "c74f20a4"),
        &private.replace("HKDFz", "HKDFy"),
        &private.replace("Peter", "Petra"),
        &format!("{private}\n"),
    ] {
        fs::write(&copy, changed).unwrap();
        let refused = PolicyKey::load(&copy).unwrap_err();
        assert!(matches!(refused, KeyError::Private), "{changed}: {refused}");
        assert!(!refused.to_string().contains("AYEK"));
    }
    std::os::unix::fs::symlink("key", dir.path().join("link")).unwrap();
    assert!(PolicyKey::load(&dir.path().join("link")).is_err());
}

#[test]
fn new_keys_differ_and_odd_names_are_none() {
    let [one, other] = [(); 2].map(|()| PolicyKey::generate("ops@example").unwrap());
    assert_ne!(one.public(), other.public());
    let text = one.public().to_string();
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        let changed = String::from_utf8(bytes).unwrap();
        assert!(changed.parse::<PublicKey>().is_err(), "{changed}");
    }
    for name in ["", "a b", "a+b", "a\nb", "a\u{2003}b", &"x".repeat(101)] {
        let refused = PolicyKey::generate(name).unwrap_err();
        assert!(matches!(refused, KeyError::Name(_)), "{name:?}");
    }
}

/// A bundle without a signature that counts is not staged with it, and never activated.
#[test]
fn only_what_a_trusted_publisher_signed_comes_into_force() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let old = bundle("p", 1);
    fixture.put(&old).unwrap();
    let new = unsigned("p", 2);
    let activate = |kind| store.activate(new.digest(), Some(old.digest()), 1, kind);
    let unsigned = |result| matches!(result, Err(PolicyStoreError::Unsigned { digest }) if digest == new.digest());

    store.stage(&new).unwrap();
    assert!(unsigned(activate(ActivationKind::Activate).map(|_| ())));
    assert!(unsigned(activate(ActivationKind::BreakGlass).map(|_| ())));

    let foreign = key(2).sign(&new);
    let of_another = old.signature().unwrap().to_owned();
    let broken = key(1)
        .sign(&new)
        .replace("casemate.test/publisher ", "casemate.test/publisher x");
    for note in [foreign.clone(), of_another, broken, String::new()] {
        let signed = new.clone().with_signature(Some(note));
        let staged = store.stage(&signed);
        assert!(
            matches!(staged, Err(PolicyStoreError::Signature { .. })),
            "{staged:?}"
        );
    }
    // An approver is not a publisher.
    store.trust(Role::Approver, key(2).public()).unwrap();
    let signed = new.clone().with_signature(Some(foreign));
    assert!(store.stage(&signed).is_err());
    assert!(unsigned(activate(ActivationKind::Activate).map(|_| ())));
    assert_eq!(fixture.now(), Some(old.digest()));

    // The signature may come later.
    store.trust(Role::Publisher, key(2).public()).unwrap();
    store.stage(&signed).unwrap();
    store.stage(&new).unwrap();
    let done = activate(ActivationKind::Activate).unwrap();
    assert_eq!(done.publisher, *key(2).public());

    // A publisher that is trusted no longer brings nothing back.
    store.distrust(Role::Publisher, key(1).public()).unwrap();
    let back = fixture.back(Some(&old));
    assert!(matches!(back, Err(PolicyStoreError::Signature { .. })));
    assert_eq!(fixture.now(), Some(new.digest()));
    // Unless another one vouches for it.
    let note = key(2).sign(&old);
    store
        .stage(&old.clone().with_signature(Some(note)))
        .unwrap();
    assert_eq!(fixture.back(Some(&old)).unwrap().digest, old.digest());
}

#[test]
fn trusted_keys_are_lines_of_text() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let path = store.path().join("trusted");
    let line = format!("publisher {}\n", key(1).public());
    assert_eq!(fs::read_to_string(&path).unwrap(), line);
    store.trust(Role::Publisher, key(1).public()).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), line, "once is enough");

    fs::write(&path, format!("# ours\n\n{}", line.trim_end())).unwrap();
    store.trust(Role::Approver, key(3).public()).unwrap();
    let trusted = store.trusted().unwrap();
    assert_eq!(trusted.of(Role::Publisher), publics(&[&key(1)]));
    assert_eq!(trusted.of(Role::Approver), publics(&[&key(3)]));
    assert!(fs::read_to_string(&path).unwrap().starts_with("# ours\n"));
    store.distrust(Role::Approver, key(3).public()).unwrap();
    store.distrust(Role::Publisher, key(3).public()).unwrap();
    assert_eq!(store.trusted().unwrap().keys().len(), 1);

    for bad in [
        "admin x\n".to_owned(),
        line.replace("publisher ", "Publisher "),
        line.replace("publisher ", "publisher  "),
        line.replace("publisher ", ""),
        format!("{line}publisher\n"),
        line.to_uppercase(),
    ] {
        fs::write(&path, &bad).unwrap();
        let refused = store.trusted();
        assert!(
            matches!(refused, Err(PolicyStoreError::Trusted { .. })),
            "{bad:?}"
        );
        assert!(store.stage(&bundle("p", 1)).is_err(), "{bad:?}");
        assert!(store.trust(Role::Publisher, key(4).public()).is_err());
    }
    fs::write(&path, [0xff]).unwrap();
    assert!(store.trusted().is_err());
    fs::write(&path, &line).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(store.trusted().is_err(), "anybody could trust anybody");
}

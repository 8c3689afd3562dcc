use tlog_tiles::EMPTY_HASH;

use super::*;

fn key(seed: u8) -> LogKey {
    LogKey::from_seed(&[seed; 32], "casemate.test/log").unwrap()
}

/// The key and note of Go's `golang.org/x/mod/sumdb/note`: written by another implementation.
#[test]
fn a_note_of_the_reference_implementation_verifies() {
    let public: PublicKey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
        .parse()
        .unwrap();
    let note = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    let (text, signatures) = split(note).unwrap();
    public.check(text, signatures).unwrap();
    assert_eq!(
        public.open(note),
        Err(NoteError::Checkpoint),
        "signed, but not a tree head"
    );
    assert!(public.check("another text\n", signatures).is_err());
}

#[test]
fn the_reference_seed_makes_the_reference_key() {
    let secret = BASE64_STANDARD
        .decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")
        .unwrap();
    let key = LogKey::from_seed(secret[1..].try_into().unwrap(), "PeterNeumann").unwrap();
    assert_eq!(
        key.public().to_string(),
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    );
    let shown = format!("{key:?}");
    assert!(!shown.contains("AYEKFALV"), "no secret in {shown}");
}

#[test]
fn a_public_key_survives_its_text_and_no_changed_text_is_a_key() {
    let text = key(1).public().to_string();
    assert_eq!(text.parse::<PublicKey>().unwrap(), key(1).public());
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        let changed = String::from_utf8(bytes).unwrap();
        assert!(changed.parse::<PublicKey>().is_err(), "{changed}");
    }
    assert!("".parse::<PublicKey>().is_err());
}

#[test]
fn a_name_that_a_note_cannot_carry_is_refused() {
    for origin in ["", "a b", "a+b", "a\nb", "a\u{2003}b", &"x".repeat(101)] {
        let error = LogKey::from_seed(&[1; 32], origin).unwrap_err();
        assert!(
            matches!(error, LedgerError::Key(KeyError::Origin(_))),
            "{origin:?}"
        );
    }
}

/// I12: every bit of a signed checkpoint is bound.
#[test]
fn no_bit_of_a_checkpoint_can_be_changed() {
    let note = key(1).sign(17, EMPTY_HASH, "batch x\n");
    let signed = key(1).public().open_own(&note).unwrap();
    assert_eq!((signed.size, signed.root), (17, EMPTY_HASH));
    assert_eq!(signed.extension, "batch x\n");
    for at in 0..note.len() {
        for bit in 0..8 {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            if let Ok(changed) = String::from_utf8(bytes) {
                let opened = key(1).public().open_own(&changed);
                assert!(opened.is_err(), "byte {at} bit {bit}");
            }
        }
    }
}

#[test]
fn another_key_or_another_name_does_not_open_a_checkpoint() {
    let note = key(1).sign(0, EMPTY_HASH, "");
    let error = key(2).public().open(&note).unwrap_err();
    assert!(matches!(error, NoteError::OtherKey(_)));
    let renamed = LogKey::from_seed(&[1; 32], "other.test/log").unwrap();
    assert!(renamed.public().open(&note).is_err());
    // Signed by this very key, but about another log.
    let body = format!("other.test/log\n0\n{EMPTY_HASH}\n");
    let mut signature = key(1).public().id().to_vec();
    signature.extend_from_slice(key(1).pair.sign(body.as_bytes()).as_ref());
    let signature = BASE64_STANDARD.encode(signature);
    let note = format!("{body}\n\u{2014} casemate.test/log {signature}\n");
    assert_eq!(key(1).public().open(&note), Err(NoteError::Checkpoint));
}

/// A witness may add its signature to a checkpoint that is kept elsewhere; the log's own carries
/// one.
#[test]
fn a_witness_may_sign_too_but_not_inside_the_log() {
    let note = key(1).sign(0, EMPTY_HASH, "");
    let (text, signatures) = split(&note).unwrap();
    let witnessed = format!("{text}\n\u{2014} witness.test AAAAAAAA\n{signatures}");
    assert!(key(1).public().open(&witnessed).is_ok());
    assert_eq!(
        key(1).public().open_own(&witnessed),
        Err(NoteError::Malformed)
    );
    for broken in ["", "\n\n", "a\n\nb", signatures, note.trim_end()] {
        assert!(key(1).public().open(broken).is_err(), "{broken:?}");
    }
}

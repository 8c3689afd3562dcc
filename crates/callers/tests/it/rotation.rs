//! Key sets that change, are gone, or are not what they should be.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc};

use casemate_callers::{
    FileSource, JwtVerifier, KEYS_KEPT_MS, MAX_JWKS_BYTES, MAX_JWKS_KEYS, REFRESH_AFTER_MS,
    REFRESH_INTERVAL_MS, RefusalCode as Code,
};
use serde_json::{Value, json};

use crate::support::{
    NOW, NOW_S, Scripted, TestKey, b64, claims, claims_with, config, jwks, refused, verifier_of,
};

/// A token that lives for a day, so that only its key can be why it is refused.
fn token(key: &TestKey) -> String {
    key.token(&claims_with("exp", json!(NOW_S + 86_400)))
}

/// A new key is found by its name, and the old one goes with the next key set.
#[test]
fn keys_rotate() {
    let (old, new) = (TestKey::new("EdDSA", "old"), TestKey::new("ES256", "new"));
    let source = Scripted::new(&jwks(&[&old]));
    let verifier = verifier_of(config(), Arc::clone(&source));
    assert_eq!(source.asked(), 0);
    assert!(verifier.verify(&token(&old), NOW).is_ok());
    assert!(verifier.verify(&token(&old), NOW).is_ok());
    assert_eq!(source.asked(), 1);
    source.set(Some(&jwks(&[&new])));
    let later = NOW + REFRESH_INTERVAL_MS;
    assert!(verifier.verify(&token(&new), later).is_ok());
    assert_eq!(source.asked(), 2);
    refused(verifier.verify(&token(&old), later), Code::UnknownKey);
}

/// Names of keys that are made up do not make this gateway attack the issuer.
#[test]
fn an_unknown_name_asks_once_in_a_while() {
    let key = TestKey::new("EdDSA", "k1");
    let source = Scripted::new(&jwks(&[&key]));
    let verifier = verifier_of(config(), Arc::clone(&source));
    assert!(verifier.verify(&token(&key), NOW).is_ok());
    for n in 0..100 {
        let header = json!({"alg": "EdDSA", "kid": format!("x{n}"), "typ": "JWT"});
        let now = NOW + n * 299;
        refused(
            verifier.verify(&key.sign(&header, &claims()), now),
            Code::UnknownKey,
        );
    }
    assert_eq!(source.asked(), 1);
    let header = json!({"alg": "EdDSA", "kid": "x", "typ": "JWT"});
    for _ in 0..10 {
        let now = NOW + REFRESH_INTERVAL_MS;
        refused(
            verifier.verify(&key.sign(&header, &claims()), now),
            Code::UnknownKey,
        );
    }
    assert_eq!(source.asked(), 2);
}

/// A key that was withdrawn does not count for an hour more because nobody names another.
#[test]
fn a_withdrawn_key_goes_within_minutes() {
    let (one, two) = (TestKey::new("EdDSA", "k1"), TestKey::new("EdDSA", "k2"));
    let source = Scripted::new(&jwks(&[&one, &two]));
    let verifier = verifier_of(config(), Arc::clone(&source));
    assert!(verifier.verify(&token(&one), NOW).is_ok());
    source.set(Some(&jwks(&[&two])));
    assert!(
        verifier
            .verify(&token(&one), NOW + REFRESH_AFTER_MS - 1)
            .is_ok()
    );
    refused(
        verifier.verify(&token(&one), NOW + REFRESH_AFTER_MS),
        Code::UnknownKey,
    );
}

/// I1: keys that cannot be fetched again count for an hour, and then nobody is believed.
#[test]
fn keys_that_are_too_old_count_no_more() {
    let key = TestKey::new("EdDSA", "k1");
    let source = Scripted::new(&jwks(&[&key]));
    let verifier = verifier_of(config(), Arc::clone(&source));
    assert!(verifier.verify(&token(&key), NOW).is_ok());
    source.set(None);
    assert!(
        verifier
            .verify(&token(&key), NOW + KEYS_KEPT_MS - 1)
            .is_ok()
    );
    for age in [KEYS_KEPT_MS, KEYS_KEPT_MS + 1, 10 * KEYS_KEPT_MS] {
        refused(
            verifier.verify(&token(&key), NOW + age),
            Code::KeysUnavailable,
        );
    }
    // Nor do they come back with the clock, but with the key set.
    source.set(Some(&jwks(&[&key])));
    assert!(
        verifier
            .verify(&token(&key), NOW + 11 * KEYS_KEPT_MS)
            .is_ok()
    );
}

/// I1: a clock that jumps back does not make keys younger.
#[test]
fn keys_from_the_future_are_too_old() {
    let key = TestKey::new("EdDSA", "k1");
    let source = Scripted::new(&jwks(&[&key]));
    let verifier = verifier_of(config(), Arc::clone(&source));
    assert!(verifier.verify(&token(&key), NOW).is_ok());
    source.set(None);
    let claims = claims_with("nbf", Value::Null);
    let mut claims = claims;
    claims.as_object_mut().unwrap().remove("iat");
    let back = NOW - KEYS_KEPT_MS;
    refused(
        verifier.verify(&key.token(&claims), back),
        Code::KeysUnavailable,
    );
}

/// I1: an issuer that was never reached is believed in nothing, and is asked again after a while only.
#[test]
fn an_issuer_that_cannot_be_reached_is_not_believed() {
    let key = TestKey::new("EdDSA", "k1");
    let source = Scripted::new(&jwks(&[&key]));
    source.set(None);
    let verifier = verifier_of(config(), Arc::clone(&source));
    for _ in 0..5 {
        refused(verifier.verify(&token(&key), NOW), Code::KeysUnavailable);
    }
    assert_eq!(source.asked(), 1);
    source.set(Some(&jwks(&[&key])));
    refused(
        verifier.verify(&token(&key), NOW + 1),
        Code::KeysUnavailable,
    );
    assert!(
        verifier
            .verify(&token(&key), NOW + REFRESH_INTERVAL_MS)
            .is_ok()
    );
}

/// I1, I15: a key set that is not one is refused whole, and the one before it stays for its hour.
#[test]
fn a_bad_key_set_replaces_nothing() {
    let key = TestKey::new("EdDSA", "k1");
    let jwk = key.jwk();
    let with = |name: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        jwk
    };
    let many: Vec<_> = (0..=MAX_JWKS_KEYS)
        .map(|n| with("kid", json!(format!("k{n}"))))
        .collect();
    let pad = "x".repeat(usize::try_from(MAX_JWKS_BYTES).unwrap());
    let bad = [
        json!({"keys": []}),
        json!({"keys": many}),
        json!({"keys": [jwk, jwk]}),
        json!({"keys": [jwk, 1]}),
        json!({"keys": jwk}),
        json!([jwk]),
        json!({"keys": [jwk], "pad": pad}),
        json!({"keys": [with("d", json!("AAAA"))]}),
        json!({"keys": [with("use", json!("enc"))]}),
        json!({"keys": [with("use", json!(["sig"]))]}),
        json!({"keys": [with("key_ops", json!(["sign"]))]}),
        json!({"keys": [with("kty", json!("oct"))]}),
        json!({"keys": [with("alg", json!("HS256"))]}),
        json!({"keys": [with("alg", json!("ES256"))]}),
        json!({"keys": [with("crv", json!("Ed448"))]}),
        json!({"keys": [with("kid", Value::Null)]}),
        json!({"keys": [with("kid", json!(""))]}),
        json!({"keys": [with("x", json!(b64([0; 31])))]}),
        json!({"keys": [with("x", json!(b64([0; 33])))]}),
    ];
    for set in &bad {
        let fresh = verifier_of(config(), Scripted::new(set));
        refused(fresh.verify(&token(&key), NOW), Code::KeysUnavailable);
        let source = Scripted::new(&jwks(&[&key]));
        let verifier = verifier_of(config(), Arc::clone(&source));
        assert!(verifier.verify(&token(&key), NOW).is_ok());
        source.set(Some(set));
        assert!(
            verifier
                .verify(&token(&key), NOW + REFRESH_AFTER_MS)
                .is_ok()
        );
        refused(
            verifier.verify(&token(&key), NOW + KEYS_KEPT_MS),
            Code::KeysUnavailable,
        );
    }
    let source = Scripted::new(&jwks(&[&key]));
    let twice = jwks(&[&key])
        .to_string()
        .replace(r#""kty":"OKP""#, r#""kty":"OKP","kty":"OKP""#);
    *source.answer.lock().unwrap() = Some(twice.into_bytes());
    refused(
        verifier_of(config(), source).verify(&token(&key), NOW),
        Code::KeysUnavailable,
    );
}

/// Points that are on no curve, short moduli, and a key of the right form that verifies nothing.
#[test]
fn odd_keys_verify_nothing() {
    let (ec, rsa) = (TestKey::new("ES256", "k1"), TestKey::new("RS256", "k1"));
    let mut off_curve = ec.jwk();
    off_curve["x"] = json!(b64([1; 32]));
    let mut short = ec.jwk();
    short["x"] = json!(b64([1; 31]));
    short["y"] = json!(b64([1; 33]));
    let mut weak = rsa.jwk();
    weak["n"] = json!(b64([0xff; 128]));
    let mut even = rsa.jwk();
    even["e"] = json!(b64([2]));
    for (key, jwk, code) in [
        (&ec, off_curve, Code::Signature),
        (&ec, short, Code::KeysUnavailable),
        (&rsa, weak, Code::KeysUnavailable),
        (&rsa, even, Code::Signature),
    ] {
        let verifier = verifier_of(config(), Scripted::new(&json!({"keys": [jwk]})));
        refused(verifier.verify(&token(key), NOW), code);
    }
}

/// A key set in a file counts from the moment at which it is there, and as long as it is there.
#[test]
fn a_file_is_read_again_when_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    let (one, two) = (TestKey::new("EdDSA", "k1"), TestKey::new("EdDSA", "k2"));
    let write = |keys: &[&TestKey]| {
        let new = dir.path().join("new");
        fs::write(&new, jwks(keys).to_string()).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).unwrap();
        fs::rename(&new, &path).unwrap();
    };
    let source = Arc::new(FileSource::new(&path));
    let verifier = JwtVerifier::with_sources(vec![(config(), source as _)]).unwrap();
    let verify = |key: &TestKey| verifier.verify(&token(key), NOW);
    refused(verify(&one), Code::KeysUnavailable);
    write(&[&one]);
    assert!(verify(&one).is_ok());
    refused(verify(&two), Code::UnknownKey);
    write(&[&two]);
    refused(verify(&one), Code::UnknownKey);
    assert!(verify(&two).is_ok());
    fs::write(&path, "{").unwrap();
    refused(verify(&two), Code::KeysUnavailable);
    write(&[&two]);
    assert!(verify(&two).is_ok());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    refused(verify(&two), Code::KeysUnavailable);
    fs::remove_file(&path).unwrap();
    refused(verify(&two), Code::KeysUnavailable);
    fs::create_dir(&path).unwrap();
    refused(verify(&two), Code::KeysUnavailable);
}

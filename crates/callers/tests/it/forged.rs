//! Tokens that somebody made who may not.

use aws_lc_rs::hmac;
use casemate_callers::{Algorithm, MAX_TOKEN_BYTES, RefusalCode as Code};
use serde_json::{Value, json};

use crate::support::{
    Fixture, NOW, NOW_S, Scripted, TestKey, b64, claims, config, jwks, refused, verifier_of,
};

/// R136: without a signature nothing is believed, however the header says it.
#[test]
fn none_is_no_algorithm() {
    let fixture = Fixture::new();
    let payload = b64(claims().to_string());
    for alg in [
        "none", "None", "NONE", "nOnE", "", "EdDSA ", "eddsa", "ED25519", "Ed448",
    ] {
        let header = b64(json!({"alg": alg, "kid": "k1", "typ": "JWT"}).to_string());
        let signed = format!("{header}.{payload}");
        refused(fixture.verify(&format!("{signed}.")), Code::Malformed);
        refused(fixture.verify(&format!("{signed}.AAAA")), Code::Algorithm);
    }
    for header in [
        json!({"kid": "k1", "typ": "JWT"}),
        json!({"alg": null, "kid": "k1", "typ": "JWT"}),
        json!({"alg": ["EdDSA"], "kid": "k1", "typ": "JWT"}),
    ] {
        refused(
            fixture.verify(&fixture.key.sign(&header, &claims())),
            Code::Algorithm,
        );
    }
}

/// R136: a public key is no secret: what is signed with its bytes as one is refused, in every form of the bytes.
#[test]
fn a_public_key_is_not_a_shared_secret() {
    for alg in ["EdDSA", "ES256", "RS256"] {
        let fixture = Fixture::with(alg, config());
        let jwk = fixture.key.jwk().to_string().into_bytes();
        for secret in [fixture.key.public_bytes(), fixture.key.public_der(), jwk] {
            for (name, hash) in [
                ("HS256", hmac::HMAC_SHA256),
                ("HS384", hmac::HMAC_SHA384),
                ("HS512", hmac::HMAC_SHA512),
            ] {
                let header = json!({"alg": name, "kid": "k1", "typ": "JWT"});
                let signed = format!("{}.{}", b64(header.to_string()), b64(claims().to_string()));
                let tag = hmac::sign(&hmac::Key::new(hash, &secret), signed.as_bytes());
                let token = format!("{signed}.{}", b64(tag.as_ref()));
                refused(fixture.verify(&token), Code::Algorithm);
            }
        }
    }
}

/// A shared secret in a key set is never used, also where it is the only key.
#[test]
fn a_shared_secret_in_a_key_set_verifies_nothing() {
    let secret = b"0123456789abcdef0123456789abcdef";
    let oct = json!({"kty": "oct", "kid": "k1", "alg": "HS256", "k": b64(secret)});
    let key = TestKey::new("EdDSA", "k2");
    let header = json!({"alg": "HS256", "kid": "k1", "typ": "JWT"});
    let signed = format!("{}.{}", b64(header.to_string()), b64(claims().to_string()));
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, secret),
        signed.as_bytes(),
    );
    let by_secret = format!("{signed}.{}", b64(tag.as_ref()));
    let both = verifier_of(config(), Scripted::new(&json!({"keys": [oct, key.jwk()]})));
    refused(both.verify(&by_secret, NOW), Code::Algorithm);
    assert!(both.verify(&key.token(&claims()), NOW).is_ok());
    let named = TestKey {
        kid: "k1".to_owned(),
        ..key
    };
    refused(both.verify(&named.token(&claims()), NOW), Code::UnknownKey);
    let alone = verifier_of(config(), Scripted::new(&json!({"keys": [oct]})));
    refused(
        alone.verify(&named.token(&claims()), NOW),
        Code::KeysUnavailable,
    );
}

/// R136: an algorithm that the key is not for, or that nobody allowed, is refused before anything is verified.
#[test]
fn the_algorithm_is_the_keys() {
    let (ed, ec) = (TestKey::new("EdDSA", "ed"), TestKey::new("ES256", "ec"));
    let (rs, ps) = (TestKey::new("RS256", "rs"), TestKey::new("PS256", "ps"));
    let mut only_ps = ps.jwk();
    only_ps["alg"] = json!("PS256");
    let set = json!({"keys": [ed.jwk(), ec.jwk(), rs.jwk(), only_ps]});
    let verifier = verifier_of(config(), Scripted::new(&set));
    for key in [&ed, &ec, &rs, &ps] {
        assert!(
            verifier.verify(&key.token(&claims()), NOW).is_ok(),
            "{}",
            key.alg
        );
        for other in [
            "EdDSA", "ES256", "ES384", "RS256", "RS512", "PS256", "PS384",
        ] {
            if other != key.alg {
                let header = json!({"alg": other, "kid": key.kid, "typ": "JWT"});
                let result = verifier.verify(&key.sign(&header, &claims()), NOW);
                // A key of RSA that names no algorithm of its own may be for others, but not for this signature.
                let code = match (key.kid.as_str(), other) {
                    ("rs", "RS512" | "PS256" | "PS384") => Code::Signature,
                    _ => Code::Algorithm,
                };
                refused(result, code);
            }
        }
    }
    let mut strict = config();
    strict.algorithms = [Algorithm::Es256].into();
    let verifier = verifier_of(strict, Scripted::new(&set));
    assert!(verifier.verify(&ec.token(&claims()), NOW).is_ok());
    refused(verifier.verify(&ed.token(&claims()), NOW), Code::Algorithm);
    refused(verifier.verify(&rs.token(&claims()), NOW), Code::Algorithm);
}

/// No key is tried that the token does not name.
#[test]
fn the_key_is_the_one_that_is_named() {
    let (one, two) = (TestKey::new("EdDSA", "k1"), TestKey::new("EdDSA", "k2"));
    let verifier = verifier_of(config(), Scripted::new(&jwks(&[&one, &two])));
    let verify = |header: Value| verifier.verify(&one.sign(&header, &claims()), NOW);
    let named = |kid: Value| json!({"alg": "EdDSA", "kid": kid, "typ": "JWT"});
    assert!(verify(named(json!("k1"))).is_ok());
    refused(
        verify(json!({"alg": "EdDSA", "typ": "JWT"})),
        Code::MissingKeyId,
    );
    refused(verify(named(json!("k2"))), Code::Signature);
    for kid in ["k3", "K1", "k1 ", "../k1", "k1\u{0}"] {
        refused(verify(named(json!(kid))), Code::UnknownKey);
    }
    for kid in [
        json!(""),
        json!(1),
        json!(null),
        json!(["k1"]),
        json!("k".repeat(257)),
    ] {
        refused(verify(named(kid)), Code::InvalidClaim);
    }
}

/// R136: a token does not bring its own key, and does not choose how it is read.
#[test]
fn headers_that_bring_keys_or_rules_are_refused() {
    let (fixture, mine) = (Fixture::new(), TestKey::new("EdDSA", "k1"));
    for (name, value) in [
        ("jku", json!("https://evil.example/keys")),
        ("jwk", mine.jwk()),
        ("x5u", json!("https://evil.example/cert")),
        ("x5c", json!(["AAAA"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
        ("cty", json!("JWT")),
    ] {
        let mut header = fixture.key.header();
        header[name] = value;
        refused(
            fixture.verify(&fixture.key.sign(&header, &claims())),
            Code::Header,
        );
        refused(fixture.verify(&mine.sign(&header, &claims())), Code::Header);
    }
    let mut header = fixture.key.header();
    header["x5t"] = json!("AAAA");
    assert!(
        fixture
            .verify(&fixture.key.sign(&header, &claims()))
            .is_ok()
    );
}

/// A token of another kind proves nothing, whoever signed it.
#[test]
fn the_type_is_an_access_tokens() {
    let fixture = Fixture::new();
    let typed = |typ: Value| {
        let header = json!({"alg": "EdDSA", "kid": "k1", "typ": typ});
        fixture.verify(&fixture.key.sign(&header, &claims()))
    };
    for good in ["JWT", "jwt", "at+jwt", "application/at+jwt"] {
        assert!(typed(json!(good)).is_ok(), "{good}");
    }
    for bad in [
        "dpop+jwt",
        "casemate-envelope+jwt",
        "logout+jwt",
        "JWE",
        "",
        "id_token",
    ] {
        refused(typed(json!(bad)), Code::Type);
    }
    refused(typed(json!(1)), Code::Type);
    let untyped = json!({"alg": "EdDSA", "kid": "k1"});
    refused(
        fixture.verify(&fixture.key.sign(&untyped, &claims())),
        Code::Type,
    );
}

/// R136: what is said twice is refused at every depth, also when it is properly signed.
#[test]
fn nothing_is_said_twice() {
    let fixture = Fixture::new();
    let header = fixture.key.header().to_string();
    let payload = claims().to_string();
    let twice = |text: &str, member: &str| text.replacen('{', &format!("{{{member},"), 1);
    let payloads = [
        twice(&payload, r#""sub":"root""#),
        twice(&payload, r#""tenant":"acme""#),
        twice(&payload, r#""\u0073ub":"root""#),
        twice(&payload, &format!(r#""exp":{}"#, NOW_S + 9)),
        payload.replace(r#""a":1"#, r#""a":1,"a":1"#),
        payload.replace(r#""a":1"#, r#""a":[{"b":{"c":1,"c":2}}]"#),
    ];
    for payload in payloads {
        refused(
            fixture.verify(&fixture.key.sign_text(&header, &payload)),
            Code::Duplicate,
        );
    }
    for member in [
        r#""alg":"none""#,
        r#""kid":"k2""#,
        r#""typ":"JWT""#,
        r#""x":{"y":1,"y":1}"#,
    ] {
        let header = twice(&header, member);
        refused(
            fixture.verify(&fixture.key.sign_text(&header, &payload)),
            Code::Duplicate,
        );
    }
    assert!(
        fixture
            .verify(&fixture.key.sign_text(&header, &payload))
            .is_ok()
    );
}

/// I15: what is too large is refused for its size, before anything of it is read.
#[test]
fn a_huge_token_is_refused() {
    let fixture = Fixture::new();
    let mut large = claims();
    large["pad"] = json!("x".repeat(MAX_TOKEN_BYTES));
    refused(fixture.claims(&large), Code::TooLarge);
    refused(fixture.verify(&"a".repeat(50 << 20)), Code::TooLarge);
    large["pad"] = json!("x".repeat(MAX_TOKEN_BYTES / 2));
    assert!(fixture.claims(&large).is_ok());
    let mut deep = String::from("1");
    for _ in 0..1_000 {
        deep = format!("[{deep}]");
    }
    let payload = claims()
        .to_string()
        .replacen('{', &format!("{{\"d\":{deep},"), 1);
    let token = fixture
        .key
        .sign_text(&fixture.key.header().to_string(), &payload);
    refused(fixture.verify(&token), Code::Malformed);
}

#[test]
fn garbage_is_refused() {
    let fixture = Fixture::new();
    let good = fixture.key.token(&claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let not_objects = ["[]", "1", "null", "\"x\"", "", "{", "{} {}"].map(b64);
    let mut bad = vec![
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        signed.to_owned(),
        format!("{good}."),
        format!("{good}.x"),
        format!(".{good}"),
        format!("{good}="),
        format!("{good}\n"),
        format!(" {good}"),
        format!("Bearer {good}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}=.{signature}"),
        format!("{header}..{signature}"),
        format!("{header}.{payload}."),
        good.replace('.', "\u{ff0e}"),
        "\u{0}".repeat(100),
    ];
    for part in not_objects {
        bad.push(format!("{part}.{payload}.{signature}"));
        bad.push(format!("{header}.{part}.{signature}"));
    }
    for token in bad {
        let result = fixture.verify(&token);
        let code = result.as_ref().map_err(casemate_callers::Refusal::code);
        assert!(
            matches!(code, Err(Code::Malformed | Code::Signature)),
            "{token:?}: {result:?}"
        );
    }
    assert!(fixture.verify(&good).is_ok());
}

/// What a stranger wrote comes back in no message.
#[test]
fn refusals_repeat_nothing() {
    let fixture = Fixture::new();
    let mut claims = claims();
    claims["iss"] = json!("SECRET-issuer");
    claims["sub"] = json!("SECRET\n");
    let header = json!({"alg": "EdDSA", "kid": "SECRET-kid", "typ": "JWT"});
    for token in [
        fixture.key.token(&claims),
        fixture.key.sign(&header, &crate::support::claims()),
        fixture
            .key
            .token(&crate::support::claims_with("sub", json!("SECRET\n"))),
        "SECRET.SECRET.SECRET".to_owned(),
    ] {
        let refusal = fixture.verify(&token).unwrap_err();
        assert!(
            !format!("{refusal} {refusal:?}").contains("SECRET"),
            "{refusal:?}"
        );
    }
}

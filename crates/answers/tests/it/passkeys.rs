//! Assertions: each thing that may not be is not taken.

use casemate_answers::{Assertion, AssertionError, MAX_CREDENTIAL_BYTES, Passkey, PasskeyError};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::authenticator::{Authenticator, Ceremony, ORIGIN, RP_ID};

const STATEMENT: &str = "casemate approval v1\n{}\n";

fn passkey(of: &Authenticator) -> Passkey {
    of.enlisted().parse().unwrap()
}

fn assertion(json: Value) -> Assertion {
    serde_json::from_value(json).unwrap()
}

/// R176: an honest assertion counts, by both algorithms, and gives the counter.
#[test]
fn an_honest_assertion_counts() {
    for mut authenticator in [Authenticator::es256(), Authenticator::eddsa()] {
        authenticator.count = 7;
        let passkey = passkey(&authenticator);
        assert_eq!(passkey.to_string(), authenticator.enlisted());
        let assertion = assertion(authenticator.answer(STATEMENT));
        assert_eq!(passkey.verify(STATEMENT, &assertion), Ok(7));
    }
}

type Lie = fn(&mut Ceremony);

/// Whatever browser or authenticator say wrongly is refused, although the signature over it is right.
#[test]
fn an_assertion_of_something_else_does_not_count() {
    let lies: [(AssertionError, Lie); 17] = [
        (AssertionError::Purpose, |c| {
            c.client_data["type"] = json!("webauthn.create");
        }),
        (AssertionError::Purpose, |c| {
            c.client_data["type"] = json!("payment.get");
        }),
        (AssertionError::Challenge, |c| {
            *c = Ceremony::honest("casemate approval v1\n{ }\n");
        }),
        (AssertionError::Challenge, |c| {
            let challenge = c.client_data["challenge"].as_str().unwrap();
            c.client_data["challenge"] = json!(format!("{challenge}="));
        }),
        (AssertionError::Malformed("clientDataJSON"), |c| {
            c.client_data["challenge"] = json!(7);
        }),
        (AssertionError::Origin("http://localhost".into()), |c| {
            c.client_data["origin"] = json!("http://localhost");
        }),
        (
            AssertionError::Origin("https://localhost:8443".into()),
            |c| {
                c.client_data["origin"] = json!("https://localhost:8443");
            },
        ),
        (
            AssertionError::Origin("http://localhost:8443/".into()),
            |c| {
                c.client_data["origin"] = json!("http://localhost:8443/");
            },
        ),
        (AssertionError::CrossOrigin, |c| {
            c.client_data["crossOrigin"] = json!(true);
        }),
        (AssertionError::CrossOrigin, |c| {
            c.client_data["crossOrigin"] = json!("false");
        }),
        (AssertionError::CrossOrigin, |c| {
            c.client_data["topOrigin"] = json!(ORIGIN);
        }),
        (AssertionError::RelyingParty, |c| {
            c.rp_id = "example.org".into()
        }),
        (AssertionError::NotPresent, |c| c.flags = 0x04),
        (AssertionError::NotVerified, |c| c.flags = 0x01),
        // Backed up, and yet not made for it.
        (AssertionError::Malformed("authenticatorData"), |c| {
            c.flags |= 0x10
        }),
        // Data of a credential, and extensions, that are not there.
        (AssertionError::Malformed("authenticatorData"), |c| {
            c.flags |= 0x40
        }),
        (AssertionError::Malformed("authenticatorData"), |c| {
            c.flags |= 0x80;
            c.more = vec![0xa0];
        }),
    ];
    let authenticator = Authenticator::es256();
    for (expected, lie) in lies {
        let mut ceremony = Ceremony::honest(STATEMENT);
        lie(&mut ceremony);
        let assertion = assertion(authenticator.sign(&ceremony));
        let refused = passkey(&authenticator).verify(STATEMENT, &assertion);
        assert_eq!(refused, Err(expected), "{}", ceremony.client_data);
    }
}

/// A member that is there twice is read by some as the first, by others as the second.
#[test]
fn what_a_browser_says_twice_does_not_count() {
    let authenticator = Authenticator::es256();
    let ceremony = Ceremony::honest(STATEMENT);
    let said = ceremony.client_data.to_string();
    let twice = said.replacen('{', "{\"origin\":\"https://evil.example\",", 1);
    let after = format!("{said} ");
    let trailing = format!("{said}{{}}");
    for (bytes, counts) in [
        (said, true),
        (after, true),
        (twice, false),
        (trailing, false),
    ] {
        let assertion = assertion(authenticator.sign_bytes(bytes.as_bytes(), &ceremony));
        let verified = passkey(&authenticator).verify(STATEMENT, &assertion);
        assert_eq!(verified.is_ok(), counts, "{bytes}");
    }
}

#[test]
fn an_assertion_of_another_key_does_not_count() {
    let (one, other) = (Authenticator::es256(), Authenticator::es256());
    let answer = assertion(other.answer(STATEMENT));
    let refused = passkey(&one).verify(STATEMENT, &answer);
    assert_eq!(refused, Err(AssertionError::Credential));
    // Under the name of the one, by the key of the other.
    let forged = Assertion {
        id: one.credential(),
        ..answer
    };
    let refused = passkey(&one).verify(STATEMENT, &forged);
    assert_eq!(refused, Err(AssertionError::Signature));
    let mut typed = one.answer(STATEMENT);
    typed["type"] = json!("password");
    let refused = passkey(&one).verify(STATEMENT, &assertion(typed));
    assert_eq!(refused, Err(AssertionError::Malformed("type")));
    let long = "x".repeat(1 << 20);
    let refused = passkey(&one).verify(&long, &assertion(one.answer(&long)));
    assert_eq!(refused, Err(AssertionError::Malformed("statement")));
}

proptest! {
    /// No byte of an assertion, nor of what it is about, can be another.
    #[test]
    fn no_byte_of_an_assertion_is_free(part in 0_usize..4, at in any::<prop::sample::Index>(), letter in "[A-Za-z0-9_-]") {
        let authenticator = Authenticator::eddsa();
        let mut answer = authenticator.answer(STATEMENT);
        let mut statement = STATEMENT.to_owned();
        let text = match part {
            0 => None,
            1 => Some("clientDataJSON"),
            2 => Some("authenticatorData"),
            _ => Some("signature"),
        };
        let before = text.map_or(STATEMENT, |name| answer["response"][name].as_str().unwrap());
        let at = at.index(before.len());
        let mut after = before.to_owned();
        after.replace_range(at..=at, &letter);
        prop_assume!(after != before);
        match text {
            None => statement = after,
            Some(name) => answer["response"][name] = json!(after),
        }
        let passkey: Passkey = authenticator.enlisted().parse().unwrap();
        prop_assert!(passkey.verify(&statement, &assertion(answer)).is_err());
    }

    #[test]
    fn any_text_is_a_passkey_or_none(text in "\\PC{0,80}", origin in "https?://[a-z.:0-9/@%]{0,24}") {
        drop(format!("passkey:{text}").parse::<Passkey>());
        let authenticator = Authenticator::eddsa();
        let text = authenticator.enlisted().replace(ORIGIN, &origin);
        if let Ok(passkey) = text.parse::<Passkey>() {
            prop_assert_eq!(passkey.to_string(), text);
        }
    }
}

/// What could not be used, or could be used from elsewhere, is not enlisted.
#[test]
fn a_passkey_that_could_not_be_right_is_not_enlisted() {
    let authenticator = Authenticator::es256();
    let good = authenticator.enlisted();
    let (credential, key) = (authenticator.credential(), authenticator.public());
    let other = Authenticator::eddsa().public();
    let origin = |origin: &str| PasskeyError::Origin(origin.to_owned());
    // A point that is not on the curve.
    let mut off = key.clone().into_bytes();
    off[40] = if off[40] == b'A' { b'B' } else { b'A' };
    let off = String::from_utf8(off).unwrap();
    let long = "A".repeat(MAX_CREDENTIAL_BYTES * 2);
    let nine: Vec<_> = (1..=9)
        .map(|port| format!("https://{RP_ID}:{port}"))
        .collect();
    let bad = [
        (good.replace("passkey:", ""), PasskeyError::Malformed),
        ("passkey:ES256:localhost".into(), PasskeyError::Malformed),
        (
            good.replace("ES256", "RS256"),
            PasskeyError::Algorithm("RS256".into()),
        ),
        (
            good.replace("ES256", "none"),
            PasskeyError::Algorithm("none".into()),
        ),
        (good.replace("ES256", "EdDSA"), PasskeyError::Key),
        (good.replace(&key, &other), PasskeyError::Key),
        (good.replace(&key, &off), PasskeyError::Key),
        (good.replace(&credential, ""), PasskeyError::Credential),
        (good.replace(&credential, &long), PasskeyError::Credential),
        (
            good.replace(":localhost:", ":LOCALHOST:"),
            PasskeyError::RelyingParty("LOCALHOST".into()),
        ),
        (
            good.replace(":localhost:", "::"),
            PasskeyError::RelyingParty(String::new()),
        ),
        (good.replace(ORIGIN, ""), origin("")),
        (
            good.replace(ORIGIN, "http://localhost:80"),
            origin("http://localhost:80"),
        ),
        (
            good.replace(ORIGIN, "http://localhost:08443"),
            origin("http://localhost:08443"),
        ),
        (
            good.replace(ORIGIN, "https://evillocalhost"),
            origin("https://evillocalhost"),
        ),
        (
            good.replace(ORIGIN, "https://localhost.evil.example"),
            origin("https://localhost.evil.example"),
        ),
        (
            good.replace(ORIGIN, "https://localhost/"),
            origin("https://localhost/"),
        ),
        (
            good.replace(ORIGIN, "https://u@localhost"),
            origin("https://u@localhost"),
        ),
        (format!("{good},{ORIGIN}"), origin(ORIGIN)),
        (
            good.replace(ORIGIN, &nine.join(",")),
            origin("https://localhost:9"),
        ),
        (
            good.replace(":localhost:", ":example.org:")
                .replace(ORIGIN, "http://example.org"),
            origin("http://example.org"),
        ),
    ];
    for (text, expected) in bad {
        assert_eq!(text.parse::<Passkey>(), Err(expected), "{text}");
    }
    let several = format!("{good},https://approvals.localhost");
    assert_eq!(several.parse::<Passkey>().unwrap().origins().len(), 2);
}

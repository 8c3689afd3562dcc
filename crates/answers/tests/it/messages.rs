//! Messages of Standard Webhooks: how they are signed, and which are taken.

use casemate_answers::{Message, MessageError, SigningKey, SigningKeyError, WebhookKey};

const NOW_S: u64 = 1_800_000_000;
const NOW_MS: u64 = NOW_S * 1_000;
const BODY: &str = "casemate approval v1\n{}\n";

fn message(key: &SigningKey) -> Message {
    Message {
        id: "msg_1".into(),
        timestamp: NOW_S.to_string(),
        signature: key.sign("msg_1", NOW_S, BODY.as_bytes()),
        body: BODY.into(),
    }
}

fn opened(message: &Message, key: &WebhookKey) -> Result<Option<String>, MessageError> {
    let checked = message.check(NOW_MS)?;
    Ok(checked.by(key).map(str::to_owned))
}

/// The example that the libraries of Standard Webhooks test themselves with.
#[test]
fn a_shared_secret_signs_as_the_published_example_does() {
    let key = concat!("whsec", "_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let key: SigningKey = key.parse().unwrap();
    let body = br#"{"test": 2432232314}"#;
    let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    assert!(key.public().is_none() && key.secret_text().is_none());
}

#[test]
fn a_message_of_its_key_is_taken() {
    let key = SigningKey::generate().unwrap();
    let public = key.public().unwrap();
    assert_eq!(opened(&message(&key), &public), Ok(Some(BODY.to_owned())));
    let again: SigningKey = key.secret_text().unwrap().parse().unwrap();
    assert_eq!(again.public(), Some(public.clone()));
    assert_eq!(public.to_string().parse(), Ok(public));
}

type Lie = fn(&mut Message);

/// A header that is missing, a signature that is not the one, a time that is not now.
#[test]
fn a_message_that_could_be_another_is_not_taken() {
    let key = SigningKey::generate().unwrap();
    let lies: [(MessageError, Lie); 15] = [
        (MessageError::Header("webhook-id"), |m| m.id.clear()),
        (MessageError::Header("webhook-id"), |m| {
            m.id = "msg.1".into()
        }),
        (MessageError::Header("webhook-id"), |m| {
            m.id = "msg_1 msg_1".into()
        }),
        (MessageError::Header("webhook-id"), |m| {
            m.id = "m".repeat(300)
        }),
        (MessageError::Header("webhook-timestamp"), |m| {
            m.timestamp.clear()
        }),
        (MessageError::Header("webhook-timestamp"), |m| {
            m.timestamp.insert(0, '+')
        }),
        (MessageError::Header("webhook-timestamp"), |m| {
            m.timestamp.push_str(".0")
        }),
        (MessageError::Header("webhook-signature"), |m| {
            m.signature.clear()
        }),
        (MessageError::Header("webhook-signature"), |m| {
            m.signature.push('=')
        }),
        (MessageError::Signatures, |m| {
            m.signature = format!("{} {}", m.signature, m.signature);
        }),
        (MessageError::Version, |m| {
            m.signature = m.signature.replace("v1a,", "v1,");
        }),
        (MessageError::Version, |m| m.signature = "v1a".into()),
        (MessageError::TooLarge, |m| m.body = "x".repeat(20_000)),
        (MessageError::Time, |m| {
            m.timestamp = (NOW_S - 301).to_string()
        }),
        (MessageError::Time, |m| {
            m.timestamp = (NOW_S + 301).to_string()
        }),
    ];
    for (expected, lie) in lies {
        let mut message = message(&key);
        lie(&mut message);
        let refused = opened(&message, &key.public().unwrap());
        assert_eq!(refused, Err(expected), "{message:?}");
    }
}

/// What was signed is the name, the time and the body: none of them can be another.
#[test]
fn a_changed_message_is_of_nobody() {
    let key = SigningKey::generate().unwrap();
    let lies: [Lie; 4] = [
        |m| m.id = "msg_2".into(),
        |m| m.timestamp = (NOW_S + 1).to_string(),
        |m| m.body.push(' '),
        |m| m.body = m.body.replace("v1", "v2"),
    ];
    for lie in lies {
        let mut message = message(&key);
        lie(&mut message);
        assert_eq!(
            opened(&message, &key.public().unwrap()),
            Ok(None),
            "{message:?}"
        );
    }
    let stranger = SigningKey::generate().unwrap().public().unwrap();
    assert_eq!(opened(&message(&key), &stranger), Ok(None));
}

#[test]
fn what_is_no_key_is_refused() {
    let key = SigningKey::generate().unwrap();
    let text = key.secret_text().unwrap();
    let mut other = text.as_bytes().to_vec();
    let last = other.len() - 10;
    other[last] = if other[last] == b'A' { b'B' } else { b'A' };
    let other = String::from_utf8(other).unwrap();
    for bad in [
        "",
        "whsk_",
        "whsec_",
        "whsec_AAAA",
        "whsk_AAAA",
        "v1a,AAAA",
        &other,
    ] {
        assert_eq!(
            bad.parse::<SigningKey>().err(),
            Some(SigningKeyError::Malformed),
            "{bad}"
        );
    }
    for bad in ["", "whpk_", "whpk_AAAA", &text] {
        assert!(bad.parse::<WebhookKey>().is_err());
    }
    let shown = format!("{key:?}");
    assert!(!text.contains(&shown) && shown.len() < 30, "{shown}");
}

use casemate_identity::{Form as SecretForm, Secret};
use http::HeaderValue;

use super::*;

const STAND_IN: &str = "stand-in-of-a-test";

fn of(secret: &str) -> InPlace {
    InPlace {
        stand_in: STAND_IN.to_owned(),
        field: None,
        secret: Secret::read(secret.as_bytes(), SecretForm::Line).unwrap(),
    }
}

fn fields(types: &[&str]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for media in types {
        fields.append(header::CONTENT_TYPE, HeaderValue::from_str(media).unwrap());
    }
    fields
}

fn with(secret: &str, field: &str, media: &str, body: &str) -> Option<String> {
    let with = body_with(&of(secret), field, body.as_bytes(), &fields(&[media]))?;
    Some(String::from_utf8(with.to_vec()).unwrap())
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// R75: the secret is where the stand-in was, spelled as it has to be, and nothing else of the request is different.
#[test]
fn a_secret_takes_the_place_of_its_stand_in() {
    let at = |text: &str| path(&of("123:SECRET"), &text.replace('@', STAND_IN));
    assert_eq!(at("/bot@/send").unwrap(), "/bot123:SECRET/send");
    assert_eq!(at("/@").unwrap(), "/123:SECRET");
    for not_once in ["/bot/send", "/@/@", "/@@", "/"] {
        assert_eq!(at(not_once), None, "{not_once}");
    }
    assert_eq!(path(&of("../../SECRET"), &format!("/a/{STAND_IN}")), None);

    let secret = r#"a"b\c&d=e f"#;
    let spelled = r#"a\"b\\c&d=e f"#;
    let encoded = "a%22b%5Cc%26d%3De+f";
    for (field, media, body, is) in [
        (
            "key",
            JSON,
            r#"{"n":1.0,"key":"@"}"#,
            r#"{"n":1.0,"key":"!"}"#,
        ),
        (
            "/a/0/key",
            JSON,
            r#"{"a":[{"key": "@"}]}"#,
            r#"{"a":[{"key": "!"}]}"#,
        ),
        (
            "key",
            "Application/Vnd.x+JSON; charset=UTF-8",
            r#"{"key":"@"}"#,
            r#"{"key":"!"}"#,
        ),
        ("key", FORM, "a=%20&key=@&b", "a=%20&key=?&b"),
    ] {
        let expected = is.replace('!', spelled).replace('?', encoded);
        let made = with(secret, field, media, &body.replace('@', STAND_IN));
        assert_eq!(made, Some(expected), "{body}");
    }
}

/// R87, I2: it goes nowhere else, whatever a body says: not into another field, not into a body that two readers could take for different things, and not
/// where it is not asked for.
#[test]
fn a_secret_goes_into_its_field_only() {
    for (media, body) in [
        (JSON, r#"{"other":"@"}"#),
        (JSON, r#"{"other":"@","key":"x"}"#),
        (JSON, r#"{"key":"x@"}"#),
        (JSON, r#"{"key":["@"]}"#),
        (JSON, r#"{"a":{"key":"@"}}"#),
        (JSON, r#"{"key":"@","other":"@"}"#),
        (JSON, r#"{"key":"x","key":"@"}"#),
        // The field's value is spelled in another way, and what would be replaced is another's.
        (JSON, r#"{"other":"@","key":"\u0073tand-in-of-a-test"}"#),
        (JSON, r#"["@"]"#),
        (JSON, r#""@""#),
        (JSON, "key=@"),
        (JSON, r#"{"key":"@"} x"#),
        (FORM, "other=@"),
        (FORM, "key=x&other=@"),
        (FORM, "key=@&key=x"),
        (FORM, "key=@&Key=x"),
        (FORM, "Key=@"),
        (FORM, "key=@&other=@"),
        (FORM, "key=%73tand-in-of-a-test&other=@"),
        (FORM, r#"{"key":"@"}"#),
        ("text/plain", "key=@"),
        ("multipart/form-data; boundary=x", "key=@"),
        ("application/json; charset=utf-16", r#"{"key":"@"}"#),
        (FORM, ""),
    ] {
        let made = with("SECRETSECRET", "key", media, &body.replace('@', STAND_IN));
        assert_eq!(made, None, "{media} {body}");
    }
    let body = format!("key={STAND_IN}");
    for types in [&[][..], &[FORM, FORM], &[FORM, JSON]] {
        let made = body_with(&of("SECRETSECRET"), "key", body.as_bytes(), &fields(types));
        assert_eq!(made, None, "{types:?}");
    }
    let mut coded = fields(&[FORM]);
    coded.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    assert_eq!(
        body_with(&of("SECRETSECRET"), "key", body.as_bytes(), &coded),
        None
    );
}

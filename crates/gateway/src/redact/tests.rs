use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn names() -> Vec<String> {
    vec!["access_token".into(), "customer_email".into()]
}

fn redacted(text: &str) -> String {
    String::from_utf8(redact(text.as_bytes(), &names())).unwrap()
}

#[test]
fn values_of_named_fields_go_whatever_the_syntax() {
    for (text, expected) in [
        ("--access-token=S3 x", "--access-token=[redacted] x"),
        (
            "curl --access_token S3 x",
            "curl --access_token [redacted] x",
        ),
        ("ACCESS_TOKEN=S3 run", "ACCESS_TOKEN=[redacted] run"),
        (
            r#"{"access_token": "S3\"S3", "a": 1}"#,
            r#"{"access_token": "[redacted]", "a": 1}"#,
        ),
        (
            r#"{"access_token":{"k":["S3}",{}]},"a":1}"#,
            r#"{"access_token":[redacted],"a":1}"#,
        ),
        (r#"{"access_token":[S3"#, r#"{"access_token":[redacted]"#),
        (
            r#""{\"access_token\": \"S3\"}""#,
            r#""{\"access_token\": \"[redacted]\"}""#,
        ),
        (r#"{"access_token":""}"#, r#"{"access_token":"[redacted]"}"#),
        ("{'access_token': 53}", "{'access_token': [redacted]}"),
        (
            "access_token = f'S3'\nb = 1",
            "access_token = f'[redacted]'\nb = 1",
        ),
        (
            "access_token = \"\"\"S3\nS3\"\"\"; b",
            "access_token = \"\"\"[redacted]\"\"\"; b",
        ),
        (
            "df['customer_email'] == \"S3\"",
            "df['customer_email'] == \"[redacted]\"",
        ),
        (
            "https://h/?access_token=S3&b=1",
            "https://h/?access_token=[redacted]&b=1",
        ),
        ("access_token: 'S3", "access_token: '[redacted]"),
    ] {
        assert_eq!(redacted(text), expected, "{text}");
    }
}

#[test]
fn everything_else_stays() {
    for text in [
        "",
        "access_token",
        "print(access_token)",
        "my_access_token=kept",
        "access_tokens=kept",
        "access_token=",
        "use the access_token for it",
        "größe=kept",
    ] {
        assert_eq!(redacted(text), text);
    }
    let binary = [0xff, 0, b'=', 0xfe];
    assert_eq!(redact(&binary, &names()), binary);
}

#[test]
fn the_value_of_a_flag_is_also_the_next_argument() {
    let argv: Vec<Text> = ["curl", "--access-token", "S3", "-x", "access_token", "kept"]
        .map(Text::from)
        .into();
    let shown: Vec<String> = redact_argv(&argv, &names())
        .iter()
        .map(Text::to_string)
        .collect();
    assert_eq!(
        shown,
        [
            "curl",
            "--access-token",
            "[redacted]",
            "-x",
            "access_token",
            "kept"
        ]
    );
}

#[test]
fn a_variable_is_a_salted_digest_of_its_value_or_nothing() {
    let env = BTreeMap::from([
        ("MODE".to_owned(), Text::from("S3")),
        ("Access_Token".to_owned(), Text::from("S3")),
    ]);
    let [first, second] = [b"a", b"b"].map(|salt| digest_env(&env, &names(), salt));
    assert_eq!(first["Access_Token"], REDACTED.into());
    assert!(first["MODE"].as_str().unwrap().starts_with("sha256:"));
    assert_ne!(
        first["MODE"], second["MODE"],
        "equal values cannot be linked"
    );
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(|number| json!(number)),
        ".*".prop_map(|text| json!(text)),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::hash_map("[a-z]{1,4}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever stands beside it and inside of it: in JSON the value goes, and everything else stays.
    #[test]
    fn in_json_exactly_the_named_value_goes(secret in value(), beside in value(), pretty: bool) {
        let text = |field: &Value| {
            let document = json!({"a": [beside], "access_token": field, "z": beside});
            if pretty { format!("{document:#}") } else { document.to_string() }
        };
        let shown = redacted(&text(&secret));
        let expected = text(&json!(REDACTED));
        // A value without quotes of its own leaves the mark without quotes.
        prop_assert_eq!(
            shown.replace(": [redacted]", ": \"[redacted]\"").replace(":[redacted]", ":\"[redacted]\""),
            expected
        );
    }

    /// Text without a name is not touched, whatever its bytes are.
    #[test]
    fn other_text_stays(text: Vec<u8>) {
        prop_assert_eq!(redact(&text, &["access_token".to_owned()]), text);
    }
}

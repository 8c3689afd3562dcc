//! Arguments: what is no JSON, what is ambiguous, and what a tool does not take.

use casemate_policy::{
    ArgumentFault, Arguments, MAX_ARGUMENT_BYTES, MAX_ARGUMENT_DEPTH, MAX_ARGUMENT_MEMBERS,
    Manifest, Syntax,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::corpus::compare;

const TOOL: &[u8] = include_bytes!("../bad_arguments/tool.toml");

fn tool() -> Manifest {
    Manifest::parse(TOOL, Syntax::Toml).unwrap()
}

fn check(tool: &Manifest, bytes: &[u8]) -> Result<(), ArgumentFault> {
    tool.check(&Arguments::parse(bytes)?)
}

/// R141: malformed, ambiguous, unknown and wrong arguments are refused before anything runs, in one line
/// that names the field and what was expected, and never what was found.
#[test]
fn every_bad_argument_is_explained() {
    let tool = tool();
    compare("bad_arguments", &[".json"], 70, |name, bytes| {
        let Err(fault) = check(&tool, bytes) else {
            panic!("{name} is accepted");
        };
        let line = fault.to_string();
        assert!(line.chars().all(|char| !char.is_control()), "{line:?}");
        assert!(line.chars().count() < 500, "{line}");
        assert!(!line.contains("hunter2"), "{line}");
        format!("{line}\n")
    });
}

/// R141: what the schema allows passes.
#[test]
fn good_arguments_pass() {
    let tool = tool();
    for good in [
        json!({"order": "A-1", "kind": "gift"}),
        json!({"order": "A-1", "kind": "own", "count": 9, "day": "2026-11-20", "tags": ["a", "b"], "note": null}),
        json!({"order": "A-1", "kind": "own", "count": 9.0}),
        json!({"order": "A-1", "kind": "own", "to": {"name": "a", "home": {"city": "b"}}}),
        json!({"order": "A-1", "kind": "own", "by": {"name": "a", "role": "b", "home": {}}}),
        json!({"order": "A-1", "kind": "own", "pay": {"iban": "1"}}),
        json!({"order": "A-1", "kind": "own", "free": {"a": {"b": [1, {"c": 2}]}}, "counts": {"x": 1}}),
        json!({"order": "A-1", "kind": "own", "any": [1, "a", null]}),
        json!({"order": "A-1", "kind": "own", "lines": [{"sku": "a"}, {}]}),
    ] {
        assert_eq!(check(&tool, good.to_string().as_bytes()), Ok(()), "{good}");
    }
}

/// R141: a tool without `input` takes no arguments at all.
#[test]
fn a_tool_that_says_nothing_takes_nothing() {
    let tool = Manifest::parse(b"name = \"a\"", Syntax::Toml).unwrap();
    assert_eq!(check(&tool, b"{}"), Ok(()));
    let fault = check(&tool, br#"{"b/c":1}"#).unwrap_err();
    assert_eq!(fault.pointer(), Some("/b~1c"));
    assert_eq!(fault.to_string(), "the argument `/b~1c` is unknown");
}

fn nested(levels: usize) -> Vec<u8> {
    let arrays = levels - 1;
    format!("{{\"a\":{}{}}}", "[".repeat(arrays), "]".repeat(arrays)).into_bytes()
}

/// R141, I15: bytes, levels and members have limits, each exact.
#[test]
fn limits_are_exact() {
    let fill = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8)).into_bytes();
    assert!(Arguments::parse(&fill(MAX_ARGUMENT_BYTES)).is_ok());
    assert_eq!(
        Arguments::parse(&fill(MAX_ARGUMENT_BYTES + 1)),
        Err(ArgumentFault::TooLarge)
    );

    assert!(Arguments::parse(&nested(MAX_ARGUMENT_DEPTH)).is_ok());
    for levels in [MAX_ARGUMENT_DEPTH + 1, 1_000_000] {
        let fault = Arguments::parse(&nested(levels)).unwrap_err();
        assert!(matches!(fault, ArgumentFault::TooDeep { .. }), "{fault}");
        assert!(fault.to_string().len() < 300);
    }

    let list = |elements: usize| {
        let list = vec![Value::from(0); elements];
        json!({ "a": list }).to_string().into_bytes()
    };
    assert!(Arguments::parse(&list(MAX_ARGUMENT_MEMBERS - 1)).is_ok());
    let many = Err(ArgumentFault::TooMany);
    assert_eq!(Arguments::parse(&list(MAX_ARGUMENT_MEMBERS)), many);
    let object: serde_json::Map<_, _> = (0..=MAX_ARGUMENT_MEMBERS)
        .map(|at| (at.to_string(), Value::Null))
        .collect();
    let object = Value::from(object).to_string();
    assert_eq!(Arguments::parse(object.as_bytes()), many);
}

/// The canonical form is RFC 8785's: its own example, of section 3.2.2 and 3.2.3.
#[test]
fn the_canonical_form_is_that_of_the_standard() {
    let arguments = Arguments::parse(
        br#"{ "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
              "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false] }"#,
    )
    .unwrap_err();
    // The example's first number is one that a double does not carry.
    assert!(matches!(arguments, ArgumentFault::Number { byte: 14 }));
    let arguments = Arguments::parse(
        br#"{ "numbers": [1E30, 4.50, 2e-3, 0.000000000000000000000000001],
              "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false] }"#,
    )
    .unwrap();
    assert_eq!(
        String::from_utf8_lossy(arguments.canonical()),
        "{\"literals\":[null,true,false],\"numbers\":[1e+30,4.5,0.002,1e-27],\
         \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
    );
    let other = Arguments::parse(br#"{"b":1,"a":1.0}"#).unwrap();
    assert_eq!(other.canonical(), br#"{"a":1,"b":1}"#);
    assert_eq!(
        other.digest(),
        Arguments::parse(br#" { "a" : 1, "\u0062" : 10e-1 } "#)
            .unwrap()
            .digest()
    );
    assert!(!format!("{other:?}").contains('{'));
}

fn json_text() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}")),
        "-?[0-9]{1,20}(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
    ];
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        number,
        any::<String>().prop_map(|text| Value::from(text).to_string()),
        Just("\"\\ud83d\\ude00\\u0000\"".to_owned()),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5)
                .prop_map(|list| format!("[{}]", list.join(","))),
            prop::collection::vec(("[a-c]|[\\PC]{0,3}", inner), 0..5).prop_map(|members| {
                let member =
                    |(key, value): (String, String)| format!("{}: {value}", Value::from(key));
                let members: Vec<_> = members.into_iter().map(member).collect();
                format!("{{ {} }}", members.join(", "))
            }),
        ]
    })
    .prop_map(|value| format!("{{\"a\": {value}}}"))
}

/// What is accepted canonicalises to itself, and means what it meant.
fn accepted_is_stable(bytes: &[u8]) -> bool {
    let Ok(arguments) = Arguments::parse(bytes) else {
        return false;
    };
    let again = Arguments::parse(arguments.canonical()).unwrap();
    assert_eq!(again.canonical(), arguments.canonical());
    assert_eq!(again.digest(), arguments.digest());
    let tool = tool();
    assert_eq!(tool.check(&again), tool.check(&arguments));
    true
}

proptest! {
    /// R141: whatever the bytes are, there is an answer.
    #[test]
    fn any_bytes_have_an_answer(bytes: Vec<u8>) {
        accepted_is_stable(&bytes);
    }

    #[test]
    fn any_text_that_is_nearly_json_has_an_answer(
        text in "[\\[\\]{}\",:0-9eE+.\\\\u \n\u{feff}a-d-]{0,40}"
    ) {
        accepted_is_stable(text.as_bytes());
        accepted_is_stable(format!("{{\"a\":{text}}}").as_bytes());
    }

    #[test]
    fn what_is_accepted_canonicalises_to_itself(text in json_text()) {
        accepted_is_stable(text.as_bytes());
    }

    /// Nothing that a double carries is refused.
    #[test]
    fn every_double_passes(number in any::<f64>().prop_filter("JSON has no others", |number| number.is_finite())) {
        let text = json!({ "a": number }).to_string();
        prop_assert!(accepted_is_stable(text.as_bytes()) || (number == 0.0 && number.is_sign_negative()), "{}", text);
    }

    /// A key that is given twice is refused wherever it is and however it is spelled.
    #[test]
    fn no_key_passes_twice(inner in json_text(), key in "[\\PC]{1,4}") {
        let plain = Value::from(key.clone());
        let spelled: String = key.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let text = format!("{{\"x\":[{{{plain}:{inner},\"{spelled}\":0}}]}}");
        prop_assert!(!accepted_is_stable(text.as_bytes()));
    }
}

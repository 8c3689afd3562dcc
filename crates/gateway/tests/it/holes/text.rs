//! Hole 17: rules that are matched against the text of a command.

use casemate_gateway::Told;
use casemate_model::Reason;
use casemate_policy::{Arguments, Manifest, Profile, Syntax, Verdict};

use super::{approved_inputs, engine, ran, with_tools};
use crate::house::{House, in_thread, refused};

/// One command, as a shell would have it, and others that do the same.
const SPELLINGS: &[&str] = &[
    "az vm delete --name prod",
    "az  vm\tdelete --name prod",
    "a\"\"z v''m del\"ete\" --name prod",
    "\\az vm delete --name prod",
    "x=delete; az vm $x --name prod",
    "$(echo az) vm delete --name prod",
    "`printf az` vm delete --name prod",
    "eval \"$(echo YXogdm0gZGVsZXRl | base64 -d)\"",
    "az vm {delete,--name} prod",
    "az vm de${nothing}lete --name prod",
    "/usr/bin/env az vm delete --name prod",
    "python3 -c 'import subprocess; subprocess.run([\"az\", \"vm\", \"delete\"])'",
    "echo harmless # az vm list",
];

/// R53: others: `bash(az * delete *)` is asked about, and `a""z vm de$x` is not. Here: the tool is decided on, whatever its text: every spelling has
/// the same answer.
#[tokio::test]
async fn hole_17_the_tool_is_decided_not_its_text() {
    let held = with_tools("approval_required = [\"shell\"]");
    let mut narrow = House::new("thread");
    let source = std::str::from_utf8(narrow.profile.source()).unwrap();
    let source = source.replace("[\"python\", \"shell\"]", "[\"python\"]");
    narrow.profile = Profile::parse(source.as_bytes(), Syntax::Toml).unwrap();
    let (waits, refuses) = (held.rooms(), narrow.rooms());
    for (number, spelling) in SPELLINGS.iter().enumerate() {
        let words = ["sh", "-c", spelling];
        let told = held.call(&waits, in_thread("t", &words)).await;
        assert!(matches!(told, Told::Held(_)), "{spelling}: {told:?}");
        // A thread for each: three equal refusals would be a loop.
        let ask = in_thread(&format!("t{number}"), &words);
        let (reason, _) = refused(&narrow.call(&refuses, ask).await);
        assert_eq!(reason, Reason::MissingScope, "{spelling}");
    }
    assert!(!ran(&held) && !ran(&narrow));
}

/// There is no place for such a rule: a profile does not take one, and a policy does not see the text.
#[tokio::test]
async fn hole_17_no_rule_is_about_text() {
    let house = with_tools("approval_required = [\"shell\"]");
    let source = std::str::from_utf8(house.profile.source()).unwrap();
    for pattern in ["bash(az * delete *)", "shell(*)", "shell:az*", "sh*", "*"] {
        let source = source.replace(
            "approval_required = [\"shell\"]",
            &format!("approval_required = [\"{pattern}\"]"),
        );
        let parsed = Profile::parse(source.as_bytes(), Syntax::Toml);
        assert!(parsed.is_err(), "{pattern}");
    }
    let inputs = approved_inputs(&house).await;
    let everything = "forbid (principal, action, resource);";
    let judged = engine(&house, Vec::new(), everything).judge(&inputs);
    assert_eq!(judged.verdict, Verdict::Deny, "a policy counts: {judged:?}");
    // What is decided from has the call's hash, and none of its words.
    let told = serde_json::to_string(&inputs).unwrap();
    assert!(
        !told.contains("\"true\"") && !told.contains("argv"),
        "{told}"
    );
}

/// Arguments are a schema's, closed: nothing beside it, nothing twice, nothing of another type.
#[test]
fn hole_17_arguments_are_strict() {
    let text = "name = \"pay\"\nversion = \"1\"\ndescription = \"Pays.\"\nside_effect = \"write\"\ntier = \"tool_limited\"\n\
        scopes = [\"pay\"]\napproval = \"required\"\ntimeout_ms = 1_000\nidempotency = \"required\"\n\
        [input]\ntype = \"object\"\nrequired = [\"order\"]\nadditionalProperties = false\n\
        [input.properties.order]\ntype = \"string\"\nenum = [\"a\", \"b\"]\n";
    let manifest = Manifest::parse(text.as_bytes(), Syntax::Toml);
    let manifest = manifest.unwrap_or_else(|faults| panic!("{faults:?}"));
    let checked = |json: &str| {
        let arguments = Arguments::parse(json.as_bytes()).map_err(|fault| fault.to_string())?;
        let checked = manifest.check(&arguments);
        checked.map_err(|fault| fault.to_string())
    };
    checked(r#"{"order":"a"}"#).unwrap();
    for json in [
        r#"{"order":"a","approved":true}"#,
        r#"{"order":"a","order":"b"}"#,
        r#"{"order":["a"]}"#,
        r#"{"order":"A"}"#,
        r#"{"order":"a "}"#,
        r#"{"order":"$(echo a)"}"#,
        r#"{"Order":"a"}"#,
        "{}",
        "\"a\"",
    ] {
        assert!(checked(json).is_err(), "{json}");
    }
}

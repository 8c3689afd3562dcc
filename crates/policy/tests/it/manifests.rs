//! Manifests that are good, and what they are read as.

use std::{fs, path::Path};

use casemate_model::{SideEffect, Tier};
use casemate_policy::{
    ApprovalRule, Arguments, DomainRule, Idempotency, MAX_INPUT_SCHEMA_DEPTH, MAX_MANIFEST_BYTES,
    Manifest, ManifestError, Profile, Reads, Redaction, Returns, SourceError, Syntax,
    manifest_reference,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const REFUND: &str = r#"
name = "refunds.issue_refund"
version = "2.1"
description = "Pays an order back."
side_effect = "write"
tier = "tool_limited"
scopes = ["refunds:issue"]
destinations = ["payments.example.com", "*.example.org"]
credential = "payments"
approval = "profile"
timeout_ms = 5_000
idempotency = "required"
redact = ["iban"]
labels = { reads = "public", returns = "trusted" }

[input]
type = "object"
required = ["order", "cents"]
[input.properties]
order = { type = "string" }
cents = { type = "integer", minimum = 1, maximum = 0xFFFF }
ratio = { type = "number", maximum = 1.5 }
"#;

fn toml(text: &str) -> Manifest {
    Manifest::parse(text.as_bytes(), Syntax::Toml).unwrap()
}

/// R67, R141, R143: every field of a manifest is taken as it is written.
#[test]
fn what_is_said_is_taken() {
    let manifest = toml(REFUND);
    assert_eq!(manifest.name, "refunds.issue_refund");
    assert_eq!(manifest.version, "2.1");
    assert_eq!(manifest.description, "Pays an order back.");
    assert_eq!(manifest.side_effect, SideEffect::Write);
    assert_eq!(manifest.tier, Tier::ToolLimited);
    assert_eq!(manifest.scopes, ["refunds:issue"]);
    let destinations: Vec<_> = manifest
        .destinations
        .iter()
        .map(DomainRule::as_str)
        .collect();
    assert_eq!(destinations, ["payments.example.com", "*.example.org"]);
    assert_eq!(manifest.credential.as_deref(), Some("payments"));
    assert_eq!(manifest.approval, ApprovalRule::Profile);
    assert_eq!(manifest.timeout_ms, 5_000);
    assert_eq!(manifest.idempotency, Idempotency::Required);
    assert_eq!(manifest.redact, Redaction::Fields(vec!["iban".to_owned()]));
    assert_eq!(manifest.labels.reads, Reads::Public);
    assert_eq!(manifest.labels.returns, Returns::Trusted);
    assert_eq!(manifest.input()["properties"]["cents"]["maximum"], 0xFFFF);
    assert_eq!(manifest.assumed(), [""; 0]);
}

/// R67: what a manifest does not say is read as what risks more, and that is told.
#[test]
fn what_is_left_out_is_the_riskier_reading() {
    let manifest = toml("name = \"a\"");
    assert_eq!(manifest.side_effect, SideEffect::ExternalSend);
    assert_eq!(manifest.tier, Tier::Code);
    assert_eq!(manifest.scopes, ["a"], "no caller has it by chance");
    assert_eq!(manifest.destinations, []);
    assert_eq!(manifest.credential, None);
    assert_eq!(manifest.approval, ApprovalRule::Required);
    assert_eq!(manifest.timeout_ms, 30_000);
    assert_eq!(manifest.idempotency, Idempotency::Required);
    assert_eq!(manifest.redact, Redaction::Everything);
    assert_eq!(manifest.labels.reads, Reads::Private);
    assert_eq!(manifest.labels.returns, Returns::Untrusted);
    assert_eq!(
        manifest.assumed(),
        [
            "side_effect",
            "tier",
            "scopes",
            "destinations",
            "approval",
            "idempotency",
            "redact",
            "labels.reads",
            "labels.returns",
        ]
    );
    let half = toml("name = \"a\"\nscopes = []\nlabels.reads = \"public\"\nside_effect = \"read\"");
    assert_eq!(half.scopes, [""; 0], "an empty list is said");
    assert_eq!(
        half.assumed(),
        [
            "tier",
            "destinations",
            "approval",
            "idempotency",
            "redact",
            "labels.returns"
        ]
    );
}

/// R66, R67: a tool of the read-only tier only reads, and what changes something needs a key.
#[test]
fn side_effects_have_a_tier_and_a_key() {
    let read = |side_effect: SideEffect, tier: Tier, idempotency: &str| {
        let text = format!(
            "name = 'a'\nside_effect = '{side_effect}'\ntier = '{tier}'\nidempotency = '{idempotency}'"
        );
        Manifest::parse(text.as_bytes(), Syntax::Toml).is_ok()
    };
    for side_effect in SideEffect::ALL {
        let reads = *side_effect == SideEffect::Read;
        for tier in Tier::ALL {
            let may = reads || *tier != Tier::ReadOnly;
            assert_eq!(
                read(*side_effect, *tier, "required"),
                may,
                "{side_effect} {tier}"
            );
            assert_eq!(
                read(*side_effect, *tier, "none"),
                reads,
                "{side_effect} {tier}"
            );
        }
    }
}

/// The page says of each key that is left out what the reader makes of it.
#[test]
fn the_page_says_what_is_assumed() {
    let page = manifest_reference();
    let least = toml("name = \"a\"");
    let whole: Value = serde_json::from_slice(&least.canonical().unwrap()).unwrap();
    for path in least.assumed() {
        let (section, name) = path.split_once('.').unwrap_or(("", path));
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")))
            .unwrap();
        let value = if section.is_empty() {
            &whole[name]
        } else {
            &whole[section][name]
        };
        if let Some(word) = value.as_str() {
            assert!(row.contains(&format!("| `{word}` |")), "{row}");
        }
    }
}

/// R150: a digest means one reading: neither the language nor what is left out makes another one.
#[test]
fn the_digest_is_of_what_is_meant() {
    let least = toml("name = \"a\"");
    let said = toml(
        "name = 'a' # the same\ntier = 'code'\nside_effect = 'external_send'\nscopes = ['a']\n\
         destinations = []\napproval = 'required'\ntimeout_ms = 30000\n[labels]\nreads = 'private'",
    );
    let json = Manifest::parse(br#"{"version": "0", "name": "a"}"#, Syntax::Json).unwrap();
    assert_eq!(least.digest(), said.digest());
    assert_eq!(least.digest(), json.digest());

    let refund = toml(REFUND);
    let form = refund.canonical().unwrap();
    let again = Manifest::parse(&form, Syntax::Json).unwrap();
    assert_eq!(again.canonical().unwrap(), form);
    assert_eq!(again.digest(), refund.digest());
    for (from, to) in [
        ("refunds.issue_refund", "refunds.issue_refunds"),
        ("2.1", "2.2"),
        ("Pays", "pays"),
        ("\"write\"", "\"draft\""),
        ("tool_limited", "browser"),
        ("refunds:issue", "refunds:draft"),
        ("*.example.org", "example.org"),
        ("\"payments\"", "\"payment\""),
        ("\"profile\"", "\"required\""),
        ("5_000", "5_001"),
        ("iban", "bic"),
        ("\"public\"", "\"private\""),
        ("\"trusted\"", "\"untrusted\""),
        ("0xFFFF", "0xFFFE"),
    ] {
        let other = toml(&REFUND.replace(from, to));
        assert_ne!(
            other.digest(),
            refund.digest(),
            "{from} is not in the digest"
        );
    }
}

/// Numbers of a schema may be written in every way that TOML has, if JSON carries them.
#[test]
fn a_schema_in_toml_is_one_in_json() {
    let json = r#"{"name": "a", "input": {"type": "object", "properties": {"b": {"enum": [255, 1.5, null, true]}}}}"#;
    let json = Manifest::parse(json.as_bytes(), Syntax::Json).unwrap();
    assert_eq!(
        json.input()["properties"]["b"]["enum"],
        json!([255, 1.5, null, true])
    );
    let toml =
        toml("name = 'a'\ninput = { type = 'object', properties.b.enum = [0xff, +1.5, true] }");
    assert_eq!(
        toml.input()["properties"]["b"]["enum"],
        json!([255, 1.5, true])
    );
}

/// A test in a schema decides what it decided before objects were closed.
#[test]
fn closing_does_not_change_a_test() {
    let tool = toml(
        r#"
        name = "a"
        [input]
        type = "object"
        properties = { kind = { type = "string" }, more = { type = "object", additionalProperties = true }, iban = { type = "string" } }
        if = { properties = { more = { properties = { paid = { const = true } }, required = ["paid"] } }, required = ["more"] }
        then = { required = ["iban"] }
        not = { properties = { more = { properties = { bad = { const = 1 } }, required = ["bad"] } }, required = ["more"] }
        "#,
    );
    let check = |arguments: Value| {
        let arguments = Arguments::parse(arguments.to_string().as_bytes()).unwrap();
        tool.check(&arguments)
            .map_err(|fault| fault.pointer().unwrap_or_default().to_owned())
    };
    assert_eq!(check(json!({"more": {"x": 1}})), Ok(()));
    assert_eq!(
        check(json!({"more": {"paid": true, "x": 1}})),
        Err("/iban".to_owned())
    );
    assert_eq!(
        check(json!({"more": {"paid": true, "x": 1}, "iban": "1"})),
        Ok(())
    );
    assert_eq!(
        check(json!({"more": {"bad": 1, "x": 1}})),
        Err(String::new())
    );
    assert_eq!(check(json!({"other": 1})), Err("/other".to_owned()));
}

/// R70, R140: the tools of every build are ones that a profile can list, and take what they say.
#[test]
fn python_and_shell_have_manifests() {
    let manifests = Manifest::builtin().unwrap();
    let names: Vec<_> = manifests
        .iter()
        .map(|manifest| manifest.name.as_str())
        .collect();
    assert_eq!(names, ["python", "shell"]);
    let profile = Profile::builtin().unwrap();
    assert_eq!(
        profile.tools.allowed, names,
        "the built-in profile lists them"
    );
    for manifest in &manifests {
        assert_eq!(manifest.side_effect, SideEffect::Draft);
        assert_eq!(manifest.tier, Tier::Code);
        assert_eq!(manifest.approval, ApprovalRule::Profile);
        assert_eq!(manifest.labels.returns, Returns::Untrusted);
        assert_eq!(manifest.scopes, [""; 0]);
        assert_eq!(manifest.destinations, []);
        assert_eq!(manifest.assumed(), [""; 0]);
        let check = |text: &str| manifest.check(&Arguments::parse(text.as_bytes()).unwrap());
        assert_eq!(
            check(r#"{"code":"1","args":["a"],"env":{"TZ":"UTC"}}"#),
            Ok(())
        );
        for bad in [
            "{}",
            r#"{"code":1}"#,
            r#"{"code":"1","user":"root"}"#,
            r#"{"code":"1","env":{"A":1}}"#,
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert_eq!(
            check(r#"{"argv":["ls"]}"#).is_ok(),
            manifest.name == "shell"
        );
    }
}

/// A file comes in as one, and is not read beyond its limit.
#[test]
fn files_are_read_and_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("a.toml"), REFUND).unwrap();
    assert_eq!(
        Manifest::load(&path("a.toml")).unwrap().digest(),
        toml(REFUND).digest()
    );
    fs::write(path("a.yaml"), REFUND).unwrap();
    fs::create_dir(path("b.json")).unwrap();
    fs::write(path("c.json"), " ".repeat(MAX_MANIFEST_BYTES + 2)).unwrap();
    let error = |name: &str| Manifest::load(&path(name)).unwrap_err();
    assert!(matches!(
        error("a.yaml"),
        ManifestError::Source(SourceError::Syntax { .. })
    ));
    assert!(matches!(
        error("b.json"),
        ManifestError::Source(SourceError::NotAFile { .. })
    ));
    assert!(matches!(
        error("d.json"),
        ManifestError::Source(SourceError::Read { .. })
    ));
    assert!(matches!(
        Manifest::load(Path::new("/dev/zero")).unwrap_err(),
        ManifestError::Source(SourceError::Syntax { .. })
    ));
    let rendered = error("c.json").rendered().unwrap();
    assert!(rendered.contains("larger than 128 KiB"), "{rendered}");
}

/// I15: how deep a schema may nest is exact.
#[test]
fn a_schema_as_deep_as_it_may_be_is_read() {
    let read = |inner: usize| {
        let mut schema = json!({"type": "string"});
        for _ in 0..inner {
            schema = json!({"anyOf": [schema]});
        }
        let text = json!({"name": "a", "input": {"type": "object", "properties": {"a": schema}}});
        Manifest::parse(text.to_string().as_bytes(), Syntax::Json)
    };
    // Four levels around them, and two for each.
    let most = (MAX_INPUT_SCHEMA_DEPTH - 4) / 2;
    assert!(read(most).is_ok());
    assert!(read(most + 1).is_err());
}

/// Pieces of manifests, good and bad, in any order.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    "=",
    ".",
    "\"",
    "'",
    "\n",
    "#",
    "0",
    "-1",
    "1e999",
    "inf",
    "1979-05-27",
    "true",
    "name",
    "\"a\"",
    "name = \"a\"\n",
    "[input]\n",
    "type = \"object\"\n",
    "[input.properties.a]\n",
    "\"$ref\" = \"#/$defs/a\"\n",
    "[input.\"$defs\".a]\n",
    "anyOf = [{}]\n",
    "pattern = \"(a\"\n",
    "type = 1\n",
    "required = [\"a\"]\n",
    "additionalProperties = {}\n",
    "\u{202e}",
    "\\u",
    "tier = \"read_only\"\n",
    "side_effect = \"read\"\n",
    "labels = 1\n",
    "scopes = [\"*\"]\n",
    "items = { type = \"string\" }\n",
    "if = { properties = { a = { const = 1 } } }\n",
    "format = \"date\"\n",
    "minLength = 0.5\n",
];

proptest! {
    /// Whatever the bytes are: an answer, and a manifest that is accepted is its own canonical form.
    #[test]
    fn any_manifest_has_an_answer(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..24),
        raw: Vec<u8>,
    ) {
        let text = pieces.concat();
        let named = format!("name = \"a\"\n{text}");
        for (source, syntax) in [
            (text.as_bytes(), Syntax::Toml),
            (named.as_bytes(), Syntax::Toml),
            (text.as_bytes(), Syntax::Json),
            (&*raw, Syntax::Toml),
            (&*raw, Syntax::Json),
        ] {
            match Manifest::parse(source, syntax) {
                Ok(manifest) => {
                    let form = manifest.canonical().unwrap();
                    let again = Manifest::parse(&form, Syntax::Json).unwrap();
                    prop_assert_eq!(again.canonical().unwrap(), form);
                    prop_assert_eq!(again.digest(), manifest.digest());
                }
                Err(diagnostics) => prop_assert!(!diagnostics.is_empty()),
            }
        }
    }

    /// A field more never makes arguments fit that did not fit, and a schema that names no other field
    /// takes none.
    #[test]
    fn no_field_gets_past_a_schema(name in "[\\PC]{0,6}", value in any::<i32>()) {
        let tool = toml(REFUND);
        let mut arguments = json!({"order": "A-1", "cents": 1});
        arguments[name.as_str()] = json!(value);
        let known = ["order", "cents", "ratio"].contains(&name.as_str());
        let arguments = Arguments::parse(arguments.to_string().as_bytes()).unwrap();
        prop_assert!(known || tool.check(&arguments).is_err());
    }
}

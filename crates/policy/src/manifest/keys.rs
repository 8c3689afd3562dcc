//! The keys of a manifest, as data.

use casemate_model::{MAX_LIMITS, SideEffect, Tier};

use super::{
    MAX_COST, Manifest,
    input::InputSchema,
    words::{ApprovalRule, Idempotency, Reads, Redaction, Returns},
};
use crate::{
    diagnostic::Fault,
    domain::DomainRule,
    key::{
        Absent, Form, Key, Kind, Subject, each, key, list, names, number, one_word, optional, put,
        text,
    },
    rules::{prose, token, tool, word},
    secrets::secret_in,
};

/// The longest description, in bytes.
const MAX_DESCRIPTION_BYTES: usize = 4 << 10;
/// How long a call may take when its manifest does not say.
const TIMEOUT_MS: u64 = 30_000;

impl Subject for Manifest {
    const KEYS: &'static [&'static [Key<Self>]] = &[KEYS];

    fn assume(&mut self, path: &'static str) {
        self.assumed.push(path);
    }
}

const KEYS: &[Key<Manifest>] = &[
    text(
        "name",
        Form::Free("name of letters, digits, `_`, `-` and `.`"),
        |manifest, text| tool(text).map(|name| manifest.name = name),
        Absent::Refused,
        "The tool, as profiles and calls name it.",
    ),
    text(
        "version",
        Form::Free("version"),
        |manifest, text| token(text).map(|version| manifest.version = version),
        Absent::Open("`0`"),
        "For people. What counts is the digest.",
    ),
    key(
        "description",
        Kind::Text {
            form: Form::Free("text"),
            max_bytes: MAX_DESCRIPTION_BYTES,
            set: |manifest, text| prose(text).map(|()| text.clone_into(&mut manifest.description)),
        },
        Absent::Open("empty"),
        "What it does. A model reads this, so it may hold no character that people do not see.",
    ),
    one_word!(
        "side_effect",
        SideEffect,
        side_effect,
        Absent::Riskier("`external_send`"),
        "What it does to the world.",
    ),
    text(
        "tier",
        Form::Words(|| names(Tier::ALL, Tier::as_str)),
        set_tier,
        Absent::Riskier("`code`"),
        "The least tier of a profile that may list it, least first. A tool of `read_only` does nothing but `read`.",
    ),
    list(
        "scopes",
        Form::Free("scope"),
        |manifest, entries| each(entries, token, &mut manifest.scopes),
        Absent::Riskier("one scope, called as the tool"),
        "Scopes that a caller needs for it, beside those of the profile. An empty list means that it needs none.",
    ),
    list(
        "destinations",
        Form::Free("lower-case host name, or `*.` and one"),
        |manifest, entries| each(entries, DomainRule::parse, &mut manifest.destinations),
        Absent::Riskier("none"),
        "Where it may connect to, if the profile allows it too.",
    ),
    text(
        "credential",
        Form::Free("handle of a credential"),
        set_credential,
        Absent::Open("none"),
        "The credential that is put into its requests outside of the sandbox: its name, never its value.",
    ),
    one_word!(
        "approval",
        ApprovalRule,
        approval,
        Absent::Riskier("`required`"),
        "Whether every call waits for a person, or as the profile says.",
    ),
    number(
        "timeout_ms",
        "milliseconds",
        (1, TIMEOUT_MS, MAX_LIMITS.wall_ms),
        |manifest, number| put(&mut manifest.timeout_ms, number),
        "A call ends after so long, or earlier if the profile's limits say so.",
    ),
    text(
        "idempotency",
        Form::Words(|| names(Idempotency::ALL, Idempotency::as_str)),
        set_idempotency,
        Absent::Riskier("`required`"),
        "Whether a call needs an idempotency key. `none` is for a tool that does nothing but `read`.",
    ),
    list(
        "redact",
        Form::Free("field"),
        |manifest, entries| {
            let mut fields = Vec::new();
            let faults = each(entries, token, &mut fields);
            manifest.redact = Redaction::Fields(fields);
            faults
        },
        Absent::Riskier("every field"),
        "Fields of arguments and results whose values are never shown, beside those of the profile.",
    ),
    optional("labels", "What flows in and out."),
    one_word!(
        "labels.reads",
        Reads,
        labels.reads,
        Absent::Riskier("`private`"),
        "Whether it sees data that not everybody may see.",
    ),
    one_word!(
        "labels.returns",
        Returns,
        labels.returns,
        Absent::Riskier("`untrusted`"),
        "Whether anybody but us may have written what it returns.",
    ),
    optional(
        "cost",
        "What a call costs at most, beside its time and output. It counts in budgets, whole, once the call has begun.",
    ),
    number(
        "cost.tokens",
        "tokens",
        (0, 0, MAX_COST),
        |manifest, number| put(&mut manifest.cost.tokens, number),
        "Tokens of models.",
    ),
    number(
        "cost.money_micros",
        "millionths",
        (0, 0, MAX_COST),
        |manifest, number| put(&mut manifest.cost.money_micros, number),
        "Money, in the one currency that a deployment counts in.",
    ),
    key(
        "input",
        Kind::Tree {
            form: "JSON Schema of an object",
            set: |manifest, node| match InputSchema::read(node) {
                Ok(input) => {
                    manifest.input = input;
                    Vec::new()
                }
                Err(faults) => faults,
            },
        },
        Absent::Open("no arguments"),
        "What its arguments must be: see [below](#arguments).",
    ),
];

/// A tool that changes something is not for a profile that may only look (R66).
fn set_tier(manifest: &mut Manifest, text: &str) -> Result<(), Fault> {
    let tier = word(text, Tier::ALL, Tier::as_str)?;
    let does = manifest.side_effect;
    if tier == Tier::ReadOnly && does != SideEffect::Read {
        return Err(Fault::new(
            format!("a tool of the tier `{tier}` cannot have the side effect `{does}`"),
            "write `side_effect = \"read\"`, or a tier above",
        ));
    }
    manifest.tier = tier;
    Ok(())
}

/// The name of a credential; whoever writes the credential itself is told before anybody copies the file.
fn set_credential(manifest: &mut Manifest, text: &str) -> Result<(), Fault> {
    if let Some(what) = secret_in(text.as_bytes()) {
        return Err(Fault::new(
            format!("this looks like {what}, not like the name of one"),
            "take the secret out of the file, revoke it, and write the name of its handle",
        ));
    }
    manifest.credential = Some(token(text)?);
    Ok(())
}

/// What changes something once may not do so twice (R67).
fn set_idempotency(manifest: &mut Manifest, text: &str) -> Result<(), Fault> {
    let idempotency = word(text, Idempotency::ALL, Idempotency::as_str)?;
    let does = manifest.side_effect;
    if idempotency == Idempotency::None && does != SideEffect::Read {
        return Err(Fault::new(
            format!("a tool with the side effect `{does}` needs an idempotency key"),
            "write `required`",
        ));
    }
    manifest.idempotency = idempotency;
    Ok(())
}

//! Shapes of what requests hold and answers say, for types of crates that know nothing of schemas.

use std::borrow::Cow;

use casemate_authority::{Position, SwitchKind};
use casemate_callers::Role;
use casemate_model::{ApprovalState, RunMode, Trigger};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// One of a closed set of words.
macro_rules! words {
    ($($name:ident of $of:ident),+ $(,)?) => {$(
        pub(crate) struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($of).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let words: Vec<_> = $of::ALL.iter().map(|word| word.as_str()).collect();
                json_schema!({ "type": "string", "enum": words })
            }
        }
    )+};
}

words! {
    RunModeWord of RunMode,
    TriggerWord of Trigger,
    ApprovalStateWord of ApprovalState,
    RoleWord of Role,
    SwitchKindWord of SwitchKind,
    PositionWord of Position,
}

/// A shape that is written down here.
macro_rules! shapes {
    ($($name:ident as $title:literal: $shape:tt)+) => {$(
        pub(crate) struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                $title.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($shape)
            }
        }
    )+};
}

shapes! {
    TextShape as "Text": {
        "description": "A string; bytes that are not UTF-8 in base64.",
        "oneOf": [
            { "type": "string" },
            {
                "type": "object",
                "properties": { "base64": { "type": "string", "contentEncoding": "base64" } },
                "required": ["base64"],
                "additionalProperties": false,
            },
        ],
    }
    SessionName as "SessionId": { "type": "string", "pattern": "^ses_[0-9a-f]{32}$" }
    ContextName as "ContextId": { "type": "string", "pattern": "^ctx_[0-9a-f]{32}$" }
    BoundsShape as "Bounds": {
        "description": "What is null is not restricted; an empty list leaves nothing.",
        "type": "object",
        "properties": {
            "tools": { "type": ["array", "null"], "items": { "type": "string" } },
            "agents": { "type": ["array", "null"], "items": { "type": "string" } },
            "threads": { "type": ["array", "null"], "items": { "type": "string" } },
        },
        "additionalProperties": false,
    }
    AssertionShape as "Assertion": {
        "description": "The members of WebAuthn's AuthenticationResponseJSON that count.",
        "type": "object",
        "properties": {
            "id": { "type": "string" },
            "type": { "const": "public-key" },
            "response": { "type": "object" },
        },
        "required": ["id", "type", "response"],
    }
}

/// The shapes of answers, by name. They may grow: a client passes over what it does not know.
pub(super) fn answers() -> impl Iterator<Item = (String, Value)> {
    let text = || json!({ "$ref": "#/components/schemas/Text" });
    let id =
        |prefix: &str| json!({ "type": "string", "pattern": format!("^{prefix}_[0-9a-f]{{32}}$") });
    let (string, number, flag) = (
        json!({ "type": "string" }),
        json!({ "type": "integer", "minimum": 0 }),
        json!({ "type": "boolean" }),
    );
    let maybe = |kind: &str| json!({ "type": [kind, "null"] });
    let list = |of: &Value| json!({ "type": "array", "items": of });
    let of = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let any = json!({ "type": "object" });
    let all = [
        (
            "Problem",
            vec![
                ("type", string.clone()),
                ("title", string.clone()),
                ("status", number.clone()),
                ("detail", string.clone()),
                ("code", string.clone()),
            ],
        ),
        (
            "Answer",
            vec![("decision", id("dec")), ("status", string.clone())],
        ),
        (
            "Accepted",
            vec![("decision", id("dec")), ("state", string.clone())],
        ),
        (
            "Call",
            vec![
                ("decision", id("dec")),
                ("agent", string.clone()),
                ("state", string.clone()),
                ("next", number.clone()),
                ("missed", number.clone()),
                ("answer", maybe("object")),
                ("problem", maybe("object")),
            ],
        ),
        (
            "Cancelled",
            vec![("decision", id("dec")), ("cancelled", flag.clone())],
        ),
        ("Approvals", vec![("approvals", list(&any))]),
        ("Approval", vec![]),
        (
            "Answered",
            vec![("decision", id("dec")), ("state", of("ApprovalState"))],
        ),
        (
            "Session",
            vec![
                ("session", id("ses")),
                ("state", json!({ "enum": ["alive", "gone"] })),
                ("created_at_ms", number.clone()),
                ("used_at_ms", number.clone()),
            ],
        ),
        ("Sessions", vec![("sessions", list(&of("Session")))]),
        (
            "Opened",
            vec![("session", id("ses")), ("new_session", flag.clone())],
        ),
        (
            "Context",
            vec![
                ("context", id("ctx")),
                ("session", id("ses")),
                ("language", json!({ "const": "python" })),
            ],
        ),
        ("Entries", vec![("entries", list(&any))]),
        (
            "Written",
            vec![
                ("path", text()),
                ("bytes", number.clone()),
                ("sha256", string.clone()),
            ],
        ),
        ("Pools", vec![("pools", list(&any))]),
        (
            "Load",
            vec![("running", number.clone()), ("waiting", number.clone())],
        ),
        (
            "Status",
            vec![
                ("version", string.clone()),
                ("ready", flag),
                ("missing", list(&string)),
                ("processes", list(&any)),
                ("sessions", number.clone()),
                ("waiting_approvals", number.clone()),
                ("calls", of("Load")),
                ("ledger", any.clone()),
                ("enforced", maybe("object")),
            ],
        ),
        (
            "ApiKey",
            vec![
                ("name", string.clone()),
                ("subject", string.clone()),
                ("tenant", string.clone()),
                ("scopes", list(&string)),
                ("roles", list(&of("Role"))),
                ("created_at_ms", number.clone()),
                ("expires_at_ms", number.clone()),
                ("revoked_at_ms", maybe("integer")),
            ],
        ),
        ("ApiKeys", vec![("api_keys", list(&of("ApiKey")))]),
        (
            "Envelope",
            vec![
                ("id", string.clone()),
                ("envelope", string.clone()),
                ("expires_at_ms", number),
            ],
        ),
        ("Switch", vec![("kind", of("SwitchKind")), ("name", string)]),
        ("Switches", vec![("switches", list(&of("Switch")))]),
        ("Message", vec![]),
    ];
    all.into_iter().map(|(name, members)| {
        let required: Vec<_> = members.iter().map(|(name, _)| *name).collect();
        let members: serde_json::Map<_, _> = members
            .iter()
            .map(|(name, shape)| ((*name).to_owned(), shape.clone()))
            .collect();
        let shape = json!({ "type": "object", "properties": members, "required": required });
        (name.to_owned(), shape)
    })
}

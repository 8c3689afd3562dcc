//! Shapes of what requests hold and answers say, for types of crates that know nothing of schemas.

use std::borrow::Cow;

use casemate_authority::{Position, SwitchKind};
use casemate_callers::Role;
use casemate_model::{ApprovalState, RunMode, Trigger};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

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
    RecordKindShape as "RecordKind": {
        "type": "string",
        "enum": ["allowed", "denied", "held", "outcome", "erased", "event"],
    }
    SessionName as "SessionId": { "type": "string", "pattern": "^ses_[0-9a-f]{32}$" }
    ContextName as "ContextId": { "type": "string", "pattern": "^ctx_[0-9a-f]{32}$" }
    AgentName as "Agent": { "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$" }
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
    OfPool as "OfPool": {
        "type": "object",
        "properties": {
            "api-version": {
                "type": "string",
                "enum": ["2024-02-02-preview", "2024-10-02-preview", "2025-02-02-preview", "2025-10-02-preview"],
            },
            "identifier": { "description": "The session: a thread.", "type": "string", "minLength": 4, "maxLength": 128 },
            "path": { "description": "A directory below /mnt/data.", "type": "string" },
            "recursive": { "type": "boolean" },
            "agent": { "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$" },
        },
        "required": ["api-version"],
    }
    OfResource as "OfResource": {
        "type": "object",
        "properties": {
            "resource": { "type": "string", "enum": ["https://dynamicsessions.io", "https://acasessions.io"] },
        },
        "required": ["resource"],
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
const ANSWERS: &str = include_str!("answers.json");

/// The shapes of answers, by name.
pub(super) fn answers() -> Map<String, Value> {
    // It is part of this build, and a test follows every reference into it.
    serde_json::from_str(ANSWERS).unwrap_or_default()
}

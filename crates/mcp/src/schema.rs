//! The schemas of what tools take and answer.

use std::sync::Arc;

use rmcp::model::JsonObject;
use serde_json::{Value, json};

use crate::{limits::MAX_WAIT_MS, plane::Conversation};

/// A schema of an object with these properties.
fn object(properties: Value, required: &[&str]) -> Arc<JsonObject> {
    let mut schema = JsonObject::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), properties);
    schema.insert("required".to_owned(), required.into());
    schema.insert("additionalProperties".to_owned(), false.into());
    Arc::new(schema)
}

/// The same, where each call names its session if it is one of several.
fn within(
    conversation: Conversation,
    needed: bool,
    mut properties: Value,
    required: &[&str],
) -> Arc<JsonObject> {
    if conversation != Conversation::Named {
        return object(properties, required);
    }
    let what = if needed {
        "The session, as open_session named it."
    } else {
        "The session, as open_session named it. Without one, nothing of this call is kept."
    };
    if let Some(properties) = properties.as_object_mut() {
        properties.insert(
            "session".to_owned(),
            json!({"type": "string", "description": what}),
        );
    }
    let mut required = required.to_vec();
    if needed {
        required.push("session");
    }
    object(properties, &required)
}

fn running(code: &Value) -> Value {
    json!({
        "code": code,
        "timeout_ms": {
            "type": "integer",
            "minimum": 1,
            "description": "Stop it after so many milliseconds. The profile has an upper limit."
        },
        "idempotency_key": {
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "description": "Run once under this name: the same call with it again gets the first result."
        },
    })
}

pub(crate) fn python(conversation: Conversation) -> Arc<JsonObject> {
    let code = json!({"type": "string", "description": "Python source. The value of its last expression is a result."});
    let mut properties = running(&code);
    if conversation != Conversation::Fresh
        && let Some(properties) = properties.as_object_mut()
    {
        let fresh = json!({
            "type": "boolean",
            "default": false,
            "description": "Run in an interpreter of its own, without the variables of earlier calls."
        });
        properties.insert("fresh".to_owned(), fresh);
    }
    within(conversation, false, properties, &["code"])
}

pub(crate) fn shell(conversation: Conversation) -> Arc<JsonObject> {
    let code = json!({"type": "string", "description": "A script for bash."});
    within(conversation, false, running(&code), &["code"])
}

const PATH: &str = "The path, seen from /workspace.";

pub(crate) fn read(conversation: Conversation) -> Arc<JsonObject> {
    let properties = json!({"path": {"type": "string", "minLength": 1, "description": PATH}});
    within(conversation, true, properties, &["path"])
}

pub(crate) fn write(conversation: Conversation) -> Arc<JsonObject> {
    let properties = json!({
        "path": {"type": "string", "minLength": 1, "description": PATH},
        "content": {"type": "string", "description": "What is to be in the file."},
        "encoding": {
            "type": "string",
            "enum": ["utf-8", "base64"],
            "default": "utf-8",
            "description": "How `content` is written."
        },
    });
    within(conversation, true, properties, &["path", "content"])
}

pub(crate) fn list(conversation: Conversation) -> Arc<JsonObject> {
    let properties = json!({
        "path": {"type": "string", "default": "", "description": "The directory, seen from /workspace."}
    });
    within(conversation, true, properties, &[])
}

pub(crate) fn result() -> Arc<JsonObject> {
    object(
        json!({
            "decision": {"type": "string", "description": "The call, as its answer named it: dec_…"},
            "wait_ms": {
                "type": "integer",
                "minimum": 0,
                "maximum": MAX_WAIT_MS,
                "default": 0,
                "description": "How long to wait for its end, in milliseconds."
            },
        }),
        &["decision"],
    )
}

pub(crate) fn open() -> Arc<JsonObject> {
    object(json!({}), &[])
}

/// What every refusal may say, beside what a tool answers.
fn answered(mut properties: Value) -> Arc<JsonObject> {
    if let Some(properties) = properties.as_object_mut() {
        for (name, what) in [
            ("decision", "What is on record of it: dec_…"),
            ("reason", "Why it was refused: a stable code."),
            ("detail", "What is the matter."),
            ("hint", "What can be done about it."),
        ] {
            properties.insert(
                name.to_owned(),
                json!({"type": "string", "description": what}),
            );
        }
        let status = json!({
            "type": "string",
            "description": "succeeded, failed, unknown, refused, cancelled, waiting_for_approval or running"
        });
        properties.insert("status".to_owned(), status);
    }
    object(properties, &["status"])
}

pub(crate) fn ran() -> Arc<JsonObject> {
    answered(json!({
        "cause": {"type": "string", "description": "Why it stopped."},
        "exit_code": {"type": "integer"},
        "signal": {"type": "integer"},
        "stdout": {"type": "string"},
        "stderr": {"type": "string"},
        "truncated": {"type": "boolean", "description": "Whether there was more output than this."},
        "results": {
            "type": "array",
            "items": {"type": "object"},
            "description": "What Python shows, as notebooks have it; images are content of the answer."
        },
        "session": {"type": "string"},
    }))
}

pub(crate) fn file() -> Arc<JsonObject> {
    answered(json!({
        "path": {"type": "string"},
        "bytes": {"type": "integer"},
        "content": {"type": "string"},
        "encoding": {"type": "string", "enum": ["utf-8", "base64"]},
    }))
}

pub(crate) fn written() -> Arc<JsonObject> {
    answered(json!({
        "path": {"type": "string"},
        "bytes": {"type": "integer"},
        "sha256": {"type": "string"},
    }))
}

pub(crate) fn listed() -> Arc<JsonObject> {
    answered(json!({
        "path": {"type": "string"},
        "entries": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {},
                    "kind": {"type": "string"},
                    "bytes": {"type": "integer"},
                    "modified_ms": {"type": "integer"},
                },
            },
        },
    }))
}

pub(crate) fn opened() -> Arc<JsonObject> {
    answered(json!({"session": {"type": "string"}}))
}

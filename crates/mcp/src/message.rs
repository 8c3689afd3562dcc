//! A message of a client, looked at before it is served.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use crate::limits::{MAX_MESSAGE_BYTES, MAX_NAME_BYTES};

/// Where a request says which revision it is written in, since 2026-07-28.
const VERSION: &str = "/params/_meta/io.modelcontextprotocol~1protocolVersion";

/// A message.
#[derive(Clone, Debug)]
pub struct Message {
    /// What it is for.
    pub kind: Kind,
    /// The id of a request, as JSON.
    pub id: Option<Value>,
    /// The method; empty for a response.
    pub method: String,
    /// What a request of a tool, prompt or resource names.
    pub name: Option<String>,
    /// The revision that it says it is written in.
    pub version: Option<String>,
    /// As it came.
    pub text: Bytes,
}

/// What a message is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client that begins.
    Initialize,
    /// A tool is called.
    Call,
    /// The request with this id, as JSON text, is not wanted any more.
    Cancel(String),
    /// Any other request.
    Request,
    /// Any other notification.
    Notification,
    /// An answer to something that nobody asks here.
    Response,
}

/// Why something is no message.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The code of JSON-RPC.
    pub code: i32,
    /// What is the matter.
    pub message: String,
    /// The id of the request, if it can be told.
    pub id: Value,
    /// What it is in HTTP.
    pub status: StatusCode,
}

impl Fault {
    /// A fault of a message of which nothing is known.
    #[must_use]
    pub fn new(status: StatusCode, code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            id: Value::Null,
            status,
        }
    }

    /// A message that is larger than it may be.
    #[must_use]
    pub fn too_large() -> Self {
        let message = format!("a message has at most {MAX_MESSAGE_BYTES} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, INVALID_REQUEST, message)
    }

    /// As JSON-RPC has it.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "jsonrpc": "2.0",
            "id": self.id,
            "error": { "code": self.code, "message": self.message },
        })
    }
}

const PARSE_ERROR: i32 = -32_700;
pub(crate) const INVALID_REQUEST: i32 = -32_600;
const INVALID_PARAMS: i32 = -32_602;

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(text: Bytes) -> Result<Self, Fault> {
        if text.len() > MAX_MESSAGE_BYTES {
            return Err(Fault::too_large());
        }
        let bad = |code, message: &str| Fault::new(StatusCode::BAD_REQUEST, code, message);
        let value: Value = serde_json::from_slice(&text)
            .map_err(|error| bad(PARSE_ERROR, &format!("this is not JSON: {error}")))?;
        if value.is_array() {
            return Err(bad(
                INVALID_REQUEST,
                "batches are not taken: send one message",
            ));
        }
        let id = value.get("id").cloned();
        let known = id.as_ref().is_none_or(is_id);
        let fault = |code, message: &str| Fault {
            id: id.clone().filter(is_id).unwrap_or(Value::Null),
            ..bad(code, message)
        };
        if value.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(fault(INVALID_REQUEST, "`jsonrpc` has to be \"2.0\""));
        }
        if !known {
            return Err(fault(
                INVALID_REQUEST,
                "`id` has to be an integer or a short text",
            ));
        }
        let text_at = |path: &str| value.pointer(path).and_then(Value::as_str);
        let Some(method) = text_at("/method") else {
            return match value.get("result").or(value.get("error")) {
                Some(_) if value.get("method").is_none() => Ok(Self {
                    kind: Kind::Response,
                    id,
                    method: String::new(),
                    name: None,
                    version: None,
                    text,
                }),
                _ => Err(fault(INVALID_REQUEST, "`method` has to be a text")),
            };
        };
        if method.is_empty() || method.len() > MAX_NAME_BYTES {
            return Err(fault(INVALID_REQUEST, "`method` has 1 to 255 bytes"));
        }
        if value
            .get("params")
            .is_some_and(|params| !params.is_object())
        {
            return Err(fault(INVALID_PARAMS, "`params` has to be an object"));
        }
        let kind = match (method, &id) {
            ("initialize", Some(_)) => Kind::Initialize,
            ("tools/call", Some(_)) => {
                check_call(&value).map_err(|message| fault(INVALID_PARAMS, message))?;
                Kind::Call
            }
            (_, Some(_)) => Kind::Request,
            ("notifications/cancelled", None) => {
                let unwanted = value.pointer("/params/requestId").filter(|id| is_id(id));
                unwanted.map_or(Kind::Notification, |id| Kind::Cancel(id.to_string()))
            }
            (_, None) => Kind::Notification,
        };
        let name = match method {
            "tools/call" | "prompts/get" => text_at("/params/name"),
            "resources/read" => text_at("/params/uri"),
            _ => None,
        };
        Ok(Self {
            kind,
            method: method.to_owned(),
            name: name.map(str::to_owned),
            version: text_at(VERSION).map(str::to_owned),
            id,
            text,
        })
    }
}

fn is_id(id: &Value) -> bool {
    match id {
        Value::String(text) => text.len() <= MAX_NAME_BYTES,
        Value::Number(number) => number.is_i64(),
        _ => false,
    }
}

fn check_call(value: &Value) -> Result<(), &'static str> {
    let at = |path: &str| value.pointer(path);
    let Some(name) = at("/params/name").and_then(Value::as_str) else {
        return Err("`name` has to be a text");
    };
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err("`name` has 1 to 255 bytes");
    }
    match at("/params/arguments") {
        None | Some(Value::Object(_)) => Ok(()),
        Some(_) => Err("`arguments` has to be an object"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Message, Fault> {
        Message::read(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn what_a_message_is_for_is_seen() {
        for (text, kind) in [
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#,
                Kind::Initialize,
            ),
            (
                r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"python"}}"#,
                Kind::Call,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
                Kind::Request,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
                Kind::Notification,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"initialize"}"#,
                Kind::Notification,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"7"}}"#,
                Kind::Cancel("\"7\"".to_owned()),
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#,
                Kind::Cancel("7".to_owned()),
            ),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, Kind::Response),
        ] {
            assert_eq!(read(text).unwrap().kind, kind, "{text}");
        }
    }

    #[test]
    fn what_is_no_message_says_so_with_its_id() {
        for (text, code, id) in [
            ("", PARSE_ERROR, Value::Null),
            ("{", PARSE_ERROR, Value::Null),
            ("\u{0}", PARSE_ERROR, Value::Null),
            ("[]", INVALID_REQUEST, Value::Null),
            (
                r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
                INVALID_REQUEST,
                Value::Null,
            ),
            ("1", INVALID_REQUEST, Value::Null),
            (r#"{"id":1,"method":"ping"}"#, INVALID_REQUEST, json!(1)),
            (
                r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
                INVALID_REQUEST,
                json!(1),
            ),
            (
                r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
                INVALID_REQUEST,
                Value::Null,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
                INVALID_REQUEST,
                Value::Null,
            ),
            (
                r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#,
                INVALID_REQUEST,
                Value::Null,
            ),
            (r#"{"jsonrpc":"2.0","id":2}"#, INVALID_REQUEST, json!(2)),
            (
                r#"{"jsonrpc":"2.0","id":2,"method":7,"result":{}}"#,
                INVALID_REQUEST,
                json!(2),
            ),
            (
                r#"{"jsonrpc":"2.0","id":2,"method":""}"#,
                INVALID_REQUEST,
                json!(2),
            ),
            (
                r#"{"jsonrpc":"2.0","id":2,"method":"ping","params":[]}"#,
                INVALID_PARAMS,
                json!(2),
            ),
            (
                r#"{"jsonrpc":"2.0","id":2,"method":"tools/call"}"#,
                INVALID_PARAMS,
                json!(2),
            ),
            (
                r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":1}}"#,
                INVALID_PARAMS,
                json!(2),
            ),
            (
                r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":""}}"#,
                INVALID_PARAMS,
                json!(2),
            ),
            (
                r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"python","arguments":"x"}}"#,
                INVALID_PARAMS,
                json!(2),
            ),
        ] {
            let fault = read(text).unwrap_err();
            assert_eq!((fault.code, &fault.id), (code, &id), "{text}: {fault:?}");
            assert_eq!(fault.status, StatusCode::BAD_REQUEST, "{text}");
            assert_eq!(fault.json()["error"]["code"], code);
        }
    }

    #[test]
    fn a_message_is_not_read_if_it_is_too_large() {
        let fault = Message::read(Bytes::from(vec![b' '; MAX_MESSAGE_BYTES + 1])).unwrap_err();
        assert_eq!(fault.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(fault.code, INVALID_REQUEST);
        // JSON that is too deep ends the reading, and nothing else.
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read(&deep).unwrap_err().code, PARSE_ERROR);
    }

    #[test]
    fn the_revision_and_the_name_are_seen() {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"shell",
            "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let message = read(text).unwrap();
        assert_eq!(message.version.as_deref(), Some("2026-07-28"));
        assert_eq!(message.name.as_deref(), Some("shell"));
    }
}

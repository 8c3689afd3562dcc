//! Whose something is, as a query says, and what was decided about it.

use axum::{
    http::{HeaderName, HeaderValue},
    response::{IntoResponse, Response},
};
use casemate_model::DecisionId;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::openapi::AgentName;

/// The header that names what is on record of what was done.
pub(crate) const DECISION: HeaderName = HeaderName::from_static("casemate-decision");

/// The longest name of an agent, in bytes.
const MAX_AGENT_BYTES: usize = 63;

/// The agent in whose name a request comes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct OfAgent {
    #[serde(default = "local", deserialize_with = "agent")]
    #[schemars(with = "AgentName")]
    pub(crate) agent: String,
}

/// The agent of whoever names none.
pub(crate) fn local() -> String {
    "local".to_owned()
}

/// The name of an agent. What is none has no keys, and nothing could be recorded of it.
pub(crate) fn agent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let begins = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_name = name.len() <= MAX_AGENT_BYTES
        && name.as_bytes().first().is_some_and(begins)
        && name
            .bytes()
            .all(|byte| begins(&byte) || matches!(byte, b'-' | b'_'));
    match is_name {
        true => Ok(name),
        false => Err(D::Error::custom(
            "the name of an agent has 1 to 63 of a-z, 0-9, `-` and `_`, and starts with a letter or a digit",
        )),
    }
}

/// An answer with the name under which what was done is recorded.
pub(crate) fn named(decision: DecisionId, answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    // An id is letters, digits and `_`.
    if let Ok(value) = HeaderValue::from_str(&decision.to_string()) {
        response.headers_mut().insert(DECISION, value);
    }
    response
}

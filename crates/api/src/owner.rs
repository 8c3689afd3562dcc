//! Whose something is, as a query says, and what was decided about it.

use axum::{
    http::{HeaderName, HeaderValue},
    response::{IntoResponse, Response},
};
use casemate_model::DecisionId;
use schemars::JsonSchema;
use serde::Deserialize;

/// The header that names what is on record of what was done.
const DECISION: HeaderName = HeaderName::from_static("casemate-decision");

/// The agent in whose name a request comes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct OfAgent {
    #[serde(default = "local")]
    pub(crate) agent: String,
}

/// The agent of whoever names none.
pub(crate) fn local() -> String {
    "local".to_owned()
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

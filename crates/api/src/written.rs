//! Problems as they are written, read back to be said in the words of another protocol, wherever they come from: the door, the router
//! and the gateway have one form.

use axum::{
    body::to_bytes,
    http::{StatusCode, header},
    response::Response,
};
use serde::Deserialize;

use crate::limits::MAX_PROBLEM_BYTES;

/// A problem, as it is written.
#[derive(Deserialize)]
pub(crate) struct Written {
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) detail: String,
    pub(crate) hint: Option<String>,
    pub(crate) decision: Option<String>,
}

impl Default for Written {
    /// A method that a path does not have.
    fn default() -> Self {
        Self {
            code: "no_such_path".to_owned(),
            detail: "there is nothing here for this method".to_owned(),
            hint: None,
            decision: None,
        }
    }
}

impl Written {
    /// What is wrong, and what to do.
    pub(crate) fn advice(&self) -> String {
        match &self.hint {
            Some(hint) if self.detail.is_empty() => hint.clone(),
            Some(hint) => format!("{}: {hint}", self.detail),
            None => self.detail.clone(),
        }
    }
}

/// Says a problem as `say` does; any other answer stays as it is. What a refusal says beside its body stays: which credential is wanted,
/// when to come again.
pub(crate) async fn reworded(
    response: Response,
    say: impl FnOnce(StatusCode, Written) -> Response,
) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_ours = kind.is_none_or(|kind| kind == "application/problem+json");
    if !is_ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let body = to_bytes(body, MAX_PROBLEM_BYTES).await.unwrap_or_default();
    let written = serde_json::from_slice(&body).unwrap_or_default();
    let (theirs, body) = say(status, written).into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.extend(theirs.headers);
    head.status = theirs.status;
    Response::from_parts(head, body)
}

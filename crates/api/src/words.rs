//! Problems in the words of protocols that have no door of their own, wherever they come from; and the record of what was done where
//! SDKs look for the name of a request.

use axum::{
    Json,
    body::to_bytes,
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{limits::MAX_PROBLEM_BYTES, owner::DECISION};

/// A protocol: where it is, and the form of its errors.
type Protocol = (&'static str, fn(StatusCode, &Written) -> Value);

const PROTOCOLS: [Protocol; 2] = [
    ("/openai/v1/", of_openai),
    ("/cloudflare/v1/", of_cloudflare),
];

/// Where SDKs look for what names a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Where they are told not to try again.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// A problem, as it is written.
#[derive(Deserialize)]
struct Written {
    code: String,
    #[serde(default)]
    detail: String,
    hint: Option<String>,
    decision: Option<String>,
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
    fn message(&self) -> String {
        let mut message = self.detail.clone();
        if let Some(hint) = &self.hint {
            message.push_str(&format!(": {hint}"));
        }
        if let Some(decision) = &self.decision {
            message.push_str(&format!(" ({decision})"));
        }
        message
    }
}

/// What kind of error a status is.
const fn kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

fn of_openai(status: StatusCode, written: &Written) -> Value {
    json!({ "error": {
        "message": written.message(),
        "type": kind(status),
        "param": null,
        "code": written.code,
        "decision": written.decision,
    }})
}

fn of_cloudflare(_: StatusCode, written: &Written) -> Value {
    json!({ "error": written.message(), "code": written.code })
}

/// Answers in their form what was refused in ours.
pub(crate) async fn in_their_words(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let protocol = PROTOCOLS
        .iter()
        .find(|(prefix, _)| path.starts_with(prefix));
    let Some((_, form)) = protocol else {
        return next.run(request).await;
    };
    let mut response = next.run(request).await;
    if let Some(decision) = response.headers().get(&DECISION).cloned() {
        response.headers_mut().insert(REQUEST_ID, decision);
    }
    let status = response.status();
    let kind_of_body = response.headers().get(header::CONTENT_TYPE);
    let is_ours = kind_of_body.is_none_or(|kind| kind == "application/problem+json");
    if !is_ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let body = to_bytes(body, MAX_PROBLEM_BYTES).await.unwrap_or_default();
    let written: Written = serde_json::from_slice(&body).unwrap_or_default();
    // What is gone is, to them, what is not there.
    let status = match status {
        StatusCode::GONE => StatusCode::NOT_FOUND,
        other => other,
    };
    let error = form(status, &written);
    let (theirs, body) = (status, Json(error)).into_response().into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    // What the refusal says beside its body stays: which credential is wanted, when to come again.
    head.headers.extend(theirs.headers);
    if let Some(decision) = written.decision.as_deref()
        && let Ok(decision) = HeaderValue::from_str(decision)
    {
        head.headers.insert(REQUEST_ID, decision);
    }
    // They would try again what no second try changes.
    if status == StatusCode::CONFLICT {
        head.headers
            .insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    head.status = status;
    Response::from_parts(head, body)
}

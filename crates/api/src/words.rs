//! Problems in the words of protocols that have no door of their own, wherever they come from; and the record of what was done where
//! SDKs look for the name of a request.

use axum::{
    Json,
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};

use crate::{
    owner::DECISION,
    written::{Written, reworded},
};

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

/// What is wrong, what to do, and under which name it is on record.
fn message(written: &Written) -> String {
    match &written.decision {
        Some(decision) => format!("{} ({decision})", written.advice()),
        None => written.advice(),
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
        "message": message(written),
        "type": kind(status),
        "param": null,
        "code": written.code,
        "decision": written.decision,
    }})
}

fn of_cloudflare(_: StatusCode, written: &Written) -> Value {
    json!({ "error": message(written), "code": written.code })
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
    reworded(response, |status, written| said(*form, status, &written)).await
}

fn said(
    form: fn(StatusCode, &Written) -> Value,
    status: StatusCode,
    written: &Written,
) -> Response {
    // What is gone is, to them, what is not there.
    let status = match status {
        StatusCode::GONE => StatusCode::NOT_FOUND,
        other => other,
    };
    let mut response = (status, Json(form(status, written))).into_response();
    let headers = response.headers_mut();
    if let Some(decision) = written.decision.as_deref()
        && let Ok(decision) = HeaderValue::from_str(decision)
    {
        headers.insert(REQUEST_ID, decision);
    }
    // They would try again what no second try changes.
    if status == StatusCode::CONFLICT {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    response
}

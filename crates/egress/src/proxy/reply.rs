//! What the client is answered.

use bytes::Bytes;
use casemate_model::DecisionId;
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt as _, Empty, Full, combinators::UnsyncBoxBody};

use super::websocket::Switch;
use crate::{Code, Denial};

/// A body on its way, in either direction.
pub(crate) type Body = UnsyncBoxBody<Bytes, BodyError>;

/// The body ended before its end.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body was cut off: {0}")]
pub(crate) struct BodyError(pub(crate) Code);

/// An answer to a request.
pub(crate) enum Reply {
    Response(Response<Body>),
    /// A WebSocket that the destination agreed to.
    Switch(Box<Switch>),
}

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn full(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// The answer to what was refused. Nothing of the request is in it.
pub(crate) fn refusal(denial: &Denial, decision: Option<DecisionId>) -> Response<Body> {
    let code = denial.code;
    let because = denial
        .because
        .map(|word| format!("\"because\":\"{word}\","));
    let decision = decision.map(|id| id.to_string()).unwrap_or_default();
    let text = format!(
        "{{\"error\":\"{code}\",{}\"hint\":\"{}\",\"decision\":\"{decision}\"}}\n",
        because.unwrap_or_default(),
        code.hint()
    );
    let mut response = Response::new(full(Bytes::from(text)));
    *response.status_mut() = denial.status.unwrap_or(code.status());
    let fields = response.headers_mut();
    fields.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    fields.insert("casemate-denied", HeaderValue::from_static(code.as_str()));
    response
}

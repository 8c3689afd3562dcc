//! Messages of Connect, out of requests and into answers.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use casemate_e2b::{
    Fault,
    connect::{self, Envelopes},
    limits::{ENVELOPE_HEAD_BYTES, MAX_MESSAGE_BYTES},
};
use http_body_util::{BodyExt as _, Limited};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;

use super::faults::Failure;
use crate::{
    body::Pieces,
    limits::{ANSWER_QUEUE, E2B_PING_S},
};

/// The one message of a request.
pub(super) async fn unary<T: DeserializeOwned>(request: Request) -> Result<T, Failure> {
    let (head, body) = request.into_parts();
    connect::check(&head.headers, connect::UNARY)?;
    Ok(connect::read(&collect(body, MAX_MESSAGE_BYTES).await?)?)
}

/// The one message of a request whose answer is a stream.
pub(super) async fn first<T: DeserializeOwned>(
    request: Request,
) -> Result<(HeaderMap, T), Failure> {
    let (head, body) = request.into_parts();
    connect::check(&head.headers, connect::STREAM)?;
    let bytes = collect(body, MAX_MESSAGE_BYTES + ENVELOPE_HEAD_BYTES).await?;
    let mut envelopes = Envelopes::default();
    envelopes.push(&bytes);
    let message = envelopes.next_message()?;
    let message = message.ok_or_else(|| Fault::invalid("the message is cut off"))?;
    envelopes.finish()?;
    Ok((head.headers, connect::read(&message)?))
}

/// A whole body, if it is not too large.
pub(super) async fn collect(body: Body, most: usize) -> Result<Vec<u8>, Failure> {
    match Limited::new(body, most).collect().await {
        Ok(body) => Ok(body.to_bytes().into()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("a message has at most {most} bytes");
            Err(Fault::new(casemate_e2b::Code::ResourceExhausted, message).into())
        }
        Err(_) => Err(Fault::invalid("the message is cut off").into()),
    }
}

/// An answer with one message.
pub(super) fn answer(message: &impl Serialize) -> Response {
    let body = serde_json::to_vec(message).unwrap_or_default();
    let kind = (
        header::CONTENT_TYPE,
        HeaderValue::from_static(connect::UNARY),
    );
    ([kind], body).into_response()
}

/// An answer of envelopes, and where they go.
pub(super) fn stream() -> (mpsc::Sender<Vec<u8>>, Response) {
    let (sender, receiver) = mpsc::channel(ANSWER_QUEUE);
    let kind = (
        header::CONTENT_TYPE,
        HeaderValue::from_static(connect::STREAM),
    );
    let body = Body::new(Pieces::endless(receiver));
    (sender, ([kind], body).into_response())
}

/// After how many seconds without an event a client wants to hear that there is none.
pub(super) fn ping_s(headers: &HeaderMap) -> u64 {
    let value = headers.get("keepalive-ping-interval");
    let asked = value.and_then(|value| value.to_str().ok()?.parse().ok());
    asked.unwrap_or(E2B_PING_S).clamp(1, 600)
}

//! One message, sent once.

use casemate_answers::SigningKey;
use ureq::Agent;

use crate::{Endpoint, Event};

/// Why a receiver does not have a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostError {
    /// It cannot be reached, or did not answer in time.
    #[error("it cannot be reached")]
    Send(#[source] Box<ureq::Error>),
    /// It answered something else than that it has it.
    #[error("it answered {0}; redirects are not followed")]
    Status(u16),
}

/// Sends a message, signed with the time of now.
pub(crate) fn post(
    agent: &Agent,
    endpoint: &Endpoint,
    event: &Event,
    now_ms: u64,
) -> Result<(), PostError> {
    let at_s = now_ms / 1_000;
    let Endpoint { url, key, .. } = endpoint;
    let signature = SigningKey::sign(key, &event.id, at_s, event.body.as_bytes());
    let sent = agent
        .post(url)
        .header("content-type", "application/json")
        .header("webhook-id", &event.id)
        .header("webhook-timestamp", at_s.to_string())
        .header("webhook-signature", signature)
        .send(event.body.as_bytes());
    // What it says beside its status is not read.
    let response = sent.map_err(|error| PostError::Send(Box::new(error)))?;
    match response.status().as_u16() {
        200..300 => Ok(()),
        status => Err(PostError::Status(status)),
    }
}

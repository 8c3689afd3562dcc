//! An answer to a call that waits, in any of the forms in which it can be signed.

use axum::{
    Json,
    body::{Bytes, to_bytes},
    extract::{FromRequest, Request},
    http::HeaderMap,
};
use casemate_gateway::{Assertion, SignedAnswer, WebhookMessage};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{limits::MAX_ANSWER_BYTES, openapi::AssertionShape, problem::Problem};

/// The headers of Standard Webhooks.
const HEADERS: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

/// A signed answer: a message of Standard Webhooks if its headers are there, and JSON otherwise.
pub(crate) struct Signed(pub(crate) SignedAnswer);

/// An answer in JSON.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SignedAnswer")]
pub(crate) struct Body {
    note: Option<String>,
    statement: Option<String>,
    #[schemars(with = "Option<AssertionShape>")]
    assertion: Option<Assertion>,
}

impl<S: Send + Sync> FromRequest<S> for Signed {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, MAX_ANSWER_BYTES).await;
        let body = body.map_err(|_| Problem::too_large(MAX_ANSWER_BYTES))?;
        if HEADERS.iter().any(|name| parts.headers.contains_key(*name)) {
            return Ok(Self(message(&parts.headers, &body)));
        }
        let request = Request::from_parts(parts, body.into());
        let Json(body) = Json::from_request(request, state).await?;
        match body {
            Body {
                note: Some(note),
                statement: None,
                assertion: None,
            } => Ok(Self(SignedAnswer::Note { note })),
            Body {
                note: None,
                statement: Some(statement),
                assertion: Some(assertion),
            } => Ok(Self(SignedAnswer::Passkey {
                statement,
                assertion,
            })),
            _ => Err(Problem::invalid(
                "an answer is `note`, or `statement` and `assertion`, or a message with the headers of Standard Webhooks",
            )),
        }
    }
}

/// The message as it came. Whether it is one is for whoever verifies it, so that one that is none is recorded too.
fn message(headers: &HeaderMap, body: &Bytes) -> SignedAnswer {
    // A header that is there twice becomes a value that no header has.
    let value = |name: &str| {
        let values = headers.get_all(name).iter();
        let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        values.collect::<Vec<_>>().join(" ")
    };
    let [id, timestamp, signature] = HEADERS.map(value);
    SignedAnswer::Webhook {
        webhook: WebhookMessage {
            id,
            timestamp,
            signature,
            // What is no text was not signed as this text.
            body: String::from_utf8_lossy(body).into_owned(),
        },
    }
}

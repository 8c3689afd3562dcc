//! Problems in the words of Azure's errors, wherever they come from: the door, the router and the gateway have one form.

use axum::{
    Json,
    body::{Body, to_bytes},
    extract::Request,
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use casemate_azure::{Fault, TokenFault};
use serde::Deserialize;

use crate::{limits::MAX_PROBLEM_BYTES, problem::Problem};

/// Where pools are.
pub(super) const POOLS: &str = "/pool/";
/// Where tokens are.
const TOKENS: &str = "/msi/";

/// A problem, as it is written.
#[derive(Deserialize)]
struct Written {
    code: String,
    #[serde(default)]
    detail: String,
    hint: Option<String>,
    decision: Option<String>,
}

impl Written {
    fn fault(self, status: StatusCode) -> Fault {
        let message = match &self.hint {
            Some(hint) if self.detail.is_empty() => hint.clone(),
            Some(hint) => format!("{}: {hint}", self.detail),
            None => self.detail,
        };
        Fault {
            record: self.decision,
            ..Fault::new(status, &self.code, message)
        }
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        let status = problem.status();
        let written = serde_json::to_value(&problem).and_then(serde_json::from_value::<Written>);
        match written {
            Ok(written) => written.fault(status),
            Err(error) => Self::new(status, "failed", error.to_string()),
        }
    }
}

/// Whether a path is of Azure's protocol.
fn is_theirs(path: &str) -> bool {
    path.starts_with(POOLS) || path.starts_with(TOKENS)
}

/// Answers in their form what was refused in ours.
pub(crate) async fn in_their_words(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if !is_theirs(path) {
        return next.run(request).await;
    }
    let of_token = path.starts_with(TOKENS);
    let response = next.run(request).await;
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_ours = kind.is_none_or(|kind| kind == "application/problem+json");
    if !is_ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let body = to_bytes(body, MAX_PROBLEM_BYTES).await.unwrap_or_default();
    let fault = match serde_json::from_slice::<Written>(&body) {
        Ok(written) => written.fault(status),
        // A method that a path does not have.
        Err(_) => Fault::new(
            status,
            "no_such_path",
            "there is nothing here for this method",
        ),
    };
    let (theirs, body) = match of_token {
        true => {
            let fault = TokenFault {
                status,
                code: fault.code,
                message: fault.message,
            };
            (status, Json(fault.json()).into_response())
        }
        false => (status, fault.reply().into_response().map(Body::new)),
    };
    let (body_head, body) = body.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    // What the refusal says beside its body stays: which credential is wanted, when to come again.
    head.headers.extend(body_head.headers);
    head.status = theirs;
    Response::from_parts(head, body)
}

//! Problems in the words of Azure's errors, wherever they come from: the door, the router and the gateway have one form.

use axum::{
    Json,
    body::Body,
    extract::Request,
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use casemate_azure::{Fault, TokenFault};

use crate::{
    problem::Problem,
    written::{Written, reworded},
};

/// Where pools are.
pub(super) const POOLS: &str = "/pool/";
/// Where tokens are.
const TOKENS: &str = "/msi/";

fn fault(status: StatusCode, written: Written) -> Fault {
    let message = written.advice();
    Fault {
        record: written.decision,
        ..Fault::new(status, &written.code, message)
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        let status = problem.status();
        let written = serde_json::to_value(&problem).and_then(serde_json::from_value::<Written>);
        match written {
            Ok(written) => fault(status, written),
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
    reworded(response, |status, written| {
        let fault = fault(status, written);
        if !of_token {
            return fault.reply().into_response().map(Body::new);
        }
        let fault = TokenFault {
            status,
            code: fault.code,
            message: fault.message,
        };
        (status, Json(fault.json())).into_response()
    })
    .await
}

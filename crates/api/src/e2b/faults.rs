//! Refusals and errors, in the form that E2B's clients take, wherever they come from.

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use casemate_e2b::{Code, Fault, connect};
use casemate_gateway::{SessionError, Stopped, Told};
use casemate_model::DecisionId;
use serde::Deserialize;

use crate::{limits::MAX_ANSWER_BYTES, problem::Problem};

/// The code of a call that a person has to approve.
const HELD: &str = "approval_required";

/// An error on its way to a client: [`render`] gives it the form of what was asked.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Fault);

/// The members of a problem that clients are told.
#[derive(Deserialize)]
struct Members {
    status: u16,
    detail: String,
    code: String,
    hint: Option<String>,
    decision: Option<String>,
}

impl Members {
    fn fault(self) -> Fault {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut message = format!("{} ({}", self.detail, self.code);
        if let Some(decision) = &self.decision {
            message.push_str(&format!(", decision {decision}"));
        }
        message.push(')');
        if let Some(hint) = &self.hint {
            message.push_str(&format!(": {hint}"));
        }
        Fault {
            slug: Some(self.code),
            ..Fault::rest(status, message)
        }
    }
}

impl From<Problem> for Failure {
    /// The words are the same.
    fn from(problem: Problem) -> Self {
        let told = serde_json::to_value(&problem).and_then(serde_json::from_value);
        Self(told.map_or_else(
            |_| Fault::new(Code::Internal, "the answer cannot be passed on"),
            Members::fault,
        ))
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        Problem::from(error).into()
    }
}

impl From<Stopped> for Failure {
    fn from(error: Stopped) -> Self {
        Problem::from(error).into()
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl Failure {
    /// Why a call gave nothing.
    pub(super) fn of_call(told: &Told) -> Self {
        let problem = Problem::of_call(told);
        problem.map_or_else(
            || Fault::new(Code::Internal, "the call has no answer").into(),
            Self::from,
        )
    }

    /// A person has to approve the call.
    pub(super) fn held(decision: DecisionId) -> Self {
        let message = format!(
            "a person has to approve this call: decision {decision}. When it is approved it runs by itself; `casemate approvals show {decision}` says how it stands"
        );
        Self(Fault {
            status: StatusCode::FORBIDDEN,
            slug: Some(HELD.to_owned()),
            ..Fault::new(Code::FailedPrecondition, message)
        })
    }

    /// The same, about a session that its client knows as a sandbox.
    pub(super) fn about(self, sandbox: &str) -> Self {
        match self.0.slug.as_deref() {
            Some("session_gone" | "session_unknown") => Fault::no_sandbox(sandbox).into(),
            _ => self,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        response.extensions_mut().insert(self.0);
        response
    }
}

/// The form in which a client takes errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An object with a number.
    Rest,
    /// An object with a word.
    Unary,
    /// The end of a stream.
    Stream,
}

impl Form {
    /// That of a request to this path, with these headers.
    pub(super) fn of(path: &str, headers: &HeaderMap) -> Self {
        let is_rpc =
            path.starts_with("/process.Process/") || path.starts_with("/filesystem.Filesystem/");
        let streams = headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/connect+"));
        match (is_rpc, streams) {
            (false, _) => Self::Rest,
            (true, false) => Self::Unary,
            (true, true) => Self::Stream,
        }
    }
}

/// Gives an answer that is an error the form in which its client takes it.
pub(super) async fn render(form: Form, response: Response) -> Response {
    let problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/problem+json");
    let (mut parts, body) = response.into_parts();
    let fault = match parts.extensions.remove::<Fault>() {
        Some(fault) => fault,
        None if problem => match to_bytes(body, MAX_ANSWER_BYTES).await {
            Ok(body) => serde_json::from_slice(&body)
                .map_or_else(|_| Fault::rest(parts.status, "refused"), Members::fault),
            Err(_) => Fault::rest(parts.status, "refused"),
        },
        None if parts.status == StatusCode::METHOD_NOT_ALLOWED => {
            Fault::rest(parts.status, "there is no such method here")
        }
        None => return Response::from_parts(parts, body),
    };
    let (status, kind, body) = match form {
        Form::Rest => (fault.status, connect::UNARY, fault.to_rest()),
        // Another answer would not be looked into.
        Form::Unary if fault.sandbox.is_some() => (fault.status, connect::UNARY, fault.to_rest()),
        Form::Unary => {
            let body = serde_json::to_vec(&fault.to_connect()).unwrap_or_default();
            (fault.code.status(), connect::UNARY, body)
        }
        Form::Stream => (StatusCode::OK, connect::STREAM, connect::end(Some(&fault))),
    };
    let mut rendered = (status, Body::from(body)).into_response();
    let headers = rendered.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(after) = parts.headers.remove(header::RETRY_AFTER) {
        headers.insert(header::RETRY_AFTER, after);
    }
    rendered
}

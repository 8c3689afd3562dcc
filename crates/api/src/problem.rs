//! Errors as problem details (RFC 9457).

use axum::{
    extract::rejection::{JsonRejection, PathRejection, QueryRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use casemate_callers::{Refusal, RefusalCode};
use casemate_gateway::{Answer, AnswerError, QuotaUse, RecordError, SessionError, Told};
use casemate_model::{Cause, ContextId, DecisionId, Reason, SessionId, one_line};
use casemate_ports::{FileFault, KeeperError};
use serde::Serialize;
use serde_json::Value;

use crate::limits::MAX_CALL_BYTES;

/// What went wrong, for the one who asked.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Problem(Box<Details>);

#[derive(Debug, Serialize)]
struct Details {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: String,
    /// The stable code.
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<DecisionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<ContextId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<QuotaUse>,
    /// Whether the client is to be told how it can prove who it is.
    #[serde(skip)]
    challenge: bool,
    /// Everything that is known about the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Value>,
}

impl Details {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:casemate:problem:{code}"),
            title: status.canonical_reason().unwrap_or("problem"),
            status: status.as_u16(),
            detail: detail.into(),
            code,
            hint: None,
            decision: None,
            session: None,
            context: None,
            path: None,
            quota: None,
            challenge: false,
            answer: None,
        }
    }

    fn of_reason(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            hint: Some(reason.hint()),
            ..Self::new(status(reason), reason.as_str(), detail)
        }
    }

    fn boxed(self) -> Problem {
        Problem(Box::new(self))
    }
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Details::new(status, code, detail).boxed()
    }

    /// A refusal.
    pub(crate) fn of_reason(reason: Reason, detail: impl Into<String>) -> Self {
        Details::of_reason(reason, detail).boxed()
    }

    /// A request that cannot be followed.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::of_reason(Reason::InvalidCall, detail)
    }

    /// A request that is larger than it may be.
    pub(crate) fn too_large(most: usize) -> Self {
        let detail = format!("a request has at most {most} bytes");
        Details {
            status: StatusCode::PAYLOAD_TOO_LARGE.as_u16(),
            ..Details::of_reason(Reason::InvalidCall, detail)
        }
        .boxed()
    }

    /// An answer to a call that waits, which does not count.
    pub(crate) fn of_answer(error: &AnswerError, decision: Option<DecisionId>) -> Self {
        let reason = error.reason();
        let details = match error {
            AnswerError::Unknown(_) => {
                Details::new(StatusCode::NOT_FOUND, "approval_unknown", error.to_string())
            }
            _ => Details::of_reason(reason, one_line(error)),
        };
        Details {
            decision,
            ..details
        }
        .boxed()
    }

    /// Somebody is not believed.
    pub(crate) fn of_refusal(refusal: &Refusal) -> Self {
        let (code, detail) = (refusal.code(), one_line(refusal));
        let status = match code {
            RefusalCode::KeysUnavailable
            | RefusalCode::Store
            | RefusalCode::Full
            | RefusalCode::Random
            | RefusalCode::Died => StatusCode::SERVICE_UNAVAILABLE,
            RefusalCode::Tenant | RefusalCode::NotPermitted | RefusalCode::Wider => {
                StatusCode::FORBIDDEN
            }
            _ => StatusCode::UNAUTHORIZED,
        };
        // What is wrong with files of ours is not for strangers.
        let detail = match status {
            StatusCode::SERVICE_UNAVAILABLE => refusal.to_string(),
            _ => detail,
        };
        Details {
            hint: Some(hint_of_refusal(code)),
            challenge: status == StatusCode::UNAUTHORIZED,
            ..Details::new(status, code.as_str(), detail)
        }
        .boxed()
    }

    /// Something that somebody who is believed wants of callers, and cannot have.
    pub(crate) fn of_operation(refusal: &Refusal) -> Self {
        let code = refusal.code();
        let status = match code {
            RefusalCode::UnknownKey => StatusCode::NOT_FOUND,
            RefusalCode::Quota => StatusCode::TOO_MANY_REQUESTS,
            RefusalCode::Store | RefusalCode::Random => StatusCode::SERVICE_UNAVAILABLE,
            RefusalCode::NotPermitted
            | RefusalCode::Wider
            | RefusalCode::TooDeep
            | RefusalCode::Revoked => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        };
        Details {
            hint: Some(hint_of_refusal(code)),
            ..Details::new(status, code.as_str(), refusal.to_string())
        }
        .boxed()
    }

    /// There is no such key or envelope that the caller could know of.
    pub(crate) fn no_caller(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "caller_unknown",
            format!("there is no such {what}"),
        )
    }

    /// Nobody is managed here.
    pub(crate) fn no_callers() -> Self {
        Details {
            hint: Some("start `casemate serve` with --callers"),
            ..Details::new(
                StatusCode::NOT_FOUND,
                "no_callers",
                "this gateway hears its own user only",
            )
        }
        .boxed()
    }

    /// Something is not on record, and was not done.
    pub(crate) fn of_record(error: &RecordError) -> Self {
        Details::of_reason(Reason::RecordUnavailable, one_line(error)).boxed()
    }

    /// There is no call of this name that the caller could know of.
    pub(crate) fn no_call(decision: DecisionId) -> Self {
        Details {
            decision: Some(decision),
            hint: Some(
                "look it up in the audit log: calls are known here while they run and a little longer",
            ),
            ..Details::new(
                StatusCode::NOT_FOUND,
                "call_unknown",
                format!("there is no call {decision}"),
            )
        }
        .boxed()
    }

    /// More is going on than we take.
    pub(crate) fn overloaded(most: usize) -> Self {
        let detail = format!("{most} calls have not ended, and there may not be more");
        Details::of_reason(Reason::Overloaded, detail).boxed()
    }

    /// Nothing has this path.
    pub(crate) fn no_such_path() -> Self {
        Details {
            hint: Some("docs/sessions.md lists the paths; a path in /workspace is encoded where it has to be"),
            ..Details::new(
                StatusCode::NOT_FOUND,
                "no_such_path",
                "there is nothing here",
            )
        }
        .boxed()
    }

    /// A call that ran, and whose program did not end by itself.
    pub(crate) fn of_end(cause: Cause, detail: &str, decision: DecisionId) -> Self {
        Details {
            decision: Some(decision),
            ..Details::new(StatusCode::OK, cause.as_str(), detail)
        }
        .boxed()
    }

    /// The status of HTTP.
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// We cannot go on.
    pub(crate) fn failed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", detail)
    }

    /// A call that gave no result, if it gave none.
    pub(crate) fn of_call(told: &Told) -> Option<Self> {
        let facts = match told {
            Told::Released(_) => return None,
            Told::Refused(refused) => refused.facts(),
            Told::Unrecorded(facts, _) => facts,
            Told::Held(_) | Told::Later(_) => return None,
            Told::Withdrawn(decision) => {
                return Some(
                    Details {
                        decision: Some(*decision),
                        ..Details::new(
                            StatusCode::CONFLICT,
                            "withdrawn",
                            "the call was taken back before it ran",
                        )
                    }
                    .boxed(),
                );
            }
        };
        let (answer, detail) = match told {
            Told::Refused(refused) => {
                let ruling = facts.ruling.as_ref();
                let detail = ruling.map_or_else(String::new, |ruling| ruling.detail.clone());
                (Answer::refused(refused), detail)
            }
            Told::Unrecorded(_, error) => {
                (Answer::unrecorded(facts, one_line(error)), one_line(error))
            }
            Told::Released(_) | Told::Withdrawn(_) | Told::Held(_) | Told::Later(_) => return None,
        };
        let reason = match told {
            Told::Refused(_) => facts.reason(),
            _ => Reason::RecordUnavailable,
        };
        let lodging = facts.lodging.unwrap_or_default();
        let details = Details {
            decision: Some(facts.decision),
            session: lodging.session,
            context: lodging.context,
            quota: facts.quota.clone(),
            answer: serde_json::to_value(answer).ok(),
            ..Details::of_reason(reason, detail)
        };
        Some(details.boxed())
    }
}

/// What somebody who is not believed can do about it.
const fn hint_of_refusal(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::Missing => {
            "send `Authorization: Bearer` with a token or an API key, `Authorization: Envelope` with a `Casemate-Proof`, or a client certificate"
        }
        RefusalCode::Several => "send one credential, once",
        RefusalCode::Expired | RefusalCode::Revoked => "get a new one",
        RefusalCode::NotYet | RefusalCode::Future | RefusalCode::StaleProof => {
            "set the clocks right, and make a new one"
        }
        RefusalCode::Replayed | RefusalCode::Proof => {
            "make a new proof for each request, of its method and its path with the query"
        }
        RefusalCode::Issuer
        | RefusalCode::Audience
        | RefusalCode::Algorithm
        | RefusalCode::NoRule => {
            "compare it with what the callers file names: `casemate callers check`"
        }
        RefusalCode::KeysUnavailable
        | RefusalCode::Store
        | RefusalCode::Full
        | RefusalCode::Random
        | RefusalCode::Died => {
            "try again later; the operator of the gateway finds out more in its log"
        }
        RefusalCode::Quota => {
            "wait until some of them have ended, or ask the operator of the gateway"
        }
        RefusalCode::NotPermitted | RefusalCode::Wider => {
            "ask for less, or ask somebody who has it"
        }
        _ => "docs/callers.md says what a credential must look like",
    }
}

const fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::Allowed => StatusCode::OK,
        Reason::InvalidCall | Reason::InvalidProfile | Reason::LimitExceeded => {
            StatusCode::BAD_REQUEST
        }
        Reason::UntrustedIssuer | Reason::ExpiredToken | Reason::WrongAudience => {
            StatusCode::UNAUTHORIZED
        }
        Reason::MissingIdempotencyKey
        | Reason::KillSwitch
        | Reason::TenantBoundary
        | Reason::MissingScope
        | Reason::EgressDenied
        | Reason::TierExceeded
        | Reason::InformationFlow
        | Reason::PolicyForbids
        | Reason::ScanFinding
        | Reason::SecretInEnvironment
        | Reason::ApprovalRequired
        | Reason::ApprovalInvalid
        | Reason::ApprovalDenied
        | Reason::ChangesRequested
        | Reason::ApprovalExpired => StatusCode::FORBIDDEN,
        Reason::IdempotencyConflict
        | Reason::CallInFlight
        | Reason::OutcomeUnknown
        | Reason::ApprovalCancelled
        | Reason::SessionPaused
        | Reason::SessionBusy
        | Reason::ContextMismatch => StatusCode::CONFLICT,
        Reason::SessionUnknown | Reason::ContextUnknown => StatusCode::NOT_FOUND,
        Reason::SessionGone => StatusCode::GONE,
        Reason::QuotaExceeded | Reason::BudgetExhausted | Reason::LoopDetected => {
            StatusCode::TOO_MANY_REQUESTS
        }
        Reason::Overloaded
        | Reason::IsolationUnavailable
        | Reason::PolicyError
        | Reason::GateClosed
        | Reason::RecordUnavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// What is wrong with a file, as status and code.
const fn of_file(fault: FileFault) -> (StatusCode, &'static str) {
    match fault {
        FileFault::BadPath => (StatusCode::BAD_REQUEST, "bad_path"),
        FileFault::NotFound => (StatusCode::NOT_FOUND, "file_not_found"),
        FileFault::IsDirectory => (StatusCode::CONFLICT, "is_directory"),
        FileFault::NotDirectory => (StatusCode::CONFLICT, "not_directory"),
        FileFault::NotRegular => (StatusCode::CONFLICT, "not_regular"),
        FileFault::Denied => (StatusCode::FORBIDDEN, "file_denied"),
        FileFault::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "file_too_large"),
        FileFault::NoSpace => (StatusCode::INSUFFICIENT_STORAGE, "no_space"),
        FileFault::NotEmpty => (StatusCode::CONFLICT, "not_empty"),
        FileFault::CutOff => (StatusCode::BAD_REQUEST, "cut_off"),
        FileFault::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "file_failed"),
    }
}

/// What the one who got it can do about it.
const fn hint_of_file(fault: FileFault) -> &'static str {
    match fault {
        FileFault::BadPath => {
            "name it by its path in /workspace, without `..`, empty parts and links that lead out"
        }
        FileFault::NotFound => "list the directory",
        FileFault::IsDirectory => "name a file in it, or list it",
        FileFault::NotDirectory => "name another path, or remove what is in its place",
        FileFault::NotRegular => "only regular files can be copied",
        FileFault::Denied => "change its permissions in a call, or name another path",
        FileFault::TooLarge => "write less, or raise sandbox.limits.max_file_bytes in the profile",
        FileFault::NoSpace => {
            "remove files of the session, or raise sandbox.limits.max_disk_bytes or max_disk_files in the profile"
        }
        FileFault::NotEmpty => "remove what is in it first",
        FileFault::CutOff => "send it again, whole",
        FileFault::Failed => "look at it in a call of the session",
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        let detail = one_line(&error);
        let (session, context, decision) = (error.session(), error.context(), error.decision());
        let mut problem = match &error {
            SessionError::File { path, fault, .. } => {
                let (status, code) = of_file(*fault);
                Details {
                    path: Some(path.to_string()),
                    hint: Some(hint_of_file(*fault)),
                    ..Details::new(status, code, detail)
                }
            }
            SessionError::OtherRoute { .. } => Details {
                hint: Some("name the route of the session, or another thread or session"),
                ..Details::of_reason(error.reason(), detail)
            },
            SessionError::NoImage(_) => Details {
                hint: Some(
                    "build it with `casemate image build`, or name another in sandbox.image",
                ),
                ..Details::of_reason(error.reason(), detail)
            },
            _ => Details::of_reason(error.reason(), detail),
        };
        problem.quota = match error {
            SessionError::Quota { quota, .. } => Some(quota),
            SessionError::TooManyContexts { session, limit } => Some(QuotaUse {
                quota: "contexts".to_owned(),
                of: format!("the session {session}"),
                limit,
                used: limit,
                retry_after_ms: None,
            }),
            SessionError::Keeper(KeeperError::Quota {
                quota,
                of,
                limit,
                used,
            }) => Some(QuotaUse {
                quota,
                of,
                limit,
                used,
                retry_after_ms: Some(casemate_gateway::RETRY_AFTER_MS),
            }),
            _ => None,
        };
        Details {
            session,
            context,
            decision,
            ..problem
        }
        .boxed()
    }
}

impl From<casemate_gateway::Stopped> for Problem {
    fn from(error: casemate_gateway::Stopped) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let status = rejection.status();
        if status == StatusCode::PAYLOAD_TOO_LARGE {
            return Self::too_large(MAX_CALL_BYTES);
        }
        Details {
            status: status.as_u16(),
            ..Details::of_reason(Reason::InvalidCall, rejection.body_text())
        }
        .boxed()
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::invalid(rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::invalid(rejection.body_text())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let retry_after_ms = self.0.quota.as_ref().and_then(|quota| quota.retry_after_ms);
        let overloaded = (self.0.code == Reason::Overloaded.as_str())
            .then_some(casemate_gateway::RETRY_AFTER_MS);
        // Nothing in it fails to become JSON.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        if self.0.challenge {
            let bearer = HeaderValue::from_static("Bearer realm=\"casemate\"");
            headers.insert(header::WWW_AUTHENTICATE, bearer);
        }
        if let Some(ms) = retry_after_ms.or(overloaded) {
            headers.insert(header::RETRY_AFTER, ms.div_ceil(1_000).into());
        }
        response
    }
}

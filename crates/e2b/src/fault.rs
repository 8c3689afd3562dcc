//! Errors, as E2B's clients take them.

use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

/// What went wrong, in the words of Connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The client went away.
    Canceled,
    /// The request is not one.
    InvalidArgument,
    /// It took too long.
    DeadlineExceeded,
    /// There is no such thing.
    NotFound,
    /// There is one already.
    AlreadyExists,
    /// Refused.
    PermissionDenied,
    /// A quota is used up.
    ResourceExhausted,
    /// Not as things stand.
    FailedPrecondition,
    /// Nobody does it here.
    Unimplemented,
    /// Something of ours broke.
    Internal,
    /// Not now.
    Unavailable,
    /// Nobody knows who asks.
    Unauthenticated,
}

impl Code {
    /// The word as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Canceled => "canceled",
            Self::InvalidArgument => "invalid_argument",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::PermissionDenied => "permission_denied",
            Self::ResourceExhausted => "resource_exhausted",
            Self::FailedPrecondition => "failed_precondition",
            Self::Unimplemented => "unimplemented",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::Unauthenticated => "unauthenticated",
        }
    }

    /// The status with which a unary call is answered.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Canceled | Self::DeadlineExceeded => StatusCode::REQUEST_TIMEOUT,
            Self::InvalidArgument | Self::FailedPrecondition => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::AlreadyExists => StatusCode::CONFLICT,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
        }
    }

    /// The nearest to a status.
    #[must_use]
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 | 410 | 502 => Self::NotFound,
            408 => Self::DeadlineExceeded,
            409 => Self::FailedPrecondition,
            413 | 429 | 507 => Self::ResourceExhausted,
            501 => Self::Unimplemented,
            503 => Self::Unavailable,
            500..=599 => Self::Internal,
            _ => Self::InvalidArgument,
        }
    }
}

/// An error. In the answer to a request of REST it is an object with a number, in one of Connect an object with a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The status of an answer of REST.
    pub status: StatusCode,
    /// The word of Connect.
    pub code: Code,
    /// For people, and for the SDKs that look for words in it.
    pub message: String,
    /// A stable word for it.
    pub slug: Option<String>,
    /// The sandbox that is not there.
    pub sandbox: Option<String>,
}

#[derive(Serialize)]
struct Rest<'a> {
    code: u16,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
    #[serde(rename = "sandboxId", skip_serializing_if = "Option::is_none")]
    sandbox: Option<&'a str>,
}

impl Fault {
    /// An error with this word.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            status: code.status(),
            code,
            message: message.into(),
            slug: None,
            sandbox: None,
        }
    }

    /// An error with this status.
    #[must_use]
    pub fn rest(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            ..Self::new(Code::of(status), message)
        }
    }

    /// The request is not one.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// The sandbox is gone: in the words by which SDKs know it.
    #[must_use]
    pub fn no_sandbox(id: &str) -> Self {
        Self {
            sandbox: Some(id.chars().take(64).collect()),
            code: Code::Unavailable,
            ..Self::rest(StatusCode::BAD_GATEWAY, "The sandbox was not found")
        }
    }

    /// Nothing listens on the port: in the words by which SDKs know it.
    #[must_use]
    pub fn port_closed(id: &str, port: u16) -> Self {
        Self {
            sandbox: Some(id.to_owned()),
            code: Code::Unavailable,
            ..Self::rest(
                StatusCode::BAD_GATEWAY,
                format!("The sandbox is running but port is not open: {port}"),
            )
        }
    }

    /// The object of REST.
    #[must_use]
    pub fn to_rest(&self) -> Vec<u8> {
        let rest = Rest {
            code: self.status.as_u16(),
            message: &self.message,
            error_code: self.slug.as_deref(),
            sandbox: self.sandbox.as_deref(),
        };
        serde_json::to_vec(&rest).unwrap_or_default()
    }

    /// The object of Connect.
    #[must_use]
    pub fn to_connect(&self) -> Value {
        json!({ "code": self.code.as_str(), "message": self.message })
    }
}

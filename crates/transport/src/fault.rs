//! Why a request was not answered as it was meant.

use casemate_ports::KeeperError;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::{frame::FrameError, inbox::InboxError};

/// Why a request was not answered as it was meant: the body of every answer that is not a success.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// The keeper's own answer.
    #[error(transparent)]
    Keeper(KeeperError),
    /// There is no such route.
    #[error("there is no route `{0}`")]
    Route(String),
    /// Every route is a POST.
    #[error("the method is {0}, not POST")]
    Method(String),
    /// The body is too large.
    #[error("the body is over the limit of {0} bytes")]
    TooLarge(usize),
    /// The body is not the JSON of the route.
    #[error("the body is not what the route takes: {0}")]
    Json(String),
    /// The body is not the frames of the route.
    #[error("the body is not the protocol: {0}")]
    Protocol(String),
    /// The body did not come in time.
    #[error("the body did not come in time")]
    TimedOut,
    /// The body ended too early.
    #[error("the body was cut off")]
    CutOff,
    /// Too many requests.
    #[error("the keeper answers {0} requests already")]
    Busy(usize),
    /// The keeper is about to end.
    #[error("the keeper is about to end")]
    Draining,
}

impl Fault {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Keeper(error) => match error {
                KeeperError::Spec(_) => StatusCode::BAD_REQUEST,
                KeeperError::NoSession(_) | KeeperError::NoContext { .. } => StatusCode::NOT_FOUND,
                KeeperError::SessionGone { .. } => StatusCode::GONE,
                KeeperError::Busy(_) => StatusCode::CONFLICT,
                KeeperError::Quota { .. } => StatusCode::TOO_MANY_REQUESTS,
                KeeperError::File { .. } => StatusCode::UNPROCESSABLE_ENTITY,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Self::Route(_) => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Json(_) | Self::Protocol(_) | Self::CutOff => StatusCode::BAD_REQUEST,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::Busy(_) | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What a caller of the port is told: what the keeper said, or why the keeper was not asked.
    pub(crate) fn into_keeper_error(self) -> KeeperError {
        match self {
            Self::Keeper(error) => error,
            Self::Draining => KeeperError::Unavailable("it is about to end".into()),
            refusal => KeeperError::Unavailable(format!("it refused the request: {refusal}")),
        }
    }
}

impl From<KeeperError> for Fault {
    fn from(error: KeeperError) -> Self {
        Self::Keeper(error)
    }
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<InboxError> for Fault {
    fn from(error: InboxError) -> Self {
        match error {
            InboxError::Frame(error) => error.into(),
            InboxError::Body(_) => Self::CutOff,
        }
    }
}

//! Where a call is, and which quota stood in its way.

use casemate_model::{ContextId, SessionId};
use serde::Serialize;

/// The session of a call, or the one that it was meant for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lodging {
    /// Which session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Whether it was opened for this call, and so has no files of earlier ones.
    pub new_session: bool,
    /// The session that its files were copied into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<SessionId>,
    /// Which stateful interpreter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextId>,
    /// Whether that was started for this call, and so has no variables of earlier ones.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub new_context: bool,
}

/// A quota that refused a call or cut its output (R65, R159).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QuotaUse {
    /// Which, such as `queued`.
    pub quota: String,
    /// Whose: a session's, an agent's, a tenant's or the host's, with its name.
    pub of: String,
    /// How much there is.
    pub limit: u64,
    /// How much is in use.
    pub used: u64,
    /// When it may be worth another try, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

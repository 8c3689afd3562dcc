//! Names and secrets that nobody can guess.

use std::time::{SystemTime, UNIX_EPOCH};

use casemate_model::{ContextId, DecisionId, SandboxId, SessionId};
use rustix::rand::{GetRandomFlags, getrandom};

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // It fails for a bad pointer or before the machine has booted; a name of zeros is still a name.
    let _ = getrandom(&mut bytes, GetRandomFlags::empty());
    bytes
}

/// 128 random bits in hex digits.
pub(super) fn text() -> String {
    format!("{:032x}", u128::from_ne_bytes(bytes()))
}

/// The id of a new sandbox.
pub(super) fn sandbox_id() -> SandboxId {
    SandboxId::new(now_ms(), bytes())
}

/// The id of a new decision.
pub(super) fn decision_id() -> DecisionId {
    DecisionId::new(now_ms(), bytes())
}

/// The id of a new session.
pub(super) fn session_id() -> SessionId {
    SessionId::new(now_ms(), bytes())
}

/// The id of a new context.
pub(super) fn context_id() -> ContextId {
    ContextId::new(now_ms(), bytes())
}

fn now_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

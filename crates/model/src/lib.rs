//! Words, ids and wire types that every part of Casemate shares.
//!
//! Invariants:
//! - A [`Call`] has one canonical form ([`Call::canonical`], RFC 8785) and its hash binds everything
//!   that decides what will run.
//! - [`Reason`] is a closed set: a refusal is never built from free text.
//! - [`Text`] carries any bytes losslessly, so that a file name cannot be changed on its way.
//!
//! Deliberately absent: I/O, clocks, randomness. Everything here is a value.

mod call;
mod capability;
mod delegation;
mod digest;
mod headers;
mod hidden;
mod ids;
mod isolation;
mod limits;
mod one_line;
mod outcome;
mod path;
mod query;
mod reason;
mod sealed;
mod strict;
mod text;
mod violation;
mod words;

pub use self::{
    call::{Call, CellForm, InputDigest, Program, Within},
    capability::Capability,
    delegation::{Authenticator, Bounds, Delegator},
    digest::{Digest, Hasher, ParseDigestError},
    headers::{is_credential, is_header, overrides_method},
    hidden::{HIDDEN, is_hidden},
    ids::{ContextId, DecisionId, Entropy, ParseIdError, SandboxId, SessionId},
    isolation::{Control, ControlName, Isolation, Strength},
    limits::{Limits, MAX_LIMITS},
    one_line::one_line,
    outcome::{Artefact, Cause, DeniedAttempt, Exit, Outcome, OutcomeStatus, Stream, Usage},
    path::{AmbiguousPath, check_path, has_escaped_slash, without_escaped_slashes},
    query::query_names,
    reason::Reason,
    sealed::Sealed,
    strict::{JsonBounds, JsonFault, strict_json},
    text::Text,
    violation::{Response, Responses, Violation, ViolationKind},
    words::{
        ApprovalState, DestinationClass, IsolationTier, Reach, RiskClass, RunMode, SideEffect,
        Tier, Trigger,
    },
};

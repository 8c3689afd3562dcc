//! Approvals: what people say about calls that wait for them, and what that comes to.
//!
//! Pure: who signed what is an [`Approvers`]' word, and where it is kept is the store's.

mod kept;
mod statement;
mod tally;

use std::{collections::BTreeSet, fmt};

use casemate_answers::SignedAnswer;
use casemate_policy::{Authenticator, Claims, Token, Verified};

pub(crate) use self::{
    kept::{Kept, Originals, ToKeep},
    tally::{Question, cast},
};
pub use self::{
    statement::{MAX_MEMBERS, Member, Statement, StatementError, Vote},
    tally::{BREAK_GLASS, CastVote, VoteError},
};

/// A person, or a service, who may approve calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approver {
    /// Who, as callers are named.
    pub user: String,
    /// What for, if it is by this key.
    pub roles: BTreeSet<String>,
    /// By which key, in its public form.
    pub key: String,
}

/// Why nobody opened an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenAnswerError {
    /// It does not count: one line for people.
    #[error("{0}")]
    NotCounted(String),
    /// Nobody can tell now whether it counts, which is not its fault: one line for people.
    #[error("{0}")]
    Unavailable(String),
}

/// Knows who may approve calls, and their signatures.
pub trait Approvers: fmt::Debug + Send + Sync {
    /// What was signed, in whatever form, and by whom of those who may approve now. May wait for a lock.
    ///
    /// # Errors
    /// When the answer does not count, or nobody can tell.
    fn open(
        &self,
        answer: &SignedAnswer,
        now_ms: u64,
    ) -> Result<(String, Approver), OpenAnswerError>;

    /// Everybody who may approve now.
    ///
    /// # Errors
    /// One line for people, when nobody can tell; then nothing counts.
    fn all(&self) -> Result<Vec<Approver>, String>;
}

/// Looks again at callers whose calls had to wait.
pub trait Renewal: fmt::Debug + Send + Sync {
    /// Until when the claims of a call can be renewed at all, in milliseconds since 1970: it is not waited for longer.
    fn until_ms(&self, token: &Token, by: Authenticator) -> u64;

    /// The claims as they are now, if the caller may still call. They may be less than they were, never more.
    ///
    /// # Errors
    /// When the caller may not, or nobody can tell.
    fn renew(&self, token: &Token, by: Authenticator) -> Result<Verified<Claims>, NotRenewed>;
}

/// Why the claims of a caller are not renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRenewed {
    /// What proved the caller does so no more, for good.
    #[error("whoever asked for the call may not call any more")]
    Gone,
    /// What would say so cannot be had now: it is asked again later.
    #[error("it cannot be told whether whoever asked for the call may still call")]
    CannotTell,
}

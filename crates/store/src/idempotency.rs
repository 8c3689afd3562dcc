//! Idempotency keys: a call runs once under its key, and a repeat gets the first result.

use std::{fmt, future::Future, sync::Arc};

use casemate_model::{DecisionId, Digest, Sealed};

use crate::StoreError;

/// The longest tenant, tool or idempotency key, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// A call that wants to run under an idempotency key.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The tenant; keys of different tenants are different keys.
    pub tenant: &'a str,
    /// The tool; keys of different tools are different keys.
    pub tool: &'a str,
    /// The key that the caller chose. It is stored in the clear.
    pub key: &'a str,
    /// The digest of the canonical call.
    pub action: Digest,
    /// The decision that this claim is for.
    pub decision: DecisionId,
    /// When it is made, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Who holds the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// This claim, and it did not before: the call may run.
    New,
    /// An earlier claim for the same call, which has ended.
    Finished {
        /// The earlier decision.
        decision: DecisionId,
        /// Its result; absent when it cannot be replayed.
        result: Option<Sealed>,
    },
    /// A claim for the same call, which has not ended as far as anybody said.
    InFlight {
        /// The earlier decision.
        decision: DecisionId,
    },
    /// A claim for the same call, of which nobody knows how it ended.
    Unknown {
        /// The earlier decision.
        decision: DecisionId,
    },
    /// A claim for another call.
    Conflict {
        /// The earlier decision.
        decision: DecisionId,
    },
}

/// How far a claim has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The call may be running.
    Running,
    /// The call has ended.
    Finished,
    /// Nobody knows how the call ended.
    Unknown,
}

impl State {
    /// The word as it is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Unknown => "unknown",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Running, Self::Finished, Self::Unknown]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Keeps claims. What it has answered is durable.
///
/// A future that is dropped may or may not have had its effect, as a process that is killed.
pub trait Idempotency {
    /// Claims a key. Of any number of claims for one key at one time exactly one is [`Claimed::New`].
    ///
    /// # Errors
    /// [`StoreError::Name`] when a part of the key cannot be stored, [`StoreError::DecisionReused`] when
    /// the decision has claimed another key, and when the store fails: then nothing may run.
    fn claim(&self, claim: &Claim<'_>) -> impl Future<Output = Result<Claimed, StoreError>> + Send;

    /// Ends a running claim with its result; without one when the result cannot be replayed.
    ///
    /// # Errors
    /// [`StoreError::NoClaim`] or [`StoreError::ClaimEnded`] when the decision has no running claim.
    fn finish(
        &self,
        decision: DecisionId,
        result: Option<&Sealed>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Ends a running claim of which nobody knows whether its call ran.
    ///
    /// # Errors
    /// As [`Idempotency::finish`].
    fn mark_unknown(
        &self,
        decision: DecisionId,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Gives back the key of a running claim whose call was refused before anything ran.
    ///
    /// # Errors
    /// As [`Idempotency::finish`].
    fn release(&self, decision: DecisionId) -> impl Future<Output = Result<(), StoreError>> + Send;
}

impl<T: Idempotency + Send + Sync> Idempotency for Arc<T> {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        T::claim(self, claim).await
    }

    async fn finish(
        &self,
        decision: DecisionId,
        result: Option<&Sealed>,
    ) -> Result<(), StoreError> {
        T::finish(self, decision, result).await
    }

    async fn mark_unknown(&self, decision: DecisionId) -> Result<(), StoreError> {
        T::mark_unknown(self, decision).await
    }

    async fn release(&self, decision: DecisionId) -> Result<(), StoreError> {
        T::release(self, decision).await
    }
}

impl Claim<'_> {
    /// Refuses what no driver should have to store.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let parts = [
            ("the tenant", self.tenant),
            ("the tool", self.tool),
            ("the idempotency key", self.key),
        ];
        for (what, part) in parts {
            let bytes = part.len();
            if bytes == 0 || bytes > MAX_NAME_BYTES || part.chars().any(char::is_control) {
                return Err(StoreError::Name { what, bytes });
            }
        }
        Ok(())
    }
}

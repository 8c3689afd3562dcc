//! A call that may run, once that is on disk.

use std::fmt;

use casemate_ledger::Kind;
use casemate_model::{Digest, Reason, one_line};
use casemate_store::Idempotency as _;

use crate::{
    Denied, Facts, Journal, Recorded, Refused, Released, Stores,
    claim::{Standing, claim},
    leased::Token,
    open::OpenCall,
    stored::replay,
};

/// A call that was allowed. It does not run before that is on disk.
///
/// Skipping the record does not compile:
///
/// ```compile_fail,E0599
/// use casemate_gateway::Allowed;
/// use casemate_ports::{CallIo, Sandbox};
///
/// async fn skip<S: Sandbox>(call: Allowed<S>, io: CallIo) {
///     call.run(io).await;
/// }
/// ```
///
/// Nor does making one by hand:
///
/// ```compile_fail,E0451
/// fn forge<S>(mine: casemate_gateway::Allowed<S>, sandbox: S) -> casemate_gateway::Allowed<S> {
///     casemate_gateway::Allowed { sandbox, ..mine }
/// }
/// ```
pub struct Allowed<S> {
    facts: Box<Facts>,
    action: Digest,
    sandbox: S,
}

/// What came of recording an allowed call.
#[derive(Debug)]
pub enum Recording<'j, S, I> {
    /// It is on disk, and may run.
    Recorded(Recorded<'j, S, I>),
    /// It ran before under the same idempotency key; this is its stored result.
    Replayed(Released),
    /// It may not run.
    Refused(Refused),
}

impl<S> Allowed<S> {
    pub(crate) const fn new(facts: Box<Facts>, action: Digest, sandbox: S) -> Self {
        Self {
            facts,
            action,
            sandbox,
        }
    }

    /// What is known of the call.
    pub(crate) const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Takes it back, before anything is recorded of it.
    pub(crate) fn refuse(self, reason: Reason, detail: impl Into<String>) -> Denied {
        Denied::new(self.facts, reason, detail)
    }

    /// Claims the call's idempotency key, if it has one, and writes the decision to disk. Blocks for one
    /// flush of the disk.
    pub async fn record<'j, P: Stores>(
        self,
        journal: &'j Journal,
        stores: &P,
    ) -> Recording<'j, S, P::Store> {
        let store = match claim(&self.facts, self.action, journal, stores).await {
            Standing::Free => None,
            Standing::Claimed(store) => Some(store),
            Standing::Done(stored) => {
                return match replay(self.facts, stored, journal) {
                    Ok(released) => Recording::Replayed(released),
                    Err(refused) => Recording::Refused(refused),
                };
            }
            Standing::Denied(reason, detail) => {
                let denied = Denied::new(self.facts, reason, detail);
                return Recording::Refused(denied.record(journal));
            }
        };
        let recorded = Token::new(journal).and_then(|token| {
            let receipt = journal.decided(&self.facts, Kind::Allowed, Some(token.digest()))?;
            Ok((token, receipt))
        });
        match recorded {
            Ok((token, receipt)) => {
                let open = OpenCall::new(journal, self.facts, receipt);
                Recording::Recorded(Recorded::new(open, token, self.sandbox, store))
            }
            Err(error) => {
                if let Some(store) = store {
                    // Nothing ran. If the key is not given back, its next claim finds nobody behind it.
                    drop(store.release(self.facts.decision).await);
                }
                Recording::Refused(Refused::unrecorded(self.facts, one_line(&error)))
            }
        }
    }
}

impl<S> fmt::Debug for Allowed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Allowed").field(&self.facts).finish()
    }
}

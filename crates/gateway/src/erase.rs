//! Erasing what is known of an agent's calls, without touching the log that proves them.

use casemate_ledger::{Entry, Kind, Receipt};
use casemate_model::{DecisionId, Entropy as IdEntropy};
use casemate_policy::{Claims, Verified};
use casemate_store::StoreError;
use serde::Serialize;

use crate::{Journal, RecordError, entry};

/// An erasure, recorded.
#[derive(Debug)]
pub struct Erased {
    /// Its name in the log.
    pub decision: DecisionId,
    /// The keys that were destroyed.
    pub keys: Vec<String>,
    /// Where it is recorded.
    pub receipt: Receipt,
}

/// How much of an agent is destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Erases {
    /// The content of its records and stored results.
    Content,
    /// Whatever there is of it.
    Everything,
}

/// Why an erasure is not complete, or not recorded.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// It was not begun, because that cannot be recorded.
    #[error("nothing was erased: it cannot be recorded")]
    Begin(#[source] RecordError),
    /// Some keys may be left.
    #[error("not every key of `{agent}` is destroyed: run it again")]
    Keys {
        /// The agent.
        agent: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The keys are destroyed, and some files may be left.
    #[error("the keys of `{agent}` are destroyed, and not all of its files are gone: run it again")]
    Files {
        /// The agent.
        agent: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The keys are destroyed, and the log only says that it was begun.
    #[error("the keys are destroyed, but that cannot be recorded")]
    Finish(#[source] RecordError),
}

impl Journal {
    /// Destroys every key of `agent`, and with them the content of its records and its stored results. The
    /// log says that it begins, and then that it is done.
    ///
    /// # Errors
    /// When it cannot be recorded, or a key not destroyed.
    pub fn erase(&self, agent: &str, claims: &Verified<Claims>) -> Result<Erased, EraseError> {
        self.erase_with(Erases::Content, agent, claims, || Ok(()))
    }

    /// Destroys every key of `agent` and then everything that `remove` removes, which is the rest of it. The log says that it begins,
    /// and then that it is done.
    ///
    /// # Errors
    /// When it cannot be recorded, a key not destroyed, or something not removed.
    pub fn delete(
        &self,
        agent: &str,
        claims: &Verified<Claims>,
        remove: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<Erased, EraseError> {
        self.erase_with(Erases::Everything, agent, claims, remove)
    }

    fn erase_with(
        &self,
        erases: Erases,
        agent: &str,
        claims: &Verified<Claims>,
        remove: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<Erased, EraseError> {
        let decision = self.name().map_err(EraseError::Begin)?;
        self.erasure(decision, agent, claims, (erases, None))
            .map_err(EraseError::Begin)?;
        let keys = self.keys.erase(agent).map_err(|source| EraseError::Keys {
            agent: agent.to_owned(),
            source,
        })?;
        remove().map_err(|source| EraseError::Files {
            agent: agent.to_owned(),
            source,
        })?;
        let receipt = self
            .erasure(decision, agent, claims, (erases, Some(&keys)))
            .map_err(EraseError::Finish)?;
        Ok(Erased {
            decision,
            keys,
            receipt,
        })
    }

    pub(crate) fn name(&self) -> Result<DecisionId, RecordError> {
        let mut random = IdEntropy::default();
        self.fill(&mut random)?;
        Ok(DecisionId::new(self.clock.now_ms(), random))
    }

    fn erasure(
        &self,
        decision: DecisionId,
        agent: &str,
        claims: &Verified<Claims>,
        (erases, destroyed): (Erases, Option<&[String]>),
    ) -> Result<Receipt, RecordError> {
        let claims = claims.get();
        let summary =
            entry::erasure(&claims.subject, erases, destroyed).map_err(RecordError::Encode)?;
        self.write(Entry {
            at_ms: self.clock.now_ms(),
            decision,
            kind: Kind::Erased,
            agent: agent.to_owned(),
            tenant: claims.tenant.clone(),
            summary,
            payload: None,
        })
    }
}

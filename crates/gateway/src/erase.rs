//! Erasing what is known of an agent's calls, without touching the log that proves them.

use casemate_ledger::{Entry, Kind, Receipt};
use casemate_model::{DecisionId, Entropy as IdEntropy};
use casemate_policy::{Claims, Verified};
use casemate_store::StoreError;

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
        let decision = self.name().map_err(EraseError::Begin)?;
        self.erasure(decision, agent, claims, None)
            .map_err(EraseError::Begin)?;
        let keys = self.keys.erase(agent).map_err(|source| EraseError::Keys {
            agent: agent.to_owned(),
            source,
        })?;
        let receipt = self
            .erasure(decision, agent, claims, Some(&keys))
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
        destroyed: Option<&[String]>,
    ) -> Result<Receipt, RecordError> {
        let claims = claims.get();
        let summary = entry::erasure(&claims.subject, destroyed).map_err(RecordError::Encode)?;
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

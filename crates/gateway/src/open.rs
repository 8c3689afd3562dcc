//! A decision that is on disk and has no outcome yet.

use casemate_ledger::Receipt;
use casemate_model::{DecisionId, Outcome};

use crate::{Facts, Journal, RecordError, entry::Observed};

/// A recorded call without an outcome. It is closed with its outcome; if it is dropped instead, it closes
/// itself as unknown, and if even that fails, the next start does it.
pub(crate) struct OpenCall<'j> {
    pub(crate) journal: &'j Journal,
    pub(crate) facts: Box<Facts>,
    pub(crate) receipt: Receipt,
    guard: Guard<'j>,
}

impl<'j> OpenCall<'j> {
    pub(crate) fn new(journal: &'j Journal, facts: Box<Facts>, receipt: Receipt) -> Self {
        let guard = Guard::new(journal, facts.decision, &facts.ask.agent, facts.tenant());
        Self {
            journal,
            facts,
            receipt,
            guard,
        }
    }

    /// Records what became of the call.
    pub(crate) fn close(
        &mut self,
        outcome: &Outcome,
        observed: &Observed,
    ) -> Result<Receipt, RecordError> {
        let receipt = self.journal.ended(&self.facts, outcome, observed)?;
        self.guard.disarm();
        Ok(receipt)
    }
}

/// Closes a decision as unknown when it is dropped, unless it was disarmed.
pub(crate) struct Guard<'j> {
    journal: Option<&'j Journal>,
    decision: DecisionId,
    agent: String,
    tenant: String,
}

impl<'j> Guard<'j> {
    pub(crate) fn new(
        journal: &'j Journal,
        decision: DecisionId,
        agent: &str,
        tenant: &str,
    ) -> Self {
        Self {
            journal: Some(journal),
            decision,
            agent: agent.to_owned(),
            tenant: tenant.to_owned(),
        }
    }

    /// The decision is closed.
    pub(crate) const fn disarm(&mut self) {
        self.journal = None;
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(journal) = self.journal {
            // Nobody is left to tell of a failure.
            drop(journal.lose(
                self.decision,
                std::mem::take(&mut self.agent),
                std::mem::take(&mut self.tenant),
            ));
        }
    }
}

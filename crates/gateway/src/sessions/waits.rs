//! Which calls wait for people, as far as it has to be known without looking: whose they are, and when their time is over.

use std::collections::{BTreeSet, HashMap};

use casemate_model::DecisionId;
use casemate_ports::Owner;

/// The calls that wait, or were approved and have not ended.
#[derive(Debug, Default)]
pub(super) struct Waits {
    calls: HashMap<DecisionId, (Owner, u64)>,
    times: BTreeSet<(u64, DecisionId)>,
}

impl Waits {
    pub(super) fn add(&mut self, decision: DecisionId, owner: Owner, expires_at_ms: u64) {
        self.remove(decision);
        self.calls.insert(decision, (owner, expires_at_ms));
        self.times.insert((expires_at_ms, decision));
    }

    /// Its time is over at another moment.
    pub(super) fn expires(&mut self, decision: DecisionId, at_ms: u64) {
        if let Some((_, expires_at_ms)) = self.calls.get_mut(&decision) {
            self.times.remove(&(*expires_at_ms, decision));
            *expires_at_ms = at_ms;
            self.times.insert((at_ms, decision));
        }
    }

    pub(super) fn remove(&mut self, decision: DecisionId) {
        if let Some((_, expires_at_ms)) = self.calls.remove(&decision) {
            self.times.remove(&(expires_at_ms, decision));
        }
    }

    pub(super) fn owner(&self, decision: DecisionId) -> Option<Owner> {
        let (owner, _) = self.calls.get(&decision)?;
        Some(owner.clone())
    }

    pub(super) fn count_of(&self, tenant: &str) -> usize {
        let owners = self.calls.values();
        owners.filter(|(owner, _)| owner.tenant == tenant).count()
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// The next whose time is over, and when.
    pub(super) fn next(&self) -> Option<(DecisionId, u64)> {
        let (at_ms, decision) = self.times.first()?;
        Some((*decision, *at_ms))
    }
}

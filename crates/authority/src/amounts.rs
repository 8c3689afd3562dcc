//! How much of what.

use casemate_model::words;
use serde::{Deserialize, Serialize};

words! {
    /// What can be spent.
    Resource {
        /// Calls of tools.
        Calls = "calls",
        /// Milliseconds that calls ran.
        TimeMs = "time_ms",
        /// Tokens of a model.
        Tokens = "tokens",
        /// Millionths of the one currency that a deployment counts in.
        MoneyMicros = "money_micros",
        /// Bytes sent or stored.
        Bytes = "bytes",
        /// Approvals that people are asked for.
        Approvals = "approvals",
    }
}

/// How many kinds of resources there are.
const KINDS: usize = Resource::ALL.len();

/// An amount of each resource. Nothing of those that are not named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amounts([u64; KINDS]);

impl Amounts {
    /// How much of `resource`.
    #[must_use]
    pub fn of(&self, resource: Resource) -> u64 {
        self.0.get(resource as usize).copied().unwrap_or_default()
    }

    /// The same, with `amount` of `resource`.
    #[must_use]
    pub fn with(mut self, resource: Resource, amount: u64) -> Self {
        if let Some(slot) = self.0.get_mut(resource as usize) {
            *slot = amount;
        }
        self
    }

    /// The first resource of which there is more than `most`.
    pub(crate) fn above(&self, most: u64) -> Option<Resource> {
        let mut all = Resource::ALL.iter().copied();
        all.find(|resource| self.of(*resource) > most)
    }

    /// Adds, and stays at the most there can be instead of beginning anew.
    pub(crate) fn add(&mut self, other: &Self) {
        for (slot, amount) in self.0.iter_mut().zip(other.0) {
            *slot = slot.saturating_add(amount);
        }
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        for (slot, amount) in self.0.iter_mut().zip(other.0) {
            *slot = slot.saturating_sub(amount);
        }
    }
}

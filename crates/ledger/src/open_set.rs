//! The decisions that were allowed and have no outcome.

use std::collections::{BTreeMap, HashMap};

use casemate_model::DecisionId;

use crate::{OpenDecision, entry::Effect, limits::MAX_OPEN_DECISIONS};

/// Open decisions and the file offsets of the records that opened them, in the order of their ids.
#[derive(Debug, Default)]
pub(crate) struct OpenSet(BTreeMap<DecisionId, (u64, OpenDecision)>);

impl OpenSet {
    /// What a record at `offset` does. Opening twice keeps the first; closing what is not open does
    /// nothing: an outcome is recorded even when a recovery was faster.
    pub(crate) fn apply(&mut self, effect: Effect, offset: u64) {
        match effect {
            Effect::Opens(open) => {
                self.0.entry(open.decision).or_insert((offset, open));
            }
            Effect::Closes(decision) => {
                self.0.remove(&decision);
            }
            Effect::Nothing => {}
        }
    }

    /// Whether `decision` is open.
    pub(crate) fn contains(&self, decision: DecisionId) -> bool {
        self.0.contains_key(&decision)
    }

    /// Whether `effect` would exceed [`MAX_OPEN_DECISIONS`], less those that are `kept` for others.
    pub(crate) fn has_room_for(&self, effect: &Effect, kept: usize) -> bool {
        match effect {
            Effect::Opens(open) => {
                self.0.len() + kept < MAX_OPEN_DECISIONS || self.0.contains_key(&open.decision)
            }
            _ => true,
        }
    }

    /// Where the records are that opened them.
    pub(crate) fn offsets(&self) -> Vec<u64> {
        self.0.values().map(|(offset, _)| *offset).collect()
    }

    /// The decisions.
    pub(crate) fn decisions(&self) -> impl Iterator<Item = &OpenDecision> {
        self.0.values().map(|(_, open)| open)
    }

    /// The decisions, by the offsets of the records that opened them.
    pub(crate) fn into_by_offset(self) -> HashMap<u64, OpenDecision> {
        self.0.into_values().collect()
    }
}

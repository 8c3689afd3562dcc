//! What has to be known to go on after some batch.

use crate::{frontier::Frontier, open_set::OpenSet};

/// The log up to the end of one of its batches.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Where that batch ends.
    pub(crate) end: u64,
    /// The Merkle tree over all records up to there.
    pub(crate) frontier: Frontier,
    /// The decisions that are open there.
    pub(crate) open: OpenSet,
    /// The checkpoint that was signed there; empty before the first batch.
    pub(crate) note: String,
}

impl State {
    /// How many records there are.
    pub(crate) const fn size(&self) -> u64 {
        self.frontier.size()
    }
}

//! Puts a batch together: places, hashes, signature.

use casemate_model::Digest;
use tlog_tiles::{Hash, record_hash};

use crate::{
    LedgerError, LogKey, Receipt,
    entry::Body,
    layout::{BatchHead, HEAD_BYTES},
    limits::{MAX_LOG_BYTES, MAX_LOG_RECORDS},
    state::State,
};

/// A batch that takes entries.
#[derive(Debug)]
pub(crate) struct Draft {
    state: State,
    first: u64,
    records: Vec<u8>,
}

/// A signed batch, ready to be written at the end of the log.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// The state when it is written.
    pub(crate) state: State,
    pub(crate) root: Digest,
}

/// The place of an entry in a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    index: u64,
    leaf: Hash,
}

impl Draft {
    /// A batch that follows `state`.
    pub(crate) fn new(state: State) -> Self {
        Self {
            first: state.size(),
            state,
            records: Vec::new(),
        }
    }

    /// Adds an entry. After an error the draft is as it was.
    pub(crate) fn push(&mut self, body: &Body) -> Result<Placed, LedgerError> {
        let index = self.state.size();
        if !body.is_wanted(&self.state.open) {
            return Err(LedgerError::NotOpen);
        }
        if body.is_taken(&self.state.open) {
            return Err(LedgerError::NameTaken);
        }
        let effect = body.effect(index);
        if !self.state.open.has_room_for(&effect, body.kept()) {
            return Err(LedgerError::TooManyOpen);
        }
        if index >= MAX_LOG_RECORDS || self.state.end >= MAX_LOG_BYTES {
            return Err(LedgerError::Full);
        }
        let record = body.record(index);
        let len = u32::try_from(record.len()).map_err(|_| LedgerError::EntryTooLarge {
            bytes: record.len(),
        })?;
        let leaf = record_hash(&record);
        self.state.frontier.push(leaf).map_err(tree)?;
        let offset = self.state.end + HEAD_BYTES as u64 + self.records.len() as u64;
        self.state.open.apply(effect, offset);
        self.records.extend_from_slice(&len.to_le_bytes());
        self.records.extend_from_slice(&leaf.0);
        self.records.extend_from_slice(&record);
        Ok(Placed { index, leaf })
    }

    /// The state that the batch was to follow, if no entry was added.
    pub(crate) fn into_state(self) -> State {
        self.state
    }

    /// Signs the batch.
    pub(crate) fn sign(mut self, key: &LogKey) -> Result<Batch, LedgerError> {
        let size = self.state.size();
        let narrow = |len: usize| u32::try_from(len).map_err(|_| LedgerError::Full);
        let open = self.state.open.offsets();
        let mut head = BatchHead {
            start: self.state.end,
            first: self.first,
            count: u32::try_from(size - self.first).map_err(|_| LedgerError::Full)?,
            records_len: narrow(self.records.len())?,
            open_count: narrow(open.len())?,
            note_len: 0,
        };
        let root = self.state.frontier.root().map_err(tree)?;
        let note = key.sign(size, root, &head.extension(&open));
        head.note_len = narrow(note.len())?;
        let mut bytes = head.to_bytes().to_vec();
        bytes.append(&mut self.records);
        bytes.extend(head.trailer_bytes(self.state.frontier.hashes(), &open, &note));
        self.state.end += bytes.len() as u64;
        self.state.note = note;
        Ok(Batch {
            bytes,
            state: self.state,
            root: Digest::from_bytes(root.0),
        })
    }
}

impl Batch {
    /// The receipt of an entry of this batch.
    pub(crate) fn receipt(&self, placed: Placed) -> Receipt {
        Receipt {
            index: placed.index,
            leaf: Digest::from_bytes(placed.leaf.0),
            size: self.state.size(),
            root: self.root,
            checkpoint: self.state.note.clone(),
        }
    }
}

fn tree(source: tlog_tiles::Error) -> LedgerError {
    crate::VerifyError::Tree(source).into()
}

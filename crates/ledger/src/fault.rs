//! What can be wrong with a log, said so that a person finds the place.

use std::io;

use casemate_model::DecisionId;

use crate::note::NoteError;

/// What is wrong with a log, and where. Offsets are bytes in the log file, indexes count records
/// from 0.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file cannot be opened.
    #[error("cannot open `{path}`")]
    Open {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The log cannot be read.
    #[error("cannot read the log at byte {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The bytes of a record are not those that were signed.
    #[error("record {index}{} at byte {offset} was changed: its bytes do not have the hash that \
         was signed", named(.decision))]
    RecordChanged {
        /// Which record.
        index: u64,
        /// The decision that it names now, if it can still be read.
        decision: Option<DecisionId>,
        /// Where it begins.
        offset: u64,
    },
    /// The hash stored beside a record was changed; the record itself is as it was signed.
    #[error(
        "the stored hash of record {index} at byte {offset} was changed; the record itself is \
             as it was signed"
    )]
    LeafChanged {
        /// Which record.
        index: u64,
        /// Where it begins.
        offset: u64,
    },
    /// A record stands in the place of another.
    #[error(
        "record {index} is not in its place at byte {offset}: record {found} stands there, so \
             records were removed, inserted or reordered"
    )]
    RecordMoved {
        /// The record that belongs there.
        index: u64,
        /// The index that the record there says it has.
        found: u64,
        /// Where.
        offset: u64,
    },
    /// The records of a batch do not fill it as its head says.
    #[error(
        "the length of record {index} at byte {offset} was changed, or bytes were removed or \
             inserted there: {len} bytes do not fit"
    )]
    RecordLength {
        /// Which record.
        index: u64,
        /// The length that stands there.
        len: u64,
        /// Where the record begins.
        offset: u64,
    },
    /// A record is not an entry of a log.
    #[error("record {index} at byte {offset} is not an entry of a log")]
    RecordUnreadable {
        /// Which record.
        index: u64,
        /// Where it begins.
        offset: u64,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Records were replaced together with their stored hashes.
    #[error(
        "records {first} to {last}, from byte {offset}, are not those that were signed: their \
             checkpoint has another root"
    )]
    RecordsReplaced {
        /// The first record of the batch.
        first: u64,
        /// The last record of the batch.
        last: u64,
        /// Where the batch begins.
        offset: u64,
    },
    /// Whole batches are missing.
    #[error("records {first} to {last} were removed: record {found} comes next at byte {offset}")]
    RecordsMissing {
        /// The first missing record.
        first: u64,
        /// The last missing record.
        last: u64,
        /// The record that comes instead.
        found: u64,
        /// Where.
        offset: u64,
    },
    /// A genuine batch stands where it does not belong.
    #[error(
        "records {first} to {last} are repeated or moved: they stand at byte {offset} but were \
             written at byte {start}"
    )]
    BatchMoved {
        /// The first record of the batch.
        first: u64,
        /// The last record of the batch.
        last: u64,
        /// Where it was written.
        start: u64,
        /// Where it stands.
        offset: u64,
    },
    /// What surrounds the records of a batch was changed.
    #[error(
        "the frame of the batch at byte {offset}, which begins with record {first}, was \
             changed: {what}"
    )]
    FrameChanged {
        /// The record that the batch should begin with.
        first: u64,
        /// Where the batch begins.
        offset: u64,
        /// In words.
        what: &'static str,
    },
    /// The checkpoint of a batch is not signed by the log's key.
    #[error(
        "the checkpoint of the batch at byte {offset}, which begins with record {first}, was \
             changed or is not of this key"
    )]
    Checkpoint {
        /// The record that the batch should begin with.
        first: u64,
        /// Where the batch begins.
        offset: u64,
        /// What is wrong with the note.
        #[source]
        source: NoteError,
    },
    /// A batch is longer than what is left of the log.
    #[error(
        "the batch at byte {offset}, which begins with record {first}, is not complete: its \
             head was changed or its end is missing"
    )]
    BatchCut {
        /// The record that the batch should begin with.
        first: u64,
        /// Where the batch begins.
        offset: u64,
    },
    /// The log ends before what its head was signed over.
    #[error(
        "the log was truncated: records {first} to {last} are missing from its end at byte {offset}"
    )]
    Truncated {
        /// The first missing record.
        first: u64,
        /// The last missing record.
        last: u64,
        /// Where the last complete batch ends.
        offset: u64,
    },
    /// There is no head, so a truncated log could not be told from a whole one.
    #[error(
        "the head of the log, `{path}`, is missing or unreadable: the log may have been truncated"
    )]
    HeadMissing {
        /// The head file.
        path: std::path::PathBuf,
    },
    /// The head is not one of this key.
    #[error("the head of the log was changed or is not of this key")]
    Head(#[source] NoteError),
    /// The head is genuine, but the log has another checkpoint there.
    #[error(
        "the log is not the one of its head: it has another checkpoint at byte {offset}, or none"
    )]
    HeadDisagrees {
        /// Where the head says that a batch ends.
        offset: u64,
    },
    /// The trusted checkpoint is not one of this key.
    #[error("the trusted checkpoint is not one of this log")]
    Trusted(#[source] NoteError),
    /// The log is shorter than a checkpoint that was kept elsewhere.
    #[error(
        "the log was rolled back: it has {size} records, the trusted checkpoint was signed over \
             {trusted}"
    )]
    RolledBack {
        /// Records in the log.
        size: u64,
        /// Records under the trusted checkpoint.
        trusted: u64,
    },
    /// The log does not contain a checkpoint that was kept elsewhere.
    #[error(
        "the log was forked: its first {trusted} records are not those of the trusted checkpoint"
    )]
    Forked {
        /// Records under the trusted checkpoint.
        trusted: u64,
    },
    /// The library that computes the tree refused its input.
    #[error("the Merkle tree cannot be computed")]
    Tree(#[source] tlog_tiles::Error),
}

impl VerifyError {
    /// The first record that is wrong or missing, if the fault is at a record or batch.
    #[must_use]
    pub const fn record(&self) -> Option<u64> {
        match self {
            Self::RecordChanged { index, .. }
            | Self::LeafChanged { index, .. }
            | Self::RecordMoved { index, .. }
            | Self::RecordLength { index, .. }
            | Self::RecordUnreadable { index, .. } => Some(*index),
            Self::RecordsReplaced { first, .. }
            | Self::RecordsMissing { first, .. }
            | Self::BatchMoved { first, .. }
            | Self::FrameChanged { first, .. }
            | Self::Checkpoint { first, .. }
            | Self::BatchCut { first, .. }
            | Self::Truncated { first, .. } => Some(*first),
            _ => None,
        }
    }

    /// Where in the log file the fault is, if it is at one place.
    #[must_use]
    pub const fn offset(&self) -> Option<u64> {
        match self {
            Self::Read { offset, .. }
            | Self::RecordChanged { offset, .. }
            | Self::LeafChanged { offset, .. }
            | Self::RecordMoved { offset, .. }
            | Self::RecordLength { offset, .. }
            | Self::RecordUnreadable { offset, .. }
            | Self::RecordsReplaced { offset, .. }
            | Self::RecordsMissing { offset, .. }
            | Self::BatchMoved { offset, .. }
            | Self::FrameChanged { offset, .. }
            | Self::Checkpoint { offset, .. }
            | Self::BatchCut { offset, .. }
            | Self::Truncated { offset, .. }
            | Self::HeadDisagrees { offset } => Some(*offset),
            _ => None,
        }
    }
}

fn named(decision: &Option<DecisionId>) -> String {
    decision.map_or_else(String::new, |decision| format!(" ({decision})"))
}

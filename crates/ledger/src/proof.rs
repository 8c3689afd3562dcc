//! Proof for somebody who does not have the log that a record is in it.
//!
//! It is made from the record's batch and the frontier of the batch before it, whatever the length of the log, and leads to the
//! checkpoint that was signed when the record was written. That the newest checkpoint is one of the same log, a reader of the
//! whole log tells: [`verify`](crate::verify), with the checkpoint that was kept.

use std::{collections::HashMap, path::Path, sync::Arc};

use casemate_model::Digest;
use tlog_tiles::{
    Error, Hash, HashReader, check_record, prove_record, record_hash, stored_hash_index,
    stored_hashes_for_record_hash, sub_tree_index,
};

use crate::{
    PublicKey, ReadError, Record, StoredEntry, VerifyError,
    disk::{LogFile, Section},
    frontier::Frontier,
    head,
    layout::BatchHead,
    read::{Place, open_log},
    resume::{batch_ending_at, head_of_batch_ending_at},
    source::{RawRecord, Source},
};

/// A record, and what shows that it is in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Proof {
    /// The record.
    pub record: Record,
    /// Its bytes, of which the leaf is the hash.
    pub bytes: Vec<u8>,
    /// How many records the log had at the checkpoint.
    pub size: u64,
    /// The root of the tree of those records.
    pub root: Digest,
    /// The audit path of RFC 6962, from the leaf to the root.
    pub path: Vec<Digest>,
    /// The first checkpoint that was signed with the record under it.
    pub checkpoint: String,
}

/// The record at `index` of the ledger in `dir`, with proof for those who have `key`; nothing if the log has not come so far, as
/// far as it is known to be durable. What is proven was verified.
///
/// # Errors
/// When there is no log, or what the proof is made from cannot be read or is not what was signed.
pub fn prove(dir: &Path, key: &PublicKey, index: u64) -> Result<Option<Proof>, ReadError> {
    let (log, end) = durable(dir)?;
    prove_in(&log, end, key, index).map_err(ReadError::Damaged)
}

/// Where the record at `index` begins, to read on from there; nothing if the log has not come so far.
///
/// # Errors
/// When there is no log, or it cannot be read.
pub fn place_of(dir: &Path, index: u64) -> Result<Option<Place>, ReadError> {
    let (log, end) = durable(dir)?;
    if index == 0 {
        // Most begin there, and it is the farthest from where is looked.
        return Ok((end > 0).then(Place::default));
    }
    let found = batch_with(&log, end, index).map_err(ReadError::Damaged)?;
    Ok(found.map(|batch| Place::in_batch(batch.start, batch.first, index)))
}

/// The log, and how far it is known to be durable.
fn durable(dir: &Path) -> Result<(Arc<dyn LogFile>, u64), ReadError> {
    // Before the log's length is read: the log only grows.
    let settled = head::unverified_end(dir).ok_or_else(|| ReadError::NoHead {
        path: head::path(dir),
    })?;
    let (log, len) = open_log(dir)?;
    Ok((log, len.min(settled)))
}

/// The batch with this record: looked for from the end.
fn batch_with(
    log: &Arc<dyn LogFile>,
    mut end: u64,
    index: u64,
) -> Result<Option<BatchHead>, VerifyError> {
    let mut section = Section::new(Arc::clone(log), end);
    while end > 0 {
        let head = head_of_batch_ending_at(&mut section, end)?;
        let head = head.ok_or(VerifyError::BatchCut {
            first: index,
            offset: end,
        })?;
        if index >= head.size() {
            return Ok(None);
        }
        if index >= head.first {
            return Ok(Some(head));
        }
        end = head.start;
    }
    Ok(None)
}

fn prove_in(
    log: &Arc<dyn LogFile>,
    end: u64,
    key: &PublicKey,
    index: u64,
) -> Result<Option<Proof>, VerifyError> {
    let Some(found) = batch_with(log, end, index)? else {
        return Ok(None);
    };
    let (head, trailer) = batch_ending_at(log, found.start + found.batch_len(), key)?;
    let mut tree = match head.first {
        0 => Tree::default(),
        _ => Tree::of(&batch_ending_at(log, head.start, key)?.1.frontier),
    };
    let section = Section::new(Arc::clone(log), end);
    let mut source = Source::new(section, head.start, end)?;
    source.head(head.first)?;
    let records_end = head.start + head.frontier_at();
    let (mut bytes, mut wanted) = (Vec::new(), None);
    for at in head.first..head.size() {
        let (offset, stored) = match source.record(&mut bytes, records_end)? {
            RawRecord::Bytes { offset, stored } => (offset, stored),
            RawRecord::DoesNotFit { offset, len } => {
                return Err(VerifyError::RecordLength {
                    index: at,
                    len,
                    offset,
                });
            }
        };
        let leaf = record_hash(&bytes);
        if leaf != stored {
            return Err(VerifyError::RecordChanged {
                index: at,
                decision: None,
                offset,
            });
        }
        tree.push(at, leaf).map_err(VerifyError::Tree)?;
        if at == index {
            wanted = Some((bytes.clone(), leaf, offset));
        }
    }
    let Some((bytes, leaf, offset)) = wanted else {
        return Ok(None);
    };
    let path = prove_record(head.size(), index, &tree).map_err(VerifyError::Tree)?;
    check_record(&path, head.size(), trailer.root, index, leaf).map_err(VerifyError::Tree)?;
    let entry: StoredEntry =
        serde_json::from_slice(&bytes).map_err(|source| VerifyError::RecordUnreadable {
            index,
            offset,
            source,
        })?;
    let digest = |hash: Hash| Digest::from_bytes(hash.0);
    Ok(Some(Proof {
        record: Record {
            index,
            entry,
            leaf: digest(leaf),
        },
        bytes,
        size: head.size(),
        root: digest(trailer.root),
        path: path.into_iter().map(digest).collect(),
        checkpoint: trailer.note,
    }))
}

/// The part of the Merkle tree that the paths of one batch lead through.
#[derive(Debug, Default)]
struct Tree(HashMap<u64, Hash>);

impl Tree {
    fn of(frontier: &Frontier) -> Self {
        let places = sub_tree_index(0, frontier.size(), Vec::new());
        let hashes = frontier.hashes().iter().copied();
        Self(places.into_iter().zip(hashes).collect())
    }

    /// Adds the leaf of the next record, and every subtree that it completes.
    fn push(&mut self, index: u64, leaf: Hash) -> Result<(), Error> {
        let new = stored_hashes_for_record_hash(index, leaf, self)?;
        self.0.extend((stored_hash_index(0, index)..).zip(new));
        Ok(())
    }
}

impl HashReader for Tree {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let hashes = indexes.iter().map(|index| self.0.get(index).copied());
        hashes.collect::<Option<_>>().ok_or(Error::IndexesNotInTree)
    }
}

#[cfg(test)]
mod tests;

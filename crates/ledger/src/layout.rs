//! The bytes of a batch. Numbers are little-endian.
//!
//! ```text
//! head      magic 8 · start 8 · first 8 · count 4 · records_len 4 · open_count 4 · note_len 4
//! records   count × (length 4 · leaf hash 32 · JSON)
//! frontier  32 for each subtree of the Merkle tree after this batch
//! open      open_count × file offset 8 of the record that opened a decision
//! note      the signed checkpoint
//! tail      length of the whole batch 4 · magic 8
//! ```
//!
//! Nothing of it is free: the note signs the root over the records and, in an extension line, a
//! hash of the head and the open list; the lengths must add up; the stored leaf hashes and the
//! frontier must be those that the records make. The leaf hashes are stored to be able to say
//! *which* record was changed.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use casemate_model::Hasher;
use tlog_tiles::{HASH_SIZE, Hash};

use crate::{
    frontier::Frontier,
    limits::{
        MAX_BATCH_BYTES, MAX_BATCH_RECORDS, MAX_LOG_BYTES, MAX_LOG_RECORDS, MAX_NOTE_BYTES,
        MAX_OPEN_DECISIONS,
    },
};

pub(crate) const HEAD_BYTES: usize = 40;
pub(crate) const TAIL_BYTES: usize = 12;
pub(crate) const RECORD_HEAD_BYTES: usize = 36;

/// Bytes of the largest batch: [`MAX_BATCH_BYTES`] of records and all that surrounds them.
pub(crate) const MAX_WHOLE_BATCH_BYTES: u64 = MAX_BATCH_BYTES as u64
    + MAX_NOTE_BYTES as u64
    + (HEAD_BYTES + 64 * HASH_SIZE + MAX_OPEN_DECISIONS * 8 + TAIL_BYTES) as u64;

const HEAD_MAGIC: [u8; 8] = *b"CMBATCH1";
const TAIL_MAGIC: [u8; 8] = *b"CMBEND1\n";

/// The head of a batch: says where everything in it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHead {
    /// Where in the file the batch begins.
    pub(crate) start: u64,
    /// The index of its first record.
    pub(crate) first: u64,
    /// How many records it has.
    pub(crate) count: u32,
    /// Bytes of the records, with their lengths and hashes.
    pub(crate) records_len: u32,
    /// How many decisions are open after it.
    pub(crate) open_count: u32,
    /// Bytes of the signed checkpoint.
    pub(crate) note_len: u32,
}

impl BatchHead {
    pub(crate) fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let fields = [
            HEAD_MAGIC.as_slice(),
            &self.start.to_le_bytes(),
            &self.first.to_le_bytes(),
            &self.count.to_le_bytes(),
            &self.records_len.to_le_bytes(),
            &self.open_count.to_le_bytes(),
            &self.note_len.to_le_bytes(),
        ];
        for (byte, field) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *byte = *field;
        }
        bytes
    }

    /// The head in `bytes`, or in words why it is none.
    pub(crate) fn parse(bytes: &[u8; HEAD_BYTES]) -> Result<Self, &'static str> {
        let mut rest = bytes.as_slice();
        if take(&mut rest) != Some(HEAD_MAGIC) {
            return Err("its first bytes are not those of a batch");
        }
        let head = Self::parse_fields(&mut rest).ok_or("its head is too short")?;
        if !head.is_within_limits() {
            return Err("its head has a value above its limit");
        }
        Ok(head)
    }

    fn parse_fields(rest: &mut &[u8]) -> Option<Self> {
        Some(Self {
            start: u64::from_le_bytes(take(rest)?),
            first: u64::from_le_bytes(take(rest)?),
            count: u32::from_le_bytes(take(rest)?),
            records_len: u32::from_le_bytes(take(rest)?),
            open_count: u32::from_le_bytes(take(rest)?),
            note_len: u32::from_le_bytes(take(rest)?),
        })
    }

    fn is_within_limits(&self) -> bool {
        (1..=MAX_BATCH_RECORDS).contains(&self.count)
            && self.records_len <= MAX_BATCH_BYTES
            && self.open_count as usize <= MAX_OPEN_DECISIONS
            && self.note_len <= MAX_NOTE_BYTES
            && self.start <= MAX_LOG_BYTES
            && self.first <= MAX_LOG_RECORDS
    }

    /// How many records the log has after this batch.
    pub(crate) fn size(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// Where the frontier begins, counted from the start of the batch.
    pub(crate) fn frontier_at(&self) -> u64 {
        HEAD_BYTES as u64 + u64::from(self.records_len)
    }

    /// Bytes from the frontier to the end of the batch.
    pub(crate) fn trailer_len(&self) -> usize {
        self.frontier_len() + self.open_len() + self.note_len as usize + TAIL_BYTES
    }

    fn frontier_len(&self) -> usize {
        Frontier::len_of(self.size()) as usize * HASH_SIZE
    }

    fn open_len(&self) -> usize {
        self.open_count as usize * 8
    }

    /// Bytes of the whole batch.
    pub(crate) fn batch_len(&self) -> u64 {
        self.frontier_at() + self.trailer_len() as u64
    }

    /// The extension line of the checkpoint: binds the head and the open list. The length of the
    /// note itself is left out; the batch's length binds it.
    pub(crate) fn extension(&self, open: &[u64]) -> String {
        let unsized_head = Self {
            note_len: 0,
            ..*self
        };
        let mut hasher = Hasher::default();
        hasher.update(&unsized_head.to_bytes());
        for offset in open {
            hasher.update(&offset.to_le_bytes());
        }
        let hash = BASE64_STANDARD.encode(hasher.finish().as_bytes());
        format!("batch {hash}\n")
    }

    /// The frontier, open list, note and tail.
    pub(crate) fn trailer_bytes(&self, frontier: &[Hash], open: &[u64], note: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.trailer_len());
        for hash in frontier {
            bytes.extend_from_slice(&hash.0);
        }
        for offset in open {
            bytes.extend_from_slice(&offset.to_le_bytes());
        }
        bytes.extend_from_slice(note.as_bytes());
        bytes.extend_from_slice(&self.tail_bytes());
        bytes
    }

    fn tail_bytes(&self) -> [u8; TAIL_BYTES] {
        let len = u32::try_from(self.batch_len()).unwrap_or(u32::MAX);
        let [a, b, c, d] = len.to_le_bytes();
        let [e, f, g, h, i, j, k, l] = TAIL_MAGIC;
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }

    /// Takes a trailer apart, or says in words why it is none of this head's.
    pub(crate) fn parse_trailer<'a>(
        &self,
        bytes: &'a [u8],
    ) -> Result<TrailerBytes<'a>, &'static str> {
        let short = "its end is missing";
        let (frontier, rest) = bytes.split_at_checked(self.frontier_len()).ok_or(short)?;
        let (open, rest) = rest.split_at_checked(self.open_len()).ok_or(short)?;
        let (note, tail) = rest.split_at_checked(self.note_len as usize).ok_or(short)?;
        if tail != self.tail_bytes() {
            return Err("its end is not where its head says, or was changed");
        }
        Ok(TrailerBytes {
            frontier: frontier.as_chunks().0.iter().copied().map(Hash).collect(),
            open: open
                .as_chunks()
                .0
                .iter()
                .copied()
                .map(u64::from_le_bytes)
                .collect(),
            note: std::str::from_utf8(note).map_err(|_| "its checkpoint is not text")?,
        })
    }
}

/// The parts of a trailer, not yet believed.
#[derive(Debug)]
pub(crate) struct TrailerBytes<'a> {
    pub(crate) frontier: Vec<Hash>,
    pub(crate) open: Vec<u64>,
    pub(crate) note: &'a str,
}

/// The length of the batch that ends with `tail`, if one does.
pub(crate) fn parse_tail(tail: &[u8]) -> Option<u64> {
    let mut rest = tail;
    let len = u32::from_le_bytes(take(&mut rest)?);
    (rest == TAIL_MAGIC).then_some(len.into())
}

/// The length and stored leaf hash in front of a record.
pub(crate) fn parse_record_head(bytes: &[u8; RECORD_HEAD_BYTES]) -> (u32, Hash) {
    let (len, leaf) = bytes.split_at(4);
    let len = len.try_into().map_or(0, u32::from_le_bytes);
    (len, leaf.try_into().map_or(Hash::default(), Hash))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

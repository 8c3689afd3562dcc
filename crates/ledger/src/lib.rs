//! The audit log: append-only, Merkle-hashed, signed, and verifiable offline with a public key
//! (I12).
//!
//! A directory holds
//! - `log`: batches of records, each with a signed checkpoint at its end (`layout.rs` has the bytes);
//! - `head`: the newest checkpoint, by which a truncated log is found out;
//! - `key.pub`: the key that verifies it, in C2SP form;
//! - `lock`: held by the process that appends.
//!
//! Invariants:
//! - An append that returned a receipt is on disk: one write and one fdatasync for each batch.
//! - Every byte of the log is signed, or follows from what is signed. [`verify`] finds any record
//!   that was changed, removed, inserted, reordered or truncated, and says which.
//! - What a crash leaves of an append that nobody was told of is not mistaken for tampering, nor the
//!   other way round; the next writer removes it. A log that was tampered with is not continued.
//! - Opening costs O(log n + open decisions), whatever the length of the log.
//! - Records hold personal data only sealed: without its key it is gone, and the log still verifies.
//!
//! What it cannot find alone: a log and a head that were both put back to an older state. Keep a
//! receipt's checkpoint elsewhere and pass it to [`verify`]. The directory must be on a local file
//! system, and the processes that share it in one pid namespace.
//!
//! Deliberately absent: changing or deleting records, rotation, a network, Merkle mathematics of
//! our own.

mod batch;
mod disk;
mod entry;
mod error;
mod fault;
mod frontier;
mod head;
mod judge;
mod layout;
mod ledger;
mod limits;
mod lock;
mod note;
mod open_set;
mod owner;
mod proof;
mod queue;
mod read;
mod resume;
mod source;
mod state;
#[cfg(test)]
mod testing;
mod trailer;
mod verify;
mod walk;
mod writer;

pub use self::{
    entry::{Entry, Kind, OpenDecision, Receipt, Record, StoredEntry},
    error::{LedgerError, ReadError},
    fault::VerifyError,
    ledger::{Head, Ledger},
    limits::{
        LOCK_WAIT_MS, MAX_BATCH_BYTES, MAX_BATCH_RECORDS, MAX_LOG_BYTES, MAX_LOG_RECORDS,
        MAX_NAME_BYTES, MAX_NOTE_BYTES, MAX_OPEN_DECISIONS, MAX_ORIGIN_BYTES, MAX_RECORD_BYTES,
        MAX_SHOWN_RECORDS, MAX_SUMMARY_DEPTH, MAX_TRUSTED_NOTE_BYTES, OPEN_DECISIONS_OF_CALLS,
    },
    note::{KeyError, LogKey, NoteError, PublicKey},
    owner::Owner,
    proof::{Proof, place_of, prove},
    queue::{Lead, Urgency, Written},
    read::{Place, Reader, end_of, find, read, read_from, tail},
    verify::{Verified, verify},
};

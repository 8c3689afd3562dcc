//! Durable state beside the ledger: the state directory, keys, idempotency keys, sessions with the files of paused ones, approvals and where agents have been.
//!
//! Invariants:
//! - What an answer promised is on disk: a claim, a key, an erasure survive the death of the process and of
//!   the machine.
//! - Nothing that is damaged, missing, open to others or somebody else's is repaired or made anew in
//!   silence: it is an error that says which file and what to do (I1).
//! - Each agent has its own data keys and its own database; a payload sealed for one agent is noise for every
//!   other (I10).
//! - Content is stored sealed (AES-256-GCM, bound to its agent, key and place). A destroyed key makes it
//!   unreadable and is remembered as destroyed.
//! - An idempotency key is held by one call. A claim ends once, and no claim is forgotten.
//! - Any number of threads and processes may use one state directory at once.
//!
//! Deliberately absent: plaintext results, key material in any message, a way to weaken the checks, a cache of
//! keys, a flag to skip fsync. Opening costs a few system calls and no fsync, and starts no thread, but for
//! [`SqliteStore::open`].

mod approval;
mod crypto;
mod destination;
mod dir;
mod envelope;
mod error;
mod idempotency;
mod keys;
mod paused;
mod provider;
mod session;
mod sql;
mod sqlite;
mod state;

pub use self::{
    approval::{ApprovalRecord, ApprovalStore},
    crypto::CryptoError,
    destination::{DestinationStore, MAX_DESTINATIONS},
    envelope::{seal_record, unseal_record},
    error::StoreError,
    idempotency::{Claim, Claimed, Idempotency, MAX_NAME_BYTES, State},
    keys::{Keys, MAX_SEALED_BYTES},
    paused::{PausedFiles, PausedReader, PausedWriter},
    provider::{FileProvider, KeyProvider},
    session::{SessionEnd, SessionPause, SessionRecord, SessionStore},
    sqlite::SqliteStore,
    state::StateDir,
};

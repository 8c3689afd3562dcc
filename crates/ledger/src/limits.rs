//! Every bound of the ledger, by name (I15). What a writer may not make, a reader does not accept.

/// Bytes of one record as it is stored, in JSON.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// Records in one batch, which is one fdatasync.
pub const MAX_BATCH_RECORDS: u32 = 1_024;

/// Bytes of all the records of one batch, with their lengths and hashes.
pub const MAX_BATCH_BYTES: u32 = 16 << 20;

/// Decisions that may be open at once: one more is refused until some are closed.
pub const MAX_OPEN_DECISIONS: usize = 4_096;

/// Of those, how many are calls' alone: their requests, which are decisions too, leave so many free, so that no call keeps the
/// others of all tenants from being decided.
pub const OPEN_DECISIONS_OF_CALLS: usize = 1_024;

/// Bytes of the name of an agent or a tenant.
pub const MAX_NAME_BYTES: usize = 1_024;

/// Nesting of an entry's summary: JSON that is deeper would not be readable again.
pub const MAX_SUMMARY_DEPTH: u32 = 32;

/// Bytes of the name under which checkpoints are signed.
pub const MAX_ORIGIN_BYTES: usize = 100;

/// Bytes of a signed checkpoint in the log or its head.
pub const MAX_NOTE_BYTES: u32 = 1_024;

/// Bytes of a signed checkpoint that was kept elsewhere, where witnesses may have added signatures.
pub const MAX_TRUSTED_NOTE_BYTES: usize = 16 << 10;

/// Records in one log.
pub const MAX_LOG_RECORDS: u64 = 1 << 40;

/// Bytes of one log.
pub const MAX_LOG_BYTES: u64 = 1 << 50;

/// Records that [`tail`](crate::tail) and [`find`](crate::find) give back.
pub const MAX_SHOWN_RECORDS: usize = 10_000;

/// How long an append waits for another process's append, in milliseconds; twelve times that for a queue of others that moves.
pub const LOCK_WAIT_MS: u64 = 10_000;

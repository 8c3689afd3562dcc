//! Every bound of switches, budgets and loops, by name (I15).

/// Bytes of the name of anything that can be switched off or that spends.
pub const MAX_NAME_BYTES: usize = 255;

/// Bytes of the reason for which a switch was thrown.
pub const MAX_REASON_BYTES: usize = 512;

/// Switches on a board.
pub const MAX_SWITCHES: usize = 10_000;

/// Switches within one tenant, so that one does not keep others from throwing theirs.
pub const MAX_TENANT_SWITCHES: usize = 500;

/// Tenants of which a board knows apart that switches within them were forgotten.
pub(crate) const MAX_FORGETFUL_TENANTS: usize = 1_000;

/// Bytes of a board: all its switches with the longest names, each byte of them escaped, fit.
pub const MAX_BOARD_BYTES: u64 = 32 << 20;

/// How long to wait for another process that throws a switch, in milliseconds.
pub const LOCK_WAIT_MS: u64 = 10_000;

/// How often a watched board is looked at although nothing was heard of it, in milliseconds.
pub const WATCH_CHECK_MS: u64 = 1_000;

/// Rules that one reservation is held against.
pub const MAX_RULES: usize = 64;

/// The most that one reservation can ask for of a resource.
///
/// What all open reservations hold together then fits into 64 bits.
pub const MAX_AMOUNT: u64 = 1 << 48;

/// Reservations that may be open at once.
pub const MAX_OPEN_RESERVATIONS: usize = 50_000;

/// Tenants, agents and threads that have spent something.
pub const MAX_ACCOUNTS: usize = 100_000;

/// Bytes of the file of budgets. What would make it longer is refused.
pub const MAX_BUDGET_BYTES: u64 = 256 << 20;

/// Bytes from which on the file of budgets is written anew, without what is over.
pub const COMPACT_BYTES: u64 = 4 << 20;

/// How long spending may wait until it is on disk, in milliseconds. With the time that the disk takes it is below a
/// second.
pub const SYNC_MS: u64 = 500;

/// How long to wait for another process that holds the budgets, in milliseconds.
pub const BUDGET_LOCK_WAIT_MS: u64 = 1_000;

/// Bytes of one record of budgets.
pub(crate) const MAX_RECORD_BYTES: usize = 4 << 10;

/// Equal failures in a row that stop a kind of call, unless a profile says otherwise.
pub const LOOP_LIMIT: u32 = 3;

/// The fewest failures in a row that a profile may allow: one failure is no loop.
pub const MIN_LOOP_LIMIT: u32 = 2;

/// The most failures in a row that a profile may allow.
pub const MAX_LOOP_LIMIT: u32 = 100;

/// Kinds of calls whose failures are remembered.
pub const MAX_LOOPS: usize = 100_000;

/// Kinds of calls of one thread whose failures are remembered.
pub const MAX_LOOPS_PER_THREAD: usize = 1_000;

/// Bytes of a cause that are compared and kept.
pub const MAX_CAUSE_BYTES: usize = 255;

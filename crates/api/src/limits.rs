//! Every limit of the HTTP interface, by name (I15).

/// The largest request with a call, in bytes: its code and its files are in it.
pub const MAX_CALL_BYTES: usize = 64 << 20;

/// The largest source of a call, in bytes.
pub const MAX_CODE_BYTES: usize = 16 << 20;

/// The largest message on a WebSocket, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// The largest piece of an upload that is passed on at once, in bytes.
pub const UPLOAD_PIECE_BYTES: usize = 64 << 10;

/// The most bytes of an upload that are read after it was refused.
pub const MAX_IGNORED_BYTES: usize = 64 << 20;

/// Connections at one time.
pub const MAX_CONNECTIONS: usize = 4_096;

/// Pieces of an answer that wait for a slow reader.
pub const ANSWER_QUEUE: usize = 16;

/// Calls that have not ended, with those that are not in line yet: more are refused before they begin.
pub const MAX_LIVE_CALLS: usize = 16_384;

/// The most approved calls that go on at once; others follow.
pub const MAX_RESUMING: usize = 64;

/// How long an approved call that cannot run waits before it is tried again, in milliseconds.
pub const RESUME_PAUSE_MS: u64 = 500;

/// The largest answer to a call that waits, in bytes: a statement, with what a passkey or JSON adds.
pub const MAX_ANSWER_BYTES: usize = 64 << 10;

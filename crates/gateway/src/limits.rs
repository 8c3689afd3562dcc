//! Every limit of the life of a call, by name (I15).

/// How long an action token is good for: from the record on disk to the start of the program.
pub const LEASE_TTL_MS: u64 = 10_000;

/// The most bytes of a program's source that a record keeps; a longer one is recorded by its digest.
pub const MAX_CODE_RECORD_BYTES: usize = 64 * 1024;

/// The most bytes of a cell's source: what keepers and guests take.
pub const MAX_CELL_BYTES: usize = 8 * 1024 * 1024;

/// The most bytes of a record's content. The ledger takes 1 MiB for a record in JSON with its content in
/// base64; what is larger is recorded by its digest.
pub const MAX_CONTENT_BYTES: usize = 512 * 1024;

/// The most bytes of output that are stored for repeats under an idempotency key. A call that wrote more
/// runs once all the same, but its repeats get an error instead of its output.
pub const MAX_REPLAY_BYTES: usize = 1024 * 1024;

/// The most input files of one call.
pub const MAX_INPUTS: usize = 4_096;

/// The most bytes of an agent's, a tool's and a trace's name, and of an idempotency key.
pub const MAX_NAME_BYTES: usize = 255;

/// How old a claim on an idempotency key must be, in milliseconds, before a call that the ledger does not
/// know counts as lost rather than about to be recorded.
pub const CLAIM_GRACE_MS: u64 = 60_000;

/// When a call that was refused because others use the place may be sent again, in milliseconds.
pub const RETRY_AFTER_MS: u64 = 1_000;

/// How long a session that ended is remembered, in milliseconds.
pub const SESSION_MEMORY_MS: u64 = 7 * 24 * 3_600_000;

/// How often the use of a session is noted on disk, in milliseconds.
pub const TOUCH_EVERY_MS: u64 = 30_000;

/// The most sessions in one list.
pub const MAX_LISTED: u32 = 1_000;

/// The most paused sessions of one agent.
pub const MAX_PAUSED: usize = 1_000;

/// The most stateful interpreters of one session.
pub const MAX_CONTEXTS: usize = 64;

/// The most calls that wait for approval at once, of all tenants.
pub const MAX_WAITING: usize = 16_384;

/// The most bytes of input files that wait with a call for its approval.
pub const MAX_KEPT_INPUT_BYTES: usize = 16 << 20;

/// The largest message of a server of the Model Context Protocol, in bytes.
pub const MAX_MCP_MESSAGE_BYTES: usize = 4 << 20;

/// The most messages that such a server sends in one call.
pub const MAX_MCP_MESSAGES: usize = 1_000;

/// The most pages of its list of tools.
pub const MAX_MCP_PAGES: usize = 16;

/// The largest piece of what is said to it, in bytes.
pub const MCP_PIECE_BYTES: usize = 64 << 10;

/// How long it has to end when it has answered, in milliseconds, before it is told to.
pub const MCP_END_MS: u64 = 1_000;

/// How long an approval is remembered after its last change, in milliseconds.
pub const APPROVAL_MEMORY_MS: u64 = 90 * 24 * 3_600_000;

//! Every limit of the protocol, by name (I15).

/// The largest request with code, in bytes.
pub const MAX_REQUEST_BYTES: usize = 24 << 20;

/// The largest file of an upload, in bytes: Azure's own limit.
pub const MAX_FILE_BYTES: u64 = 128 << 20;

/// What an upload may have around its files, in bytes.
pub const MAX_UPLOAD_FRAME_BYTES: u64 = 64 << 10;

/// Files of one upload.
pub const MAX_FILES: usize = 32;

/// Pieces of an upload that wait to be written.
pub const PIECE_QUEUE: usize = 16;

/// The longest name of a session, in bytes.
pub const MAX_IDENTIFIER_BYTES: usize = 128;

/// The shortest.
pub const MIN_IDENTIFIER_BYTES: usize = 4;

/// The longest execution, in seconds, that a request can ask for.
pub const MAX_TIMEOUT_S: u64 = 86_400;

/// Directories that a recursive list looks into.
pub const MAX_LISTED_DIRECTORIES: usize = 256;

/// The longest value of a result that is read as one, in bytes: a longer one stays text.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

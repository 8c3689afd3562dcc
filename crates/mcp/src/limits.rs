//! Every limit of the protocol, by name (I15).

/// The largest message, in bytes: code and files that are written are in it.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// The longest name of a method, tool, session or request, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// The most of a stream that an answer shows, in bytes: the model reads it all.
pub const MAX_SHOWN_BYTES: usize = 256 << 10;

/// The largest file that is read as the answer of a tool, in bytes.
pub const MAX_FILE_BYTES: u64 = 2 << 20;

/// The largest image that an answer shows, in bytes of base64.
pub const MAX_IMAGE_BYTES: usize = 4 << 20;

/// The most images that an answer shows.
pub const MAX_IMAGES: usize = 16;

/// The longest that `call_result` waits for a call, in milliseconds.
pub const MAX_WAIT_MS: u64 = 60_000;

/// How long a call may take before progress is told, and between one and the next, in milliseconds.
pub const PROGRESS_MS: u64 = 2_000;

/// How often a stream without news says that it is alive, in milliseconds.
pub const KEEP_ALIVE_MS: u64 = 15_000;

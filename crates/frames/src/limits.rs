//! Every limit of the protocol.

/// The version that a guest says in its first frame. Keeper and guest come from one build.
pub const PROTOCOL_VERSION: u32 = 1;

/// The most bytes of a stream in one frame.
pub const MAX_CHUNK_BYTES: usize = 64 * 1024;

/// The most bytes of a command with its arguments and variables: Linux takes 2 MiB by default.
pub const MAX_EXEC_BYTES: usize = 2 * 1024 * 1024;

/// The most bytes of a cell's source.
pub const MAX_SOURCE_BYTES: usize = 8 * 1024 * 1024;

/// The most bytes of a path: Linux takes 4095.
pub const MAX_PATH_BYTES: usize = 4095;

/// The most resource limits: Linux has 16.
pub const MAX_LIMITS: usize = 16;

/// The most entries of a directory that are listed.
pub const MAX_ENTRIES: usize = 10_000;

/// The most arguments, and the most variables, of a command.
pub const MAX_ARGUMENTS: usize = 65_536;

//! Every bound of messages, by name (I15).

/// Endpoints.
pub const MAX_ENDPOINTS: usize = 16;

/// Bytes of the file that names them.
pub const MAX_CONFIG_BYTES: u64 = 64 << 10;

/// How long a receiver has for one message, in milliseconds.
pub const TIMEOUT_MS: u64 = 10_000;

/// How often it is looked whether the ledger has grown, in milliseconds.
pub const LOOK_EVERY_MS: u64 = 250;

/// How long to wait after a first failure, at most, in milliseconds; twice as long after each further one.
pub const FIRST_PAUSE_MS: u64 = 500;

/// How long to wait after any failure, at most, in milliseconds.
pub const MAX_PAUSE_MS: u64 = 5 * 60_000;

/// Bytes of the name of an endpoint.
pub(crate) const MAX_NAME_BYTES: usize = 63;

/// Bytes of a URL.
pub(crate) const MAX_URL_BYTES: usize = 2_048;

/// Bytes of a file with a key.
pub(crate) const MAX_KEY_FILE_BYTES: u64 = 512;

/// Bytes of a cursor.
pub(crate) const MAX_CURSOR_BYTES: u64 = 512;

/// Records that are passed over before the cursor says so.
pub(crate) const PASSED_OVER: u64 = 4_096;

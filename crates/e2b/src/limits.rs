//! Every limit of the protocol, by name (I15).

/// The port of a sandbox at which processes and files are.
pub const ENVD_PORT: u16 = 49_983;

/// The port of a sandbox at which code is interpreted.
pub const INTERPRETER_PORT: u16 = 49_999;

/// The version of `envd` that clients are told: the newest whose features are all here.
pub const ENVD_VERSION: &str = "0.6.9";

/// The largest message of a client, in bytes; a piece of standard input is one, in base64.
pub const MAX_MESSAGE_BYTES: usize = 8 << 20;

/// Bytes before the message of an envelope.
pub const ENVELOPE_HEAD_BYTES: usize = 5;

/// The most entries of `metadata`, `envVars` or `envs`.
pub const MAX_PAIRS: usize = 256;

/// The longest path, in bytes.
pub const MAX_PATH_BYTES: usize = 4_095;

/// The longest name of a template, in bytes.
pub const MAX_TEMPLATE_BYTES: usize = 255;

/// How long a sandbox lives that says nothing of it, in seconds.
pub const DEFAULT_TIMEOUT_S: u64 = 15;

/// Sandboxes in one page of a list, at most, and if nothing is said of it.
pub const MAX_PAGE: usize = 100;

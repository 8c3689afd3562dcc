//! Every bound of bundles and their store, by name (I15).

/// Files in a bundle.
pub const MAX_FILES: usize = 1_024;

/// Bytes of one file of a bundle.
pub const MAX_FILE_BYTES: u64 = 4 << 20;

/// Bytes of all files of a bundle.
pub const MAX_BUNDLE_BYTES: u64 = 32 << 20;

/// Bytes of the name of a file in a bundle.
pub const MAX_FILE_NAME_BYTES: usize = 128;

/// Bytes of the name of a bundle.
pub const MAX_NAME_BYTES: usize = 63;

/// The largest version: JSON numbers are exact up to here, and the digest is of JSON.
pub const MAX_VERSION: u64 = (1 << 53) - 1;

/// Bytes of the description of a bundle.
pub const MAX_DESCRIPTION_BYTES: usize = 1_024;

/// Bytes of the name of a key.
pub const MAX_KEY_NAME_BYTES: usize = 100;

/// Bytes of a signed note.
pub const MAX_NOTE_BYTES: u64 = 16 << 10;

/// Signatures on a note.
pub const MAX_SIGNATURES: usize = 16;

/// Keys that a store trusts.
pub const MAX_TRUSTED_KEYS: usize = 256;

/// Activations in the life of a store.
pub const MAX_ACTIVATIONS: u64 = 100_000;

/// How long to wait for another writer, in milliseconds.
pub const LOCK_WAIT_MS: u64 = 10_000;

/// Bytes of a key file.
pub(crate) const MAX_KEY_FILE_BYTES: u64 = 512;

/// Bytes of the list of trusted keys.
pub(crate) const MAX_TRUSTED_BYTES: u64 = 128 << 10;

/// Bytes of the list of approvers, and of the counters of their passkeys.
pub(crate) const MAX_APPROVERS_BYTES: u64 = 1 << 20;

//! Every bound of signed answers, by name (I15).

use casemate_model::JsonBounds;

/// Bytes of the text of an answer: of a note, of a statement, of the body of a message.
pub const MAX_ANSWER_BYTES: usize = 16 << 10;

/// Bytes of what a browser says of an assertion.
pub const MAX_CLIENT_DATA_BYTES: usize = 4 << 10;

/// Bytes of the name of a credential (WebAuthn §4).
pub const MAX_CREDENTIAL_BYTES: usize = 1_023;

/// Places from which a passkey may answer.
pub const MAX_ORIGINS: usize = 8;

/// Bytes of a passkey as it is enlisted.
pub const MAX_PASSKEY_BYTES: usize = 4 << 10;

/// Bytes of the name of a message.
pub const MAX_ID_BYTES: usize = 255;

/// How far the time of a message may be off, in seconds.
pub const MAX_TIME_OFF_S: u64 = 5 * 60;

/// Bytes of a signature in ASN.1 or as it is: an Ed25519 signature has 64, one of P-256 at most 72.
pub(crate) const MAX_SIGNATURE_BYTES: usize = 72;

/// How much JSON a browser says.
pub(crate) const CLIENT_DATA_BOUNDS: JsonBounds = JsonBounds {
    depth: 4,
    members: 64,
};

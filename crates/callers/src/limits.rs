//! Every bound of callers and what proves them, by name (I15).

use casemate_model::JsonBounds;

/// Bytes of one compact token.
pub const MAX_TOKEN_BYTES: usize = 16 << 10;

/// Objects and arrays of a token within each other.
pub const MAX_JSON_DEPTH: usize = 16;

/// Members and elements of a token or a key set.
pub const MAX_JSON_MEMBERS: usize = 10_000;

pub(crate) const JSON_BOUNDS: JsonBounds = JsonBounds {
    depth: MAX_JSON_DEPTH,
    members: MAX_JSON_MEMBERS,
};

/// Bytes of the file that says who may call.
pub const MAX_CONFIG_BYTES: usize = 1 << 20;

/// Issuers that one gateway believes.
pub const MAX_ISSUERS: usize = 16;

/// Audiences of an issuer, or of a token.
pub const MAX_AUDIENCES: usize = 16;

/// Role claims of a token, or of an issuer's mapping.
pub const MAX_ROLE_CLAIMS: usize = 256;

/// The most that clocks may differ, in seconds.
pub const MAX_LEEWAY_S: u64 = 60;

/// What clocks may differ where nothing is said, in seconds.
pub const DEFAULT_LEEWAY_S: u64 = 30;

/// Bytes of a key set (JWKS).
pub const MAX_JWKS_BYTES: u64 = 256 << 10;

/// Keys of a key set, also those that are not for signatures.
pub const MAX_JWKS_KEYS: usize = 32;

/// Bytes of the name of a key.
pub const MAX_KID_BYTES: usize = 256;

/// How long to wait for a key set, in milliseconds.
pub const FETCH_TIMEOUT_MS: u64 = 5_000;

/// The shortest time between two attempts to fetch a key set, in milliseconds.
pub const REFRESH_INTERVAL_MS: u64 = 30_000;

/// The age from which a key set is fetched again, in milliseconds, so that a withdrawn key goes.
pub const REFRESH_AFTER_MS: u64 = 300_000;

/// How long fetched keys count when they cannot be fetched again, in milliseconds.
pub const KEYS_KEPT_MS: u64 = 3_600_000;

/// Bytes of the name of an issuer, a subject, a tenant or an audience.
pub const MAX_NAME_BYTES: usize = 256;

/// Scopes of a caller.
pub const MAX_SCOPES: usize = 128;

/// Bytes of a scope.
pub const MAX_SCOPE_BYTES: usize = 128;

/// API keys in a file.
pub const MAX_API_KEYS: usize = 4_096;

/// API keys of one tenant, so that one does not keep out the others.
pub const MAX_TENANT_API_KEYS: usize = 512;

/// Bytes of a file of API keys.
pub const MAX_API_KEY_FILE_BYTES: u64 = 16 << 20;

/// How long an API key may live, in milliseconds: a year.
pub const MAX_API_KEY_TTL_MS: u64 = 365 * 24 * 3_600_000;

/// How long an expired API key stays listed, in milliseconds.
pub const EXPIRED_KEPT_MS: u64 = 30 * 24 * 3_600_000;

/// How long to wait for another writer of a file, in milliseconds.
pub const LOCK_WAIT_MS: u64 = 10_000;

/// Bytes of a client certificate.
pub const MAX_CERTIFICATE_BYTES: usize = 32 << 10;

/// Names in a client certificate.
pub const MAX_CERTIFICATE_NAMES: usize = 32;

/// Rules for client certificates.
pub const MAX_CERTIFICATE_RULES: usize = 1_024;

/// How long an envelope may live, in milliseconds: a day.
pub const MAX_ENVELOPE_TTL_MS: u64 = 24 * 3_600_000;

/// Envelopes from a caller's own authority to the last delegate.
pub const MAX_ENVELOPE_DEPTH: usize = 8;

/// Bytes of an envelope with all that it stands on.
pub const MAX_ENVELOPE_BYTES: usize = 64 << 10;

/// Tools, agents or threads to which an envelope is restricted.
pub const MAX_BOUND_NAMES: usize = 64;

/// Revoked credentials whose envelopes could still be alive.
pub const MAX_REVOCATIONS: usize = 16_384;

/// Envelopes of one tenant that were revoked by their names and could still be alive, so that one does not keep out the others.
pub const MAX_TENANT_REVOCATIONS: usize = 1_024;

/// Bytes of the file of revocations.
pub const MAX_REVOCATION_FILE_BYTES: u64 = 8 << 20;

/// Bytes of a proof of possession.
pub const MAX_PROOF_BYTES: usize = 4 << 10;

/// How far the time in a proof may be from now, in milliseconds.
pub const PROOF_SKEW_MS: u64 = 60_000;

/// Bytes of the name of a proof (`jti`), from and to.
pub const PROOF_ID_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

/// Proofs that are remembered; more within two minutes are refused.
pub const MAX_PROOFS: usize = 100_000;

/// Proofs of one holder that are remembered, so that one cannot keep out the others.
pub const MAX_HOLDER_PROOFS: usize = 10_000;

/// Bytes of a file with a key.
pub(crate) const MAX_KEY_FILE_BYTES: u64 = 512;

/// How long a token lives that stands for an API key, in milliseconds.
pub const MAX_KEY_TOKEN_TTL_MS: u64 = 3_600_000;

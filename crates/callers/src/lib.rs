//! Who calls, proven: by a token of an issuer, an API key, a client certificate, or an envelope that gives part of
//! somebody's authority on; and what the roles of a caller may do with a gateway.
//!
//! Invariants:
//! - A [`Caller`] is made here, after a proof, and nowhere else: nothing deserialises into one, and its fields are
//!   private (I14).
//! - Who is not proven is refused with a [`Refusal`] whose [`RefusalCode`] is stable. What cannot be read, fetched or
//!   remembered is a refusal too, never "nobody is forbidden" (I1).
//! - A token says by which key and algorithm it is signed; the key says by which it may be. They must agree, and no other
//!   key is tried. Shared secrets verify nothing.
//! - Nothing is read that could be read in two ways: no member twice, no second audience, tenant or name.
//! - An envelope never has more than what it stands on. [`Envelopes::issue`] refuses what would be wider by its name, and
//!   [`Envelopes::verify`] takes what all of the chain permit.
//! - A proof of possession is good for one request, once. Revoking an envelope revokes all that stand on it.
//! - Secrets are in files of mode 0600, API keys as digests only; a file appears whole and durable, or not at all.
//! - Everything is bounded, by the names below (I15). Time is given, never asked for.
//!
//! What it cannot find alone: a whole file that was put back to an older state. The files must be on a local file system.
//!
//! Deliberately absent: HTTP servers, TLS servers, logins of people, and what a scope means (policy knows).

mod algorithm;
mod api_key;
mod api_keys;
mod caller;
mod callers;
mod certificate;
mod config;
mod envelope;
mod envelopes;
mod https;
mod issuer;
mod jwks;
mod jws;
mod jwt;
mod kept;
mod key_cache;
mod key_tokens;
mod limits;
mod lines;
mod names;
mod proof;
mod random;
mod refusal;
mod replay;
mod revocations;
mod role;
mod signing_key;
mod source;

pub use casemate_model::{Authenticator, Bounds, Delegator};

pub use self::{
    algorithm::Algorithm,
    api_key::API_KEY_PREFIX,
    api_keys::{ApiKey, ApiKeys, NewApiKey},
    caller::{Caller, LocalUser},
    callers::{Callers, CallersError, Credential, Remembered, keys_in, read_config},
    certificate::{CertRule, CertRules, from_certificate},
    config::ConfigFault,
    envelopes::{Envelopes, Issued, Wanted},
    https::HttpsSource,
    issuer::{ConfigError, IssuerConfig},
    jwks::JwksError,
    jwt::JwtVerifier,
    kept::KeptError,
    key_tokens::{KEY_TOKEN_PREFIX, KeyToken},
    limits::{
        DEFAULT_LEEWAY_S, EXPIRED_KEPT_MS, FETCH_TIMEOUT_MS, KEYS_KEPT_MS, LOCK_WAIT_MS,
        MAX_API_KEY_FILE_BYTES, MAX_API_KEY_TTL_MS, MAX_API_KEYS, MAX_AUDIENCES, MAX_BOUND_NAMES,
        MAX_CERTIFICATE_BYTES, MAX_CERTIFICATE_NAMES, MAX_CERTIFICATE_RULES, MAX_CONFIG_BYTES,
        MAX_ENVELOPE_BYTES, MAX_ENVELOPE_DEPTH, MAX_ENVELOPE_TTL_MS, MAX_HOLDER_PROOFS,
        MAX_ISSUERS, MAX_JSON_DEPTH, MAX_JSON_MEMBERS, MAX_JWKS_BYTES, MAX_JWKS_KEYS,
        MAX_KEY_TOKEN_TTL_MS, MAX_KID_BYTES, MAX_LEEWAY_S, MAX_NAME_BYTES, MAX_PROOF_BYTES,
        MAX_PROOFS, MAX_REVOCATION_FILE_BYTES, MAX_REVOCATIONS, MAX_ROLE_CLAIMS, MAX_SCOPE_BYTES,
        MAX_SCOPES, MAX_TENANT_API_KEYS, MAX_TENANT_REVOCATIONS, MAX_TOKEN_BYTES, PROOF_ID_BYTES,
        PROOF_SKEW_MS, REFRESH_AFTER_MS, REFRESH_INTERVAL_MS,
    },
    proof::{HolderKey, HolderPublic, Target},
    refusal::{Refusal, RefusalCode},
    replay::{MemoryReplayGuard, ReplayGuard, UsedProof},
    role::{Permission, Role},
    source::{FileSource, KeySource, KeySourceError},
};

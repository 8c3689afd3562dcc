//! Why somebody is not believed.

use std::sync::Arc;

use casemate_model::words;

use crate::{KeptError, KeySourceError, Permission};

words! {
    /// The stable names of refusals.
    RefusalCode {
        /// More bytes than any good one has.
        TooLarge = "credential_too_large",
        /// Not of the form that it should have.
        Malformed = "malformed_credential",
        /// A member is there twice: two readers could read two things.
        Duplicate = "duplicate_claim",
        /// A header that would choose keys or rules.
        Header = "header_not_allowed",
        /// A token of another kind.
        Type = "wrong_token_type",
        /// No algorithm that is allowed, or not the key's.
        Algorithm = "algorithm_not_allowed",
        /// The key is not named.
        MissingKeyId = "missing_key_id",
        /// No such key.
        UnknownKey = "unknown_key",
        /// The keys of the issuer cannot be had.
        KeysUnavailable = "keys_unavailable",
        /// Not what the key signed.
        Signature = "bad_signature",
        /// Nobody whom this gateway believes.
        Issuer = "unknown_issuer",
        /// Meant for another service.
        Audience = "wrong_audience",
        /// A tenant for which the issuer may not speak.
        Tenant = "tenant_boundary",
        /// Something is not said that must be.
        MissingClaim = "missing_claim",
        /// Something is said in a form that it cannot have.
        InvalidClaim = "invalid_claim",
        /// It has ended.
        Expired = "expired_token",
        /// It has not begun.
        NotYet = "not_yet_valid",
        /// It comes from the future.
        Future = "issued_in_future",
        /// The checksum of an API key is wrong.
        Mistyped = "mistyped_key",
        /// It was taken back.
        Revoked = "revoked",
        /// A file that must be read cannot be.
        Store = "store_unavailable",
        /// No rule says who this certificate is.
        NoRule = "no_certificate_rule",
        /// It says more than one thing about who it is.
        Ambiguous = "ambiguous_certificate",
        /// Not a certificate of a client.
        NotAClient = "not_a_client_certificate",
        /// The roles of the caller do not permit it.
        NotPermitted = "not_permitted",
        /// More than the parent has.
        Wider = "wider_than_parent",
        /// Too many envelopes on each other.
        TooDeep = "too_deep",
        /// Envelopes that do not stand on each other.
        Chain = "broken_chain",
        /// A proof of something else.
        Proof = "proof_mismatch",
        /// A proof that is too old or too new.
        StaleProof = "stale_proof",
        /// A proof that was used before.
        Replayed = "replayed_proof",
        /// Nothing more can be remembered.
        Full = "replay_guard_full",
        /// The tenant has as many as it may have.
        Quota = "tenant_quota",
        /// The system gave no random bytes.
        Random = "no_randomness",
        /// Whatever looked for who calls has died.
        Died = "prover_unavailable",
        /// Nothing proves who calls.
        Missing = "missing_credential",
        /// More than one thing says who calls.
        Several = "several_credentials",
    }
}

/// Why somebody is not believed. No message carries a secret, or text by somebody who is not proven.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// More bytes than any good one has.
    #[error("it has more than {0} bytes")]
    TooLarge(usize),
    /// Not of the form that it should have.
    #[error("the {0} is malformed")]
    Malformed(&'static str),
    /// A member is there twice.
    #[error("the {0} says something twice")]
    Duplicate(&'static str),
    /// A header that would choose keys or rules.
    #[error("a token with the header `{0}` is not accepted")]
    Header(&'static str),
    /// A token of another kind.
    #[error("the type of the token (`typ`) is none that is accepted here")]
    Type,
    /// No algorithm that is allowed, or not the key's.
    #[error("the algorithm of the token (`alg`) is not allowed here, or is not its key's")]
    Algorithm,
    /// The key is not named.
    #[error("the token does not name its key (`kid`)")]
    MissingKeyId,
    /// No such key.
    #[error("no key has this name")]
    UnknownKey,
    /// The keys of the issuer cannot be had.
    #[error("the keys of the issuer cannot be had")]
    KeysUnavailable(#[source] Arc<KeySourceError>),
    /// Not what the key signed.
    #[error("the signature is not the key's")]
    Signature,
    /// Nobody whom this gateway believes.
    #[error("this gateway does not believe the issuer")]
    Issuer,
    /// Meant for another service.
    #[error("it is meant for another audience")]
    Audience,
    /// A tenant for which the issuer may not speak.
    #[error("the issuer may not speak for this tenant")]
    Tenant,
    /// Something is not said that must be.
    #[error("the claim `{0}` is missing")]
    MissingClaim(&'static str),
    /// Something is said in a form that it cannot have.
    #[error("the value of `{0}` has not the form that it must have")]
    Claim(&'static str),
    /// It has ended.
    #[error("it has expired")]
    Expired,
    /// It has not begun.
    #[error("it is not valid yet")]
    NotYet,
    /// It comes from the future.
    #[error("it says that it was issued in the future: check the clocks")]
    Future,
    /// The checksum of an API key is wrong.
    #[error("the API key is mistyped: its checksum is wrong")]
    Mistyped,
    /// It was taken back.
    #[error("it was revoked")]
    Revoked,
    /// A file that must be read cannot be.
    #[error("what is known of credentials cannot be read or written")]
    Store(#[source] Arc<KeptError>),
    /// No rule says who this certificate is.
    #[error("no rule names a name in this certificate")]
    NoRule,
    /// It says more than one thing about who it is.
    #[error("the certificate names more than one caller")]
    Ambiguous,
    /// Not a certificate of a client.
    #[error("the certificate is an authority's, or not for clients")]
    NotAClient,
    /// The roles of the caller do not permit it.
    #[error("none of the caller's roles may `{0}`")]
    NotPermitted(Permission),
    /// More than the parent has.
    #[error("the {what} `{value}` is more than the parent has")]
    Wider {
        /// Of what.
        what: &'static str,
        /// Which.
        value: String,
    },
    /// Too many envelopes on each other.
    #[error("authority was given on too many times")]
    TooDeep,
    /// Envelopes that do not stand on each other.
    #[error("the envelopes do not stand on each other")]
    Chain,
    /// A proof of something else.
    #[error("the proof is of another envelope or another request")]
    Proof,
    /// A proof that is too old or too new.
    #[error(
        "the proof was made too long ago, in the future, or before this gateway started: make a new one"
    )]
    StaleProof,
    /// A proof that was used before.
    #[error("the proof was used before")]
    Replayed,
    /// Nothing more can be remembered.
    #[error("too many proofs are remembered: try again in two minutes")]
    Full,
    /// The tenant has as many as it may have.
    #[error("the tenant has {max} {what}, and may not have more")]
    Quota {
        /// Of what.
        what: &'static str,
        /// How many it may have.
        max: usize,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
    /// Whatever looked for who calls has died.
    #[error("who calls could not be looked at")]
    Died,
    /// Nothing proves who calls.
    #[error("nothing proves who calls")]
    Missing,
    /// More than one thing says who calls.
    #[error("more than one credential says who calls: send one")]
    Several,
}

impl Refusal {
    /// Whether it says nothing of who calls: what would tell cannot be had now, and may be later.
    #[must_use]
    pub const fn passes(&self) -> bool {
        matches!(
            self,
            Self::KeysUnavailable(_) | Self::Store(_) | Self::Full | Self::Random | Self::Died
        )
    }

    /// The stable name.
    #[must_use]
    pub const fn code(&self) -> RefusalCode {
        match self {
            Self::TooLarge(_) => RefusalCode::TooLarge,
            Self::Malformed(_) => RefusalCode::Malformed,
            Self::Duplicate(_) => RefusalCode::Duplicate,
            Self::Header(_) => RefusalCode::Header,
            Self::Type => RefusalCode::Type,
            Self::Algorithm => RefusalCode::Algorithm,
            Self::MissingKeyId => RefusalCode::MissingKeyId,
            Self::UnknownKey => RefusalCode::UnknownKey,
            Self::KeysUnavailable(_) => RefusalCode::KeysUnavailable,
            Self::Signature => RefusalCode::Signature,
            Self::Issuer => RefusalCode::Issuer,
            Self::Audience => RefusalCode::Audience,
            Self::Tenant => RefusalCode::Tenant,
            Self::MissingClaim(_) => RefusalCode::MissingClaim,
            Self::Claim(_) => RefusalCode::InvalidClaim,
            Self::Expired => RefusalCode::Expired,
            Self::NotYet => RefusalCode::NotYet,
            Self::Future => RefusalCode::Future,
            Self::Mistyped => RefusalCode::Mistyped,
            Self::Revoked => RefusalCode::Revoked,
            Self::Store(_) => RefusalCode::Store,
            Self::NoRule => RefusalCode::NoRule,
            Self::Ambiguous => RefusalCode::Ambiguous,
            Self::NotAClient => RefusalCode::NotAClient,
            Self::NotPermitted(_) => RefusalCode::NotPermitted,
            Self::Wider { .. } => RefusalCode::Wider,
            Self::TooDeep => RefusalCode::TooDeep,
            Self::Chain => RefusalCode::Chain,
            Self::Proof => RefusalCode::Proof,
            Self::StaleProof => RefusalCode::StaleProof,
            Self::Replayed => RefusalCode::Replayed,
            Self::Full => RefusalCode::Full,
            Self::Quota { .. } => RefusalCode::Quota,
            Self::Random => RefusalCode::Random,
            Self::Died => RefusalCode::Died,
            Self::Missing => RefusalCode::Missing,
            Self::Several => RefusalCode::Several,
        }
    }
}

impl From<KeptError> for Refusal {
    fn from(error: KeptError) -> Self {
        Self::Store(Arc::new(error))
    }
}

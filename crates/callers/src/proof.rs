//! Proofs that somebody holds the key of an envelope, made for one request each.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use casemate_model::Digest;
use serde::{Deserialize, Serialize};

use crate::{
    Refusal, UsedProof, jws,
    limits::{MAX_PROOF_BYTES, PROOF_ID_BYTES, PROOF_SKEW_MS},
    random::{self, hex},
    signing_key::SigningKey,
};

/// The `typ` of proofs.
const TYPE: &str = "casemate-proof+jwt";

/// The public key of the one who may use an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolderPublic([u8; 32]);

/// The key of the one who may use an envelope. It stays with its holder.
#[derive(Debug)]
pub struct HolderKey(SigningKey);

/// For what a proof is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// One HTTP request.
    Request {
        /// Its method, in capitals.
        method: &'a str,
        /// Its path with the query, as it is sent.
        path: &'a str,
    },
    /// One call, by the digest of its canonical form.
    Call(Digest),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    jti: String,
    /// In seconds.
    iat: u64,
    /// The digest of the text of the envelope.
    ath: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    htm: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    htu: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    call: Option<Digest>,
}

impl HolderPublic {
    /// The key of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of the member `x` of a JWK (RFC 8037).
    #[must_use]
    pub fn from_x(x: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(x).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// The member `x` of a JWK.
    #[must_use]
    pub fn to_x(self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl HolderKey {
    /// A new key.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate() -> Result<Self, Refusal> {
        let seed = zeroize::Zeroizing::new(random::bytes()?);
        Self::from_seed(&seed)
    }

    /// The key made from `seed`, for a holder that outlives its process.
    ///
    /// # Errors
    /// When the library refuses the seed.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, Refusal> {
        let key = SigningKey::from_seed(seed).map(Self);
        key.ok_or(Refusal::Malformed("seed"))
    }

    /// The key that an envelope names.
    #[must_use]
    pub const fn public(&self) -> HolderPublic {
        HolderPublic(self.0.public)
    }

    /// A proof for one request with `envelope`.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn prove(
        &self,
        envelope: &str,
        target: &Target<'_>,
        now_ms: u64,
    ) -> Result<String, Refusal> {
        let (htm, htu, call) = match *target {
            Target::Request { method, path } => {
                (Some(method.to_owned()), Some(path.to_owned()), None)
            }
            Target::Call(digest) => (None, None, Some(digest)),
        };
        let payload = Payload {
            jti: hex(&random::bytes::<16>()?),
            iat: now_ms / 1_000,
            ath: Digest::of(envelope.as_bytes()),
            htm,
            htu,
            call,
        };
        jws::sign(TYPE, None, &payload, &self.0.pair)
    }
}

/// Checks that `proof` was made by `holder` for this envelope and target about now. Whether it was used before is for
/// the replay guard to say.
pub(crate) fn check(
    proof: &str,
    holder: HolderPublic,
    envelope: &str,
    target: &Target<'_>,
    now_ms: u64,
) -> Result<UsedProof, Refusal> {
    let payload: Payload = jws::verify_ours(proof, MAX_PROOF_BYTES, TYPE, None, holder.as_bytes())?;
    let meant = match *target {
        Target::Request { method, path } => {
            payload.htm.as_deref() == Some(method)
                && payload.htu.as_deref() == Some(path)
                && payload.call.is_none()
        }
        Target::Call(digest) => {
            payload.call == Some(digest) && payload.htm.is_none() && payload.htu.is_none()
        }
    };
    if !meant || payload.ath != Digest::of(envelope.as_bytes()) {
        return Err(Refusal::Proof);
    }
    let issued_ms = payload.iat.saturating_mul(1_000);
    if now_ms.abs_diff(issued_ms) > PROOF_SKEW_MS {
        return Err(Refusal::StaleProof);
    }
    if !PROOF_ID_BYTES.contains(&payload.jti.len()) {
        return Err(Refusal::Claim("jti"));
    }
    Ok(UsedProof {
        holder,
        id: Digest::of(payload.jti.as_bytes()),
        issued_ms,
    })
}

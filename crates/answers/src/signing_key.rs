//! The keys by which messages of Standard Webhooks are signed.

use std::{fmt, str::FromStr};

use aws_lc_rs::{
    hmac,
    rand::fill,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use crate::{
    WebhookKey,
    message::{ASYMMETRIC, signed_text},
};

/// What the text of a shared secret begins with.
const SYMMETRIC_HEAD: &str = "whsec_";
/// What the text of a private key begins with: seed and public key follow.
const ASYMMETRIC_HEAD: &str = "whsk_";
/// Bytes of a shared secret (Standard Webhooks: 192 to 512 bits).
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
const SEED_BYTES: usize = 32;

/// A key that signs messages: a secret that the receiver has too (`whsec_…`), or a private key (`whsk_…`).
pub struct SigningKey(Kind);

enum Kind {
    Symmetric(Box<hmac::Key>),
    Asymmetric {
        pair: Ed25519KeyPair,
        seed: Zeroizing<[u8; SEED_BYTES]>,
    },
}

/// Why there is no such key. Nothing of it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigningKeyError {
    /// It is something else.
    #[error(
        "it is not a key of Standard Webhooks: expected `whsec_` and 24 to 64 bytes, or `whsk_` and 64 bytes, in base64"
    )]
    Malformed,
    /// There is no randomness.
    #[error("there are no random bytes for a new key")]
    Random,
}

impl SigningKey {
    /// A new private key.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate() -> Result<Self, SigningKeyError> {
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        fill(seed.as_mut_slice()).map_err(|_| SigningKeyError::Random)?;
        Self::from_seed(seed)
    }

    fn from_seed(seed: Zeroizing<[u8; SEED_BYTES]>) -> Result<Self, SigningKeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice());
        let pair = pair.map_err(|_| SigningKeyError::Malformed)?;
        Ok(Self(Kind::Asymmetric { pair, seed }))
    }

    /// The value of `webhook-signature` for a message.
    #[must_use]
    pub fn sign(&self, id: &str, at_s: u64, body: &[u8]) -> String {
        let signed = signed_text(id, &at_s.to_string(), body);
        match &self.0 {
            Kind::Symmetric(key) => {
                let tag = hmac::sign(key, &signed);
                format!("v1,{}", BASE64_STANDARD.encode(tag.as_ref()))
            }
            Kind::Asymmetric { pair, .. } => {
                let signature = BASE64_STANDARD.encode(pair.sign(&signed).as_ref());
                format!("{ASYMMETRIC}{signature}")
            }
        }
    }

    /// The key by which anybody can verify what this one signs, if it is no shared secret.
    #[must_use]
    pub fn public(&self) -> Option<WebhookKey> {
        match &self.0 {
            Kind::Symmetric(_) => None,
            Kind::Asymmetric { pair, .. } => {
                let key = pair.public_key().as_ref().try_into().ok()?;
                Some(WebhookKey::new(key))
            }
        }
    }

    /// The text of a private key; a shared secret is not given out again.
    #[must_use]
    pub fn secret_text(&self) -> Option<Zeroizing<String>> {
        let Kind::Asymmetric { pair, seed } = &self.0 else {
            return None;
        };
        let mut bytes = Zeroizing::new(seed.to_vec());
        bytes.extend_from_slice(pair.public_key().as_ref());
        let text = Zeroizing::new(BASE64_STANDARD.encode(&*bytes));
        Some(Zeroizing::new(format!("{ASYMMETRIC_HEAD}{}", &*text)))
    }
}

impl FromStr for SigningKey {
    type Err = SigningKeyError;

    fn from_str(text: &str) -> Result<Self, SigningKeyError> {
        let malformed = SigningKeyError::Malformed;
        let decoded = |text: &str| BASE64_STANDARD.decode(text).map(Zeroizing::new);
        if let Some(secret) = text.strip_prefix(SYMMETRIC_HEAD) {
            let secret = decoded(secret).map_err(|_| malformed)?;
            if !SECRET_BYTES.contains(&secret.len()) {
                return Err(malformed);
            }
            let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
            return Ok(Self(Kind::Symmetric(Box::new(key))));
        }
        let key = text.strip_prefix(ASYMMETRIC_HEAD).ok_or(malformed)?;
        let key = decoded(key).map_err(|_| malformed)?;
        let (seed, public) = key.split_first_chunk::<SEED_BYTES>().ok_or(malformed)?;
        let read = Self::from_seed(Zeroizing::new(*seed))?;
        // Its second half is the check that the first is as it was.
        match &read.0 {
            Kind::Asymmetric { pair, .. } if pair.public_key().as_ref() == public => Ok(read),
            _ => Err(malformed),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Symmetric(_) => "SigningKey(shared)",
            Kind::Asymmetric { .. } => "SigningKey(private)",
        })
    }
}

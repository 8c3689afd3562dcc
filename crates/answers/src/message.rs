//! Messages of Standard Webhooks, as they come: signed by one Ed25519 key (`v1a`).

use std::{fmt, str::FromStr};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use crate::limits::{MAX_ANSWER_BYTES, MAX_ID_BYTES, MAX_TIME_OFF_S};

/// What the text of a public key begins with.
const HEAD: &str = "whpk_";
/// What an asymmetric signature begins with.
pub(crate) const ASYMMETRIC: &str = "v1a,";
const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
/// The digits of a time in seconds until the year 2286 and far beyond.
const MAX_TIME_DIGITS: usize = 12;

/// A message: three headers and a body, as they came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`: seconds since 1970.
    pub timestamp: String,
    /// `webhook-signature`.
    pub signature: String,
    /// The body.
    pub body: String,
}

/// The key of a service, in text `whpk_` and base64.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WebhookKey([u8; KEY_BYTES]);

/// Why a text is no key of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not the public key of a webhook: expected `whpk_` and 32 bytes in base64")]
pub struct WebhookKeyError;

/// Why a message does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// A header is missing, there twice, or something else.
    #[error("the header `{0}` is missing, is there more than once, or is not of Standard Webhooks")]
    Header(&'static str),
    /// Several signatures.
    #[error("the message has several signatures: an answer has one, of whoever gives it")]
    Signatures,
    /// Not an asymmetric signature.
    #[error(
        "the message is not signed with `v1a` (Ed25519): a shared secret proves nothing to others"
    )]
    Version,
    /// The body is too large.
    #[error("the body has more than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
    /// Too old, or of a time that is to come.
    #[error(
        "the time of the message is more than {MAX_TIME_OFF_S} seconds off: set the clock right and send it anew"
    )]
    Time,
    /// Not signed by this key.
    #[error("the message is not signed by the key of an enlisted service, or was changed")]
    Signature,
}

impl Message {
    /// The signature, if this is a message of about now.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn check(&self, now_ms: u64) -> Result<Checked<'_>, MessageError> {
        // With a dot in it, the name could end elsewhere.
        let odd = |c: char| c.is_control() || c.is_whitespace() || c == '.';
        if !(1..=MAX_ID_BYTES).contains(&self.id.len()) || self.id.contains(odd) {
            return Err(MessageError::Header("webhook-id"));
        }
        let digits = self.timestamp.bytes().all(|b| b.is_ascii_digit());
        let at_s: Option<u64> = self.timestamp.parse().ok();
        let at_s = at_s.filter(|_| digits && self.timestamp.len() <= MAX_TIME_DIGITS);
        let at_s = at_s.ok_or(MessageError::Header("webhook-timestamp"))?;
        if self.signature.contains(' ') {
            return Err(MessageError::Signatures);
        }
        if self.signature.is_empty() {
            return Err(MessageError::Header("webhook-signature"));
        }
        let signature = self.signature.strip_prefix(ASYMMETRIC);
        let signature = BASE64_STANDARD.decode(signature.ok_or(MessageError::Version)?);
        let signature = signature.ok().and_then(|bytes| bytes.try_into().ok());
        let signature = signature.ok_or(MessageError::Header("webhook-signature"))?;
        if self.body.len() > MAX_ANSWER_BYTES {
            return Err(MessageError::TooLarge);
        }
        if (now_ms / 1_000).abs_diff(at_s) > MAX_TIME_OFF_S {
            return Err(MessageError::Time);
        }
        let signed = signed_text(&self.id, &self.timestamp, self.body.as_bytes());
        Ok(Checked {
            body: &self.body,
            signed,
            signature,
        })
    }
}

/// A message of about now, whose signature nobody has looked at.
#[derive(Debug)]
pub struct Checked<'m> {
    body: &'m str,
    signed: Vec<u8>,
    signature: [u8; SIGNATURE_BYTES],
}

impl<'m> Checked<'m> {
    /// The body, if this key signed the message.
    #[must_use]
    pub fn by(&self, key: &WebhookKey) -> Option<&'m str> {
        let key = UnparsedPublicKey::new(&ED25519, &key.0);
        let good = key.verify(&self.signed, &self.signature).is_ok();
        good.then_some(self.body)
    }
}

/// What is signed of a message.
pub(crate) fn signed_text(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

impl WebhookKey {
    /// Whether a text means to be a key of a service.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(HEAD)
    }

    /// The bytes of the key alone.
    #[must_use]
    pub const fn key_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) const fn new(key: [u8; KEY_BYTES]) -> Self {
        Self(key)
    }
}

impl fmt::Display for WebhookKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HEAD}{}", BASE64_STANDARD.encode(self.0))
    }
}

impl fmt::Debug for WebhookKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for WebhookKey {
    type Err = WebhookKeyError;

    fn from_str(text: &str) -> Result<Self, WebhookKeyError> {
        let key = text.strip_prefix(HEAD).ok_or(WebhookKeyError)?;
        let key = BASE64_STANDARD.decode(key).map_err(|_| WebhookKeyError)?;
        Ok(Self(key.try_into().map_err(|_| WebhookKeyError)?))
    }
}

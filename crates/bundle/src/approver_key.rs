//! The keys by which people and services answer, in the text forms in which they are enlisted.

use std::{fmt, str::FromStr};

use casemate_answers::{Passkey, PasskeyError, WebhookKey, WebhookKeyError};

use crate::{KeyError, PublicKey};

/// A key by which somebody answers. What its text begins with says of which kind it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApproverKey {
    /// Signs notes: `name+id+base64`.
    Note(PublicKey),
    /// A passkey: `passkey:…`.
    Passkey(Passkey),
    /// Signs messages: `whpk_…`.
    Webhook(WebhookKey),
}

/// Why a text is no key by which somebody could answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApproverKeyError {
    /// Not a key for notes, which is what a text is that is nothing else.
    #[error(transparent)]
    Note(#[from] KeyError),
    /// Not a passkey.
    #[error(transparent)]
    Passkey(#[from] PasskeyError),
    /// Not the key of a service.
    #[error(transparent)]
    Webhook(#[from] WebhookKeyError),
}

impl ApproverKey {
    /// Whether one person may have only one of these two.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Whether both are the same key, however it is enlisted: by another name, in another form, for more places. A credential
    /// is one key, too.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same_credential = match (self, other) {
            (Self::Passkey(one), Self::Passkey(other)) => one.credential() == other.credential(),
            _ => false,
        };
        same_credential || self.bytes() == other.bytes()
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Note(key) => key.key_bytes(),
            Self::Passkey(key) => key.key_bytes(),
            Self::Webhook(key) => key.key_bytes(),
        }
    }
}

impl fmt::Display for ApproverKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(key) => key.fmt(f),
            Self::Passkey(key) => key.fmt(f),
            Self::Webhook(key) => fmt::Display::fmt(key, f),
        }
    }
}

impl FromStr for ApproverKey {
    type Err = ApproverKeyError;

    fn from_str(text: &str) -> Result<Self, ApproverKeyError> {
        if Passkey::is_meant(text) {
            return Ok(Self::Passkey(text.parse()?));
        }
        if WebhookKey::is_meant(text) {
            return Ok(Self::Webhook(text.parse()?));
        }
        Ok(Self::Note(text.parse()?))
    }
}

//! The file of one credential: what is said of it in clear, and its secrets, sealed and bound to that.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use casemate_store::{CryptoError, KeyProvider, seal_record, unseal_record};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Handle, Kind, Secrets, limits::MAX_RECORD_BYTES};

/// The form of these files.
const FORMAT: u8 = 1;

/// What is said of a credential in clear. Its secrets are bound to all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub(crate) format: u8,
    /// Its handle.
    pub handle: Handle,
    /// What it is.
    pub kind: Kind,
    /// Goes up by one with each change but the mark that it was seen, and never down.
    pub version: u64,
    /// Whether it can be used.
    pub state: State,
    /// Its secret was seen in an answer: it must be rotated.
    pub reflected: bool,
    /// When it was added, in milliseconds since 1970.
    pub added_at_ms: u64,
    /// When its secret was given last, by a person or an issuer.
    pub renewed_at_ms: u64,
}

/// Whether a credential can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Yes.
    Active,
    /// Its issuer does not take it any more: a person has to give a new one.
    Quarantined,
    /// It was taken back: its secret is destroyed.
    Revoked,
}

impl State {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Quarantined => "quarantined",
            Self::Revoked => "revoked",
        }
    }
}

impl Header {
    /// Of a new credential.
    pub(crate) const fn new(handle: Handle, kind: Kind, now_ms: u64) -> Self {
        Self {
            format: FORMAT,
            handle,
            kind,
            version: 1,
            state: State::Active,
            reflected: false,
            added_at_ms: now_ms,
            renewed_at_ms: now_ms,
        }
    }
}

/// A file of a credential.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) header: Header,
    /// Nothing once it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
}

/// Why the file of a credential cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is no such file.
    #[error(
        "it is not the file of a credential: restore it from a backup, or add the credential anew"
    )]
    Form,
    /// Its secrets cannot be put into JSON.
    #[error("its secrets cannot be written")]
    Encode(#[source] serde_json::Error),
    /// The cipher or the key provider refused.
    #[error(
        "its secrets cannot be sealed or read: restore it and the provider key from the same backup"
    )]
    Crypto(#[source] CryptoError),
}

impl Record {
    /// A record, sealed.
    pub(crate) fn seal(
        header: Header,
        secrets: Option<&Secrets>,
        provider: &dyn KeyProvider,
    ) -> Result<Self, RecordError> {
        let sealed = match secrets {
            None => None,
            Some(secrets) => {
                let mut plain = Zeroizing::new(Vec::with_capacity(secrets.room()));
                serde_json::to_writer(&mut *plain, secrets).map_err(RecordError::Encode)?;
                let sealed = seal_record(provider, &aad(&header)?, &plain);
                Some(STANDARD.encode(sealed.map_err(RecordError::Crypto)?))
            }
        };
        Ok(Self { header, sealed })
    }

    /// Reads a file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let record: Self = serde_json::from_slice(bytes).map_err(|_| RecordError::Form)?;
        if record.header.format != FORMAT || bytes.len() as u64 > MAX_RECORD_BYTES {
            return Err(RecordError::Form);
        }
        Ok(record)
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, RecordError> {
        serde_json::to_vec_pretty(self).map_err(RecordError::Encode)
    }

    /// Its secrets, if it still has any.
    pub(crate) fn open(&self, provider: &dyn KeyProvider) -> Result<Option<Secrets>, RecordError> {
        let Some(sealed) = &self.sealed else {
            return Ok(None);
        };
        let sealed = STANDARD.decode(sealed).map_err(|_| RecordError::Form)?;
        let plain = unseal_record(provider, &aad(&self.header)?, &sealed);
        let plain = plain.map_err(RecordError::Crypto)?;
        serde_json::from_slice(&plain)
            .map(Some)
            .map_err(|_| RecordError::Form)
    }
}

/// Everything in clear: whoever changes a word of it, or puts the secrets elsewhere, has no secrets.
fn aad(header: &Header) -> Result<Vec<u8>, RecordError> {
    serde_json::to_vec(header).map_err(RecordError::Encode)
}

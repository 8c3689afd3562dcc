//! A key by which this gateway signs what it gives out: envelopes, and tokens for API keys.

use std::{fmt, path::Path};

use aws_lc_rs::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use casemate_model::Digest;
use zeroize::Zeroizing;

use crate::{
    KeptError, Refusal, kept,
    limits::MAX_KEY_FILE_BYTES,
    random::{self, from_hex, hex},
};

const PREFIX: &str = "casemate-envelope-key ";
const SEED_BYTES: usize = 32;
/// What the key for marks is for.
const MARKS: &str = "casemate envelope marks 1";
/// Hex digits of the digest of a public key in its name.
const KID_DIGITS: usize = 32;

/// An Ed25519 key with its public part and its name.
pub(crate) struct SigningKey {
    pub(crate) pair: Ed25519KeyPair,
    pub(crate) public: [u8; 32],
    pub(crate) kid: String,
    /// For what nobody but this gateway can have written, and is too short for a signature.
    marks: hmac::Key,
}

impl SigningKey {
    /// The key in the file at `path`, made if there is none. Nobody else may have access to it.
    pub(crate) fn open(path: &Path) -> Result<Self, Refusal> {
        let content = kept::read_or_make(path, MAX_KEY_FILE_BYTES, || {
            let seed = Zeroizing::new(random::bytes::<SEED_BYTES>()?);
            let digits = Zeroizing::new(hex(seed.as_slice()));
            let text = format!("{PREFIX}{}\n", *digits);
            Ok::<_, Refusal>(Zeroizing::new(text.into_bytes()))
        })?;
        let seed = std::str::from_utf8(&content)
            .ok()
            .and_then(|text| text.strip_prefix(PREFIX)?.strip_suffix('\n'))
            .and_then(from_hex::<SEED_BYTES>)
            .map(Zeroizing::new);
        seed.and_then(|seed| Self::from_seed(&seed)).ok_or_else(|| {
            let path = path.to_owned();
            KeptError::Corrupt { path, line: 1 }.into()
        })
    }

    pub(crate) fn from_seed(seed: &[u8; SEED_BYTES]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let public: [u8; 32] = pair.public_key().as_ref().try_into().ok()?;
        let kid = hex(Digest::of(&public).as_bytes());
        // Another key, which says nothing of the seed.
        let seed = hmac::Key::new(hmac::HMAC_SHA256, seed);
        let marks = hmac::sign(&seed, MARKS.as_bytes());
        Some(Self {
            marks: hmac::Key::new(hmac::HMAC_SHA256, marks.as_ref()),
            pair,
            public,
            kid: kid.chars().take(KID_DIGITS).collect(),
        })
    }

    /// The first `digits` hex digits of a code for `text` that nobody else can make.
    pub(crate) fn mark(&self, text: &str, digits: usize) -> String {
        let code = hex(hmac::sign(&self.marks, text.as_bytes()).as_ref());
        code.chars().take(digits).collect()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.kid).finish()
    }
}

//! A passkey as it is enlisted: which credential, by which key, from where.

use std::{fmt, str::FromStr};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, VerificationAlgorithm,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::limits::{MAX_CREDENTIAL_BYTES, MAX_ORIGINS, MAX_PASSKEY_BYTES};

/// What the text of a passkey begins with.
const HEAD: &str = "passkey:";
const ED25519_BYTES: usize = 32;
/// An uncompressed point of P-256.
const P256_BYTES: usize = 65;
/// The longest name of a host.
const MAX_HOST_BYTES: usize = 253;

/// A passkey, in text `passkey:ALGORITHM:RP-ID:CREDENTIAL:KEY:ORIGIN,…`, with credential and key in base64url.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Passkey {
    algorithm: Algorithm,
    rp_id: String,
    credential: Vec<u8>,
    key: Vec<u8>,
    origins: Vec<String>,
}

/// How a passkey signs: the two algorithms of WebAuthn that are not RSA and that everybody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Algorithm {
    Es256,
    EdDsa,
}

/// Why a text is no passkey that could be enlisted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasskeyError {
    /// It has another form.
    #[error(
        "it is not a passkey: expected `passkey:ALGORITHM:RP-ID:CREDENTIAL:KEY:ORIGIN`, as the page of approvals shows it"
    )]
    Malformed,
    /// Another algorithm.
    #[error("a passkey signs with ES256 or EdDSA, and not with `{0}`")]
    Algorithm(String),
    /// Not a host.
    #[error("`{0}` is not the name of a host in small letters")]
    RelyingParty(String),
    /// No name of a credential.
    #[error("the name of a credential is 1 to {MAX_CREDENTIAL_BYTES} bytes in base64url")]
    Credential,
    /// Not a key of the algorithm.
    #[error("the key is not a public key of its algorithm")]
    Key,
    /// Not a place from which the passkey could be used.
    #[error(
        "`{0}` is not an origin of the passkey: it is `https://` (or `http://` of localhost), its RP id or a name below it, and a port if \
         there is one; at most {MAX_ORIGINS}, each once"
    )]
    Origin(String),
}

impl Algorithm {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    fn library(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Es256 => &ECDSA_P256_SHA256_ASN1,
            Self::EdDsa => &ED25519,
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Es256, Self::EdDsa]
            .into_iter()
            .find(|algorithm| algorithm.as_str() == word)
    }

    const fn key_bytes(self) -> usize {
        match self {
            Self::Es256 => P256_BYTES,
            Self::EdDsa => ED25519_BYTES,
        }
    }
}

impl Passkey {
    /// Whether a text means to be a passkey.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(HEAD)
    }

    /// The name of its credential, in base64url.
    #[must_use]
    pub fn credential(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(&self.credential)
    }

    /// The bytes of the key alone, whatever it is called.
    #[must_use]
    pub fn key_bytes(&self) -> &[u8] {
        &self.key
    }

    /// For which host it was made.
    #[must_use]
    pub fn rp_id(&self) -> &str {
        &self.rp_id
    }

    /// From where it may be used.
    #[must_use]
    pub fn origins(&self) -> &[String] {
        &self.origins
    }

    /// Whether it signed `bytes`.
    pub(crate) fn signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        let key = ParsedPublicKey::new(self.algorithm.library(), &self.key);
        key.is_ok_and(|key| key.verify_sig(bytes, signature).is_ok())
    }
}

impl fmt::Display for Passkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{HEAD}{}:{}:{}:{}:{}",
            self.algorithm.as_str(),
            self.rp_id,
            self.credential(),
            BASE64_URL_SAFE_NO_PAD.encode(&self.key),
            self.origins.join(",")
        )
    }
}

impl FromStr for Passkey {
    type Err = PasskeyError;

    fn from_str(text: &str) -> Result<Self, PasskeyError> {
        if text.len() > MAX_PASSKEY_BYTES {
            return Err(PasskeyError::Malformed);
        }
        let parts = text.strip_prefix(HEAD).ok_or(PasskeyError::Malformed)?;
        let parts: Vec<_> = parts.splitn(5, ':').collect();
        let [algorithm, rp_id, credential, key, origins] = parts[..] else {
            return Err(PasskeyError::Malformed);
        };
        let algorithm = Algorithm::from_word(algorithm)
            .ok_or_else(|| PasskeyError::Algorithm(shown(algorithm)))?;
        if !is_host(rp_id) {
            return Err(PasskeyError::RelyingParty(shown(rp_id)));
        }
        let credential = BASE64_URL_SAFE_NO_PAD.decode(credential);
        let credential = credential.map_err(|_| PasskeyError::Credential)?;
        if !(1..=MAX_CREDENTIAL_BYTES).contains(&credential.len()) {
            return Err(PasskeyError::Credential);
        }
        let key = BASE64_URL_SAFE_NO_PAD.decode(key);
        let key = key.map_err(|_| PasskeyError::Key)?;
        // The library would also take other encodings of the same key: one key has one text.
        if key.len() != algorithm.key_bytes()
            || ParsedPublicKey::new(algorithm.library(), &key).is_err()
        {
            return Err(PasskeyError::Key);
        }
        let mut found: Vec<String> = Vec::new();
        for origin in origins.split(',') {
            let again = found.iter().any(|other| other == origin);
            if again || found.len() >= MAX_ORIGINS || !is_origin(origin, rp_id) {
                return Err(PasskeyError::Origin(shown(origin)));
            }
            found.push(origin.to_owned());
        }
        Ok(Self {
            algorithm,
            rp_id: rp_id.to_owned(),
            credential,
            key,
            origins: found,
        })
    }
}

/// A host as browsers write it: letters, digits and `-`, with dots between.
fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    text.len() <= MAX_HOST_BYTES && text.split('.').all(is_label)
}

/// An origin on which a browser lets a credential of `rp_id` be used (WebAuthn §5.1.4).
fn is_origin(text: &str, rp_id: &str) -> bool {
    let (secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return false,
    };
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    let is_port = |port: &str| {
        let number: Option<u16> = port.parse().ok();
        let standard = if secure { 443 } else { 80 };
        number.is_some_and(|number| number.to_string() == port && number != standard)
    };
    let below = host
        .strip_suffix(rp_id)
        .is_some_and(|above| above.is_empty() || above.ends_with('.'));
    let local = host == "localhost" || host.ends_with(".localhost");
    is_host(host) && below && (secure || local) && port.is_none_or(is_port)
}

/// The beginning of a text that somebody gave, for people.
fn shown(text: &str) -> String {
    text.chars()
        .take(100)
        .flat_map(char::escape_debug)
        .collect()
}

//! Signed checkpoints: a C2SP tlog-checkpoint in a C2SP signed note with an Ed25519 signature.

use std::{fmt, str::FromStr};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use casemate_model::Hasher;
use tlog_tiles::{Checkpoint, Hash};

use crate::{LedgerError, limits::MAX_ORIGIN_BYTES};

/// The C2SP signature type of Ed25519.
const ED25519_TYPE: u8 = 1;

/// What a signature line begins with: an em dash and a space.
const SIGNATURE_MARK: &str = "\u{2014} ";

/// The key that signs a log's checkpoints.
pub struct LogKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

/// The key that verifies a log, in text the C2SP verifier key `origin+id+base64`.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    origin: String,
    key: [u8; 32],
}

/// Why something is not a key.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// The name of the log cannot be written in a signed note.
    #[error(
        "`{0}` cannot name a log: use up to {MAX_ORIGIN_BYTES} bytes without spaces, `+` or \
             control characters"
    )]
    Origin(String),
    /// The seed makes no key.
    #[error("the seed is not an Ed25519 seed")]
    Seed,
    /// The text is not `origin+id+base64` of an Ed25519 key.
    #[error("`{0}` is not a public key: expected `origin+id+base64`")]
    Malformed(String),
    /// The id in the text is not the id of the key in the text.
    #[error("the public key `{0}` was changed: its id belongs to another key")]
    Id(String),
}

/// Why a text is not a checkpoint signed by a key.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoteError {
    /// Not a signed note at all.
    #[error("it is not a signed note")]
    Malformed,
    /// No signature by this key.
    #[error("it carries no signature of `{0}`")]
    OtherKey(String),
    /// A signature that does not fit the text.
    #[error("its text is not what `{0}` signed")]
    Signature(String),
    /// A signed text that is not a checkpoint of this log.
    #[error("it is not a checkpoint of this log")]
    Checkpoint,
}

/// What a signed checkpoint says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Signed {
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) extension: String,
}

impl LogKey {
    /// The key made from `seed`, which signs under the name `origin`. Needs no randomness.
    ///
    /// # Errors
    /// When the name cannot stand in a signed note.
    pub fn from_seed(seed: &[u8; 32], origin: &str) -> Result<Self, LedgerError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Seed)?;
        let key = pair.public_key().as_ref().try_into();
        let public = PublicKey::new(origin, key.map_err(|_| KeyError::Seed)?)?;
        Ok(Self { pair, public })
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public.clone()
    }

    /// The signed checkpoint of a tree. `extension` is empty or lines that end in a newline.
    pub(crate) fn sign(&self, size: u64, root: Hash, extension: &str) -> String {
        let body = format!("{}\n{size}\n{root}\n{extension}", self.public.origin);
        let mut signature = self.public.id().to_vec();
        signature.extend_from_slice(self.pair.sign(body.as_bytes()).as_ref());
        let signature = BASE64_STANDARD.encode(signature);
        format!(
            "{body}\n{SIGNATURE_MARK}{} {signature}\n",
            self.public.origin
        )
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogKey").field(&self.public).finish()
    }
}

impl PublicKey {
    fn new(origin: &str, key: [u8; 32]) -> Result<Self, KeyError> {
        let fits = (1..=MAX_ORIGIN_BYTES).contains(&origin.len());
        let odd = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if !fits || origin.contains(odd) {
            return Err(KeyError::Origin(start_of(origin)));
        }
        Ok(Self {
            origin: origin.to_owned(),
            key,
        })
    }

    /// The first four bytes of SHA-256(origin, newline, type, key).
    fn id(&self) -> [u8; 4] {
        let mut hasher = Hasher::default();
        hasher.update(self.origin.as_bytes());
        hasher.update(&[b'\n', ED25519_TYPE]);
        hasher.update(&self.key);
        let [a, b, c, d, ..] = *hasher.finish().as_bytes();
        [a, b, c, d]
    }

    /// Reads a checkpoint that carries this key's signature, and perhaps those of witnesses.
    pub(crate) fn open(&self, note: &str) -> Result<Signed, NoteError> {
        let (text, signatures) = split(note)?;
        self.check(text, signatures)?;
        let checkpoint =
            Checkpoint::from_bytes(text.as_bytes()).map_err(|_| NoteError::Checkpoint)?;
        if checkpoint.origin() != self.origin {
            return Err(NoteError::Checkpoint);
        }
        Ok(Signed {
            size: checkpoint.size(),
            root: *checkpoint.hash(),
            extension: checkpoint.extension().to_owned(),
        })
    }

    /// Reads a checkpoint exactly as [`LogKey::sign`] writes it: no byte of it is free.
    pub(crate) fn open_own(&self, note: &str) -> Result<Signed, NoteError> {
        let (_, signatures) = split(note)?;
        if signatures.lines().count() != 1 {
            return Err(NoteError::Malformed);
        }
        self.open(note)
    }

    fn check(&self, text: &str, signatures: &str) -> Result<(), NoteError> {
        for line in signatures.lines() {
            let (name, signature) = line
                .strip_prefix(SIGNATURE_MARK)
                .and_then(|line| line.split_once(' '))
                .ok_or(NoteError::Malformed)?;
            let signature = BASE64_STANDARD
                .decode(signature)
                .map_err(|_| NoteError::Malformed)?;
            let (id, signature) = signature
                .split_first_chunk::<4>()
                .ok_or(NoteError::Malformed)?;
            if name == self.origin && *id == self.id() {
                return UnparsedPublicKey::new(&ED25519, &self.key)
                    .verify(text.as_bytes(), signature)
                    .map_err(|_| NoteError::Signature(self.to_string()));
            }
        }
        Err(NoteError::OtherKey(self.to_string()))
    }
}

/// The text of a note, with its last newline, and its signature lines.
fn split(note: &str) -> Result<(&str, &str), NoteError> {
    let (text, signatures) = note.rsplit_once("\n\n").ok_or(NoteError::Malformed)?;
    let text = note.get(..=text.len()).ok_or(NoteError::Malformed)?;
    let odd = |c: char| c.is_control() && c != '\n';
    if !signatures.ends_with('\n') || note.contains(odd) {
        return Err(NoteError::Malformed);
    }
    Ok((text, signatures))
}

fn start_of(text: &str) -> String {
    text.chars().take(100).collect()
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(self.id());
        let mut key = vec![ED25519_TYPE];
        key.extend_from_slice(&self.key);
        write!(
            f,
            "{}+{id:08x}+{}",
            self.origin,
            BASE64_STANDARD.encode(key)
        )
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let malformed = || KeyError::Malformed(start_of(text));
        let mut parts = text.splitn(3, '+');
        let (Some(origin), Some(_id), Some(key)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed());
        };
        let key = BASE64_STANDARD.decode(key).map_err(|_| malformed())?;
        let key = match key.split_first() {
            Some((&ED25519_TYPE, key)) => key.try_into().map_err(|_| malformed())?,
            _ => return Err(malformed()),
        };
        let public = Self::new(origin, key)?;
        if public.to_string() != text {
            return Err(KeyError::Id(start_of(text)));
        }
        Ok(public)
    }
}

#[cfg(test)]
mod tests;

//! Ed25519 keys in the text forms of C2SP signed notes.

use std::{fmt, path::Path, str::FromStr};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use casemate_files::{FileError, Privacy, create_file, read_file};
use casemate_model::Hasher;
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::Zeroizing;

use crate::limits::{MAX_KEY_FILE_BYTES, MAX_KEY_NAME_BYTES};

/// The C2SP signature type of Ed25519.
const ED25519_TYPE: u8 = 1;
const SEED_BYTES: usize = 32;
/// How the text of a private key begins.
const PRIVATE: &str = "PRIVATE+KEY+";

/// A key that signs bundles, approvals or activations.
pub struct PolicyKey {
    pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; SEED_BYTES]>,
    public: PublicKey,
}

/// The key that verifies what a [`PolicyKey`] signed, in text the C2SP verifier key `name+id+base64`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey {
    name: String,
    key: [u8; 32],
}

/// Why something is not a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The name cannot stand in a signed note.
    #[error(
        "`{0}` cannot name a key: use up to {MAX_KEY_NAME_BYTES} bytes without spaces, `+` or control characters"
    )]
    Name(String),
    /// The kernel gave no random bytes.
    #[error("the kernel gave no random bytes")]
    Random(#[source] std::io::Error),
    /// The library refuses the seed.
    #[error("the seed is not an Ed25519 seed")]
    Seed,
    /// The text is not `name+id+base64` of an Ed25519 key.
    #[error("`{0}` is not a public key: expected `name+id+base64`")]
    Malformed(String),
    /// The id in the text is not the id of the key in the text.
    #[error("the public key `{0}` was changed: its id belongs to another key")]
    Id(String),
    /// The text of a private key is not one. Nothing of it is shown.
    #[error("it is not a private key: expected `{PRIVATE}name+id+base64`")]
    Private,
    /// The file of a key cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

impl PolicyKey {
    /// A new key, which signs under `name`.
    ///
    /// # Errors
    /// When the name cannot stand in a signed note, or the kernel gives no random bytes.
    pub fn generate(name: &str) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        match getrandom(seed.as_mut_slice(), GetRandomFlags::empty()) {
            Ok(SEED_BYTES) => Self::from_seed(&seed, name),
            Ok(_) => Err(KeyError::Random(std::io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(KeyError::Random(error.into())),
        }
    }

    /// The key made from `seed`. Needs no randomness.
    ///
    /// # Errors
    /// When the name cannot stand in a signed note.
    pub fn from_seed(seed: &[u8; SEED_BYTES], name: &str) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Seed)?;
        let key = pair.public_key().as_ref().try_into();
        let public = PublicKey::new(name, key.map_err(|_| KeyError::Seed)?)?;
        let seed = Zeroizing::new(*seed);
        Ok(Self { pair, seed, public })
    }

    /// The key in the file at `path`, which nobody but this user may read.
    ///
    /// # Errors
    /// When it cannot be read, others have access to it, or it holds no key.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let bytes = Zeroizing::new(read_file(path, MAX_KEY_FILE_BYTES, Privacy::Secret)?);
        Self::from_file(&bytes)
    }

    /// Writes the key to a new file at `path` with mode 0600, durably.
    ///
    /// # Errors
    /// When there is such a file, or it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        Ok(create_file(path, self.to_file().as_bytes())?)
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The key whose file has these bytes.
    pub(crate) fn from_file(bytes: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(bytes).map_err(|_| KeyError::Private)?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let parts = text.strip_prefix(PRIVATE).ok_or(KeyError::Private)?;
        let (name, key) = fields(parts).ok_or(KeyError::Private)?;
        let key = Zeroizing::new(BASE64_STANDARD.decode(key).map_err(|_| KeyError::Private)?);
        let (&ED25519_TYPE, seed) = key.split_first().ok_or(KeyError::Private)? else {
            return Err(KeyError::Private);
        };
        let read = Self::from_seed(seed.try_into().map_err(|_| KeyError::Private)?, name)?;
        // Also the id, which is the only check that the seed is as it was.
        match read.to_file().strip_suffix('\n') == Some(text) {
            true => Ok(read),
            false => Err(KeyError::Private),
        }
    }

    /// The content of the file of this key.
    pub(crate) fn to_file(&self) -> Zeroizing<String> {
        let mut key = Zeroizing::new(vec![ED25519_TYPE]);
        key.extend_from_slice(self.seed.as_slice());
        let (name, id) = (&self.public.name, self.public.id_hex());
        let key = Zeroizing::new(BASE64_STANDARD.encode(&*key));
        Zeroizing::new(format!("{PRIVATE}{name}+{id}+{}\n", &*key))
    }

    /// The signed note (C2SP) of this key over `text`, which ends in a newline.
    #[must_use]
    pub fn sign_note(&self, text: &str) -> String {
        crate::note::sign(self, text)
    }

    /// The signature of some text: the key's id, then the Ed25519 signature.
    pub(crate) fn signature(&self, text: &str) -> Vec<u8> {
        let mut signature = self.public.id().to_vec();
        signature.extend_from_slice(self.pair.sign(text.as_bytes()).as_ref());
        signature
    }
}

impl fmt::Debug for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PolicyKey").field(&self.public).finish()
    }
}

impl PublicKey {
    fn new(name: &str, key: [u8; 32]) -> Result<Self, KeyError> {
        let fits = (1..=MAX_KEY_NAME_BYTES).contains(&name.len());
        let odd = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if !fits || name.contains(odd) {
            return Err(KeyError::Name(start_of(name)));
        }
        Ok(Self {
            name: name.to_owned(),
            key,
        })
    }

    /// The name under which it signs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes of the key alone, whatever it is called.
    pub(crate) const fn key_bytes(&self) -> &[u8] {
        &self.key
    }

    /// The first four bytes of SHA-256(name, newline, type, key).
    pub(crate) fn id(&self) -> [u8; 4] {
        let mut hasher = Hasher::default();
        hasher.update(self.name.as_bytes());
        hasher.update(&[b'\n', ED25519_TYPE]);
        hasher.update(&self.key);
        let [a, b, c, d, ..] = *hasher.finish().as_bytes();
        [a, b, c, d]
    }

    fn id_hex(&self) -> String {
        format!("{:08x}", u32::from_be_bytes(self.id()))
    }

    /// Whether this key signed `text` with an Ed25519 `signature`.
    pub(crate) fn signed(&self, text: &str, signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.key)
            .verify(text.as_bytes(), signature)
            .is_ok()
    }
}

/// The name and the base64 of `name+id+base64`.
fn fields(text: &str) -> Option<(&str, &str)> {
    let mut parts = text.splitn(3, '+');
    let (name, _id, key) = (parts.next()?, parts.next()?, parts.next()?);
    Some((name, key))
}

fn start_of(text: &str) -> String {
    text.chars()
        .take(100)
        .flat_map(char::escape_debug)
        .collect()
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519_TYPE];
        key.extend_from_slice(&self.key);
        let key = BASE64_STANDARD.encode(key);
        write!(f, "{}+{}+{key}", self.name, self.id_hex())
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
        let (name, key) = fields(text).ok_or_else(malformed)?;
        let key = BASE64_STANDARD.decode(key).map_err(|_| malformed())?;
        let key = match key.split_first() {
            Some((&ED25519_TYPE, key)) => key.try_into().map_err(|_| malformed())?,
            _ => return Err(malformed()),
        };
        let public = Self::new(name, key)?;
        if public.to_string() != text {
            return Err(KeyError::Id(start_of(text)));
        }
        Ok(public)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

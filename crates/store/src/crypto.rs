//! AES-256-GCM under a random nonce. Keys and nonces come from the kernel.

use std::{fmt, io, mem};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
pub(crate) const NONCE_BYTES: usize = NONCE_LEN;
/// Bytes that the ciphertext is longer than the plaintext.
pub(crate) const TAG_BYTES: usize = 16;

/// Why a cipher did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// The kernel gave no random bytes.
    #[error("the kernel gave no random bytes")]
    Random(#[source] io::Error),
    /// The cipher refused to encrypt.
    #[error("the cipher refused to encrypt")]
    Encrypt,
    /// Not what was encrypted, not for this place, or not under this key.
    #[error("the ciphertext, its place or its key is not the one it was made with")]
    Decrypt,
}

/// A nonce and what was encrypted under it, tag included.
pub(crate) type Encrypted = ([u8; NONCE_BYTES], Vec<u8>);

/// A key that leaves memory when it is dropped and never shows in a message.
pub(crate) struct SecretKey(Zeroizing<[u8; KEY_BYTES]>);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl SecretKey {
    /// A new key.
    pub(crate) fn generate() -> Result<Self, CryptoError> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        fill_randomly(key.as_mut_slice())?;
        Ok(Self(key))
    }

    /// The key with these bytes, if they are as many as a key has.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        (bytes.len() == KEY_BYTES).then(|| key.copy_from_slice(bytes))?;
        Some(Self(key))
    }

    /// The bytes, to be wrapped or given to their one user.
    pub(crate) fn into_bytes(self) -> Zeroizing<[u8; KEY_BYTES]> {
        self.0
    }

    /// The bytes, to be wrapped.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Encrypts `plaintext` and binds it to `aad`.
    pub(crate) fn encrypt(&self, aad: &[u8], plaintext: &[u8]) -> Result<Encrypted, CryptoError> {
        let mut nonce = [0; NONCE_BYTES];
        fill_randomly(&mut nonce)?;
        // Room for the tag: a vector that grows would leave the plaintext behind.
        let mut buffer = Zeroizing::new(Vec::with_capacity(plaintext.len() + TAG_BYTES));
        buffer.extend_from_slice(plaintext);
        self.cipher()
            .and_then(|cipher| {
                let nonce = Nonce::assume_unique_for_key(nonce);
                cipher.seal_in_place_append_tag(nonce, Aad::from(aad), &mut *buffer)
            })
            .map_err(|_| CryptoError::Encrypt)?;
        Ok((nonce, mem::take(&mut buffer)))
    }

    /// The plaintext that was encrypted under this key, nonce and `aad`.
    pub(crate) fn decrypt(
        &self,
        aad: &[u8],
        nonce: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let bytes = Nonce::try_assume_unique_for_key(nonce)
            .and_then(|nonce| {
                self.cipher()?
                    .open_in_place(nonce, Aad::from(aad), &mut buffer)
                    .map(|plaintext| plaintext.len())
            })
            .map_err(|_| CryptoError::Decrypt)?;
        buffer.truncate(bytes);
        Ok(buffer)
    }

    fn cipher(&self) -> Result<LessSafeKey, aws_lc_rs::error::Unspecified> {
        UnboundKey::new(&AES_256_GCM, self.as_bytes()).map(LessSafeKey::new)
    }
}

/// What a ciphertext is bound to: a purpose and its parts. Each part follows its length, so that no two
/// lists of parts give the same bytes.
pub(crate) fn bind(purpose: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut bound = purpose.as_bytes().to_vec();
    for part in parts {
        bound.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bound.extend_from_slice(part);
    }
    bound
}

/// Fills `bytes` from the kernel. (The cipher library's own generator takes milliseconds to start.)
pub(crate) fn fill_randomly(bytes: &mut [u8]) -> Result<(), CryptoError> {
    let wanted = bytes.len();
    match getrandom(bytes, GetRandomFlags::empty()) {
        Ok(filled) if filled == wanted => Ok(()),
        // The kernel gives up to 256 bytes whole.
        Ok(_) => Err(CryptoError::Random(io::ErrorKind::UnexpectedEof.into())),
        Err(error) => Err(CryptoError::Random(error.into())),
    }
}

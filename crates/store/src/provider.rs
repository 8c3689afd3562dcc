//! The key that wraps every other key, and who keeps it.

use std::fmt;

use zeroize::Zeroizing;

use crate::{
    CryptoError, StateDir, StoreError,
    crypto::{KEY_BYTES, NONCE_BYTES, SecretKey},
    keys::{AGENT_KEYS, SIGNING_KEY, no_new_key},
};

const PROVIDER_KEY: &str = "provider.key";

/// Keeps the key that wraps every other key: a file, a service, a machine's secure hardware.
pub trait KeyProvider: fmt::Debug + Send + Sync {
    /// Encrypts `plaintext`, a key, and binds it to `aad`. The answer, of at most 4096 bytes, is for
    /// [`KeyProvider::unwrap`] only.
    ///
    /// # Errors
    /// When the provider cannot be used.
    fn wrap(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError>;

    /// What was wrapped.
    ///
    /// # Errors
    /// When `wrapped` was not made by this provider for `aad`, or the provider cannot be used.
    fn unwrap(&self, aad: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError>;
}

/// A provider whose key is a file that only its owner can read: `keys/provider.key`.
///
/// Whoever can read that file and the rest of the state directory can read everything in it. It protects
/// copies that leave the file out, and it is what makes erasing possible.
#[derive(Debug)]
pub struct FileProvider(SecretKey);

impl FileProvider {
    /// Reads the provider key, or makes it when there are no keys at all yet.
    ///
    /// # Errors
    /// When the file is not a regular file of this user that nobody else can read, when it has another
    /// size than a key, or when it is missing while keys that it wrapped are there.
    pub fn open(state: &StateDir) -> Result<Self, StoreError> {
        let dir = state.keys_dir()?;
        let path = || dir.path(PROVIDER_KEY);
        let content = dir.read_or_write(PROVIDER_KEY, KEY_BYTES, || {
            if dir.has(SIGNING_KEY)? || dir.has(AGENT_KEYS)? {
                return Err(StoreError::ProviderKeyLost { path: path() });
            }
            let key = SecretKey::generate().map_err(no_new_key)?;
            Ok(Zeroizing::new(key.as_bytes().to_vec()))
        })?;
        let key = SecretKey::from_bytes(&content).ok_or_else(|| StoreError::KeyFileSize {
            path: path(),
            bytes: content.len() as u64,
        })?;
        Ok(Self(key))
    }
}

impl KeyProvider for FileProvider {
    fn wrap(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let (nonce, ciphertext) = self.0.encrypt(aad, plaintext)?;
        Ok([nonce.as_slice(), &ciphertext].concat())
    }

    fn unwrap(&self, aad: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let (nonce, ciphertext) = wrapped
            .split_at_checked(NONCE_BYTES)
            .ok_or(CryptoError::Decrypt)?;
        self.0.decrypt(aad, nonce, ciphertext)
    }
}

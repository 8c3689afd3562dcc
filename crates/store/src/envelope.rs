//! One record encrypted by itself: under a key of its own, which only the provider can unwrap.

use zeroize::Zeroizing;

use crate::{
    CryptoError, KeyProvider,
    crypto::{NONCE_BYTES, SecretKey, bind},
};

const RECORD_KEY: &str = "casemate/record-key/v1";
const RECORD: &str = "casemate/record/v1";
/// Bytes that say how long the wrapped key is.
const LENGTH_BYTES: usize = 2;

/// Encrypts `plaintext` (AES-256-GCM) under a new key, which `provider` wraps, and binds both to `aad`.
///
/// # Errors
/// When there is no randomness, or the provider cannot be used.
pub fn seal_record(
    provider: &dyn KeyProvider,
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let key = SecretKey::generate()?;
    let wrapped = provider.wrap(&bind(RECORD_KEY, &[aad]), key.as_bytes())?;
    let length = u16::try_from(wrapped.len()).map_err(|_| CryptoError::Encrypt)?;
    let (nonce, ciphertext) = key.encrypt(&bind(RECORD, &[aad, &wrapped]), plaintext)?;
    Ok([
        &length.to_be_bytes(),
        wrapped.as_slice(),
        &nonce,
        &ciphertext,
    ]
    .concat())
}

/// The plaintext that was encrypted for `aad`, of which `provider` wrapped the key.
///
/// # Errors
/// When anything about it is not as it was sealed, or the provider cannot be used.
pub fn unseal_record(
    provider: &dyn KeyProvider,
    aad: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let (wrapped, rest) = split(sealed).ok_or(CryptoError::Decrypt)?;
    let (nonce, ciphertext) = rest
        .split_at_checked(NONCE_BYTES)
        .ok_or(CryptoError::Decrypt)?;
    let key = provider.unwrap(&bind(RECORD_KEY, &[aad]), wrapped)?;
    let key = SecretKey::from_bytes(&key).ok_or(CryptoError::Decrypt)?;
    key.decrypt(&bind(RECORD, &[aad, wrapped]), nonce, ciphertext)
}

/// The wrapped key, and what follows it.
fn split(sealed: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = sealed.split_at_checked(LENGTH_BYTES)?;
    let length = u16::from_be_bytes(length.try_into().ok()?);
    rest.split_at_checked(length.into())
}

//! Assertions signed by a private key (RFC 7515, 7519).

use std::io;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};

use crate::Secret;

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    /// It is no key, or none of these kinds.
    #[error("the private key is neither RSA (2048 bits or more) nor P-256")]
    Key,
    /// The library refused.
    #[error("the assertion cannot be signed")]
    Sign(#[source] io::Error),
}

/// A key that signs: `RS256` or `ES256`, as the key says.
enum Key {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
}

impl Key {
    fn read(pem: &Secret) -> Result<Self, SignError> {
        let der =
            PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_| SignError::Key)?;
        let rsa = |key: Result<RsaKeyPair, _>| {
            key.map(Self::Rsa)
                .map_err(|_: aws_lc_rs::error::KeyRejected| SignError::Key)
        };
        match &der {
            PrivateKeyDer::Pkcs1(key) => rsa(RsaKeyPair::from_der(key.secret_pkcs1_der())),
            PrivateKeyDer::Pkcs8(key) => {
                let bytes = key.secret_pkcs8_der();
                match EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes) {
                    Ok(key) => Ok(Self::P256(key)),
                    Err(_) => rsa(RsaKeyPair::from_pkcs8(bytes)),
                }
            }
            PrivateKeyDer::Sec1(key) => EcdsaKeyPair::from_private_key_der(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                key.secret_sec1_der(),
            )
            .map(Self::P256)
            .map_err(|_| SignError::Key),
            _ => Err(SignError::Key),
        }
    }

    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
        }
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SignError> {
        let refused = |_| SignError::Sign(io::ErrorKind::Other.into());
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature)
                    .map_err(refused)?;
                Ok(signature)
            }
            Self::P256(key) => Ok(key.sign(&random, text).map_err(refused)?.as_ref().to_vec()),
        }
    }
}

/// Whether a private key can sign assertions.
pub(crate) fn check(pem: &Secret) -> Result<(), SignError> {
    Key::read(pem).map(drop)
}

/// A signed assertion of `claims`.
pub(crate) fn assertion(
    pem: &Secret,
    key_id: Option<&str>,
    claims: &Value,
) -> Result<Secret, SignError> {
    let key = Key::read(pem)?;
    let mut head = json!({ "alg": key.algorithm(), "typ": "JWT" });
    if let (Some(id), Value::Object(head)) = (key_id, &mut head) {
        head.insert("kid".to_owned(), id.into());
    }
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", encoded(&head), encoded(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes())?);
    Ok(Secret::made(format!("{text}.{signature}")))
}

//! Handshakes of TLS 1.3, which a client proves with a private key that stays here.

use std::sync::Arc;

use rustls::{
    Error, SignatureScheme,
    crypto::aws_lc_rs,
    sign::{CertifiedKey, SigningKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};

use crate::Secret;

/// What is in front of the digest of a handshake that a client signs (RFC 8446, 4.4.3).
const FRONT: &[u8] = b"TLS 1.3, client CertificateVerify\0";
const SPACES: usize = 64;
/// Bytes of the digests of a handshake.
const DIGESTS: [usize; 2] = [32, 48];
/// How it may be signed.
const SCHEMES: &[SignatureScheme] = &[
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
];

/// Why no handshake is signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// There is none, or it cannot sign.
    #[error("the private key cannot sign handshakes")]
    Key,
    /// There is none, or it is another key's.
    #[error("there is no certificate for the private key")]
    Certificate,
    /// A key that signs anything would be a key for anything.
    #[error("what is to be signed is not the handshake of a client")]
    Message,
    /// The library refused.
    #[error("the handshake cannot be signed")]
    Sign(#[source] Error),
}

/// A client's certificates, and what a signature by its key is asked for with, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Presented {
    /// Its certificate, and those between it and its authority, in DER.
    pub certificates: Vec<Vec<u8>>,
    /// Whether its key is RSA, and not P-256.
    pub is_rsa: bool,
    /// What is shown on the connection for signatures.
    pub ticket: Secret,
}

/// The certificates in a PEM file with a key that is for the first of them.
pub(crate) fn check(pem: &Secret) -> Result<(Vec<Vec<u8>>, bool), HandshakeError> {
    let key = key(pem)?;
    let all = CertificateDer::pem_slice_iter(pem.expose().as_bytes());
    let all: Vec<_> = all
        .collect::<Result<_, _>>()
        .map_err(|_| HandshakeError::Certificate)?;
    if all.is_empty() {
        return Err(HandshakeError::Certificate);
    }
    let is_rsa = key.algorithm() == rustls::SignatureAlgorithm::RSA;
    let certified = CertifiedKey::new(all.clone(), key);
    certified
        .keys_match()
        .map_err(|_| HandshakeError::Certificate)?;
    let certificates = all.iter().map(|one| one.to_vec()).collect();
    Ok((certificates, is_rsa))
}

/// The signature of a client's handshake, and of nothing else.
pub(crate) fn sign(pem: &Secret, scheme: u16, message: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    if !is_handshake(message) {
        return Err(HandshakeError::Message);
    }
    let scheme = SignatureScheme::from(scheme);
    let signer = SCHEMES
        .contains(&scheme)
        .then_some(key(pem)?)
        .and_then(|key| key.choose_scheme(&[scheme]));
    let signer = signer.ok_or(HandshakeError::Key)?;
    signer.sign(message).map_err(HandshakeError::Sign)
}

fn is_handshake(message: &[u8]) -> bool {
    let Some((spaces, rest)) = message.split_at_checked(SPACES) else {
        return false;
    };
    spaces.iter().all(|byte| *byte == b' ')
        && rest
            .strip_prefix(FRONT)
            .is_some_and(|digest| DIGESTS.contains(&digest.len()))
}

fn key(pem: &Secret) -> Result<Arc<dyn SigningKey>, HandshakeError> {
    let der = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes());
    let der = der.map_err(|_| HandshakeError::Key)?;
    aws_lc_rs::sign::any_supported_type(&der).map_err(|_| HandshakeError::Key)
}

#[cfg(test)]
mod tests;

//! Proving to a destination who the client is, with a key that is elsewhere.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rustls::{
    ClientConfig, Error, SignatureAlgorithm, SignatureScheme,
    client::ResolvesClientCert,
    pki_types::CertificateDer,
    sign::{CertifiedKey, Signer, SigningKey},
};

use crate::{ClientCertificate, Signs};

/// How handshakes are signed, by the kind of key.
const RSA: &[SignatureScheme] = &[
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
];
const P256: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];

/// The certificate of one connection.
#[derive(Debug)]
pub(super) struct Presenting {
    certified: Arc<CertifiedKey>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    is_presented: AtomicBool,
    has_failed: AtomicBool,
}

impl Presenting {
    pub(super) fn new(certificate: ClientCertificate) -> Arc<Self> {
        let state = Arc::new(State::default());
        let chain = certificate.certificates.into_iter();
        let key = Key {
            is_rsa: certificate.is_rsa,
            signs: certificate.signs,
            state: Arc::clone(&state),
        };
        let chain = chain.map(CertificateDer::from).collect();
        Arc::new(Self {
            certified: Arc::new(CertifiedKey::new(chain, Arc::new(key))),
            state,
        })
    }

    /// How a destination is spoken to that it is shown to.
    pub(super) fn config(self: &Arc<Self>, base: &ClientConfig) -> Arc<ClientConfig> {
        let mut config = base.clone();
        config.client_auth_cert_resolver = Arc::clone(self) as _;
        Arc::new(config)
    }

    /// Whether the destination asked for it and got it.
    pub(super) fn is_presented(&self) -> bool {
        self.state.is_presented.load(Ordering::SeqCst)
    }

    /// Whether whoever has the key did not sign.
    pub(super) fn has_failed(&self) -> bool {
        self.state.has_failed.load(Ordering::SeqCst)
    }
}

impl ResolvesClientCert for Presenting {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Clone, Debug)]
struct Key {
    is_rsa: bool,
    signs: Arc<dyn Signs>,
    state: Arc<State>,
}

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let ours = if self.is_rsa { RSA } else { P256 };
        let scheme = *ours.iter().find(|scheme| offered.contains(scheme))?;
        Some(Box::new(Signing {
            key: self.clone(),
            scheme,
        }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.is_rsa {
            true => SignatureAlgorithm::RSA,
            false => SignatureAlgorithm::ECDSA,
        }
    }
}

#[derive(Debug)]
struct Signing {
    key: Key,
    scheme: SignatureScheme,
}

impl Signer for Signing {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let Key { signs, state, .. } = &self.key;
        match signs.sign(self.scheme.into(), message) {
            Some(signature) => {
                state.is_presented.store(true, Ordering::SeqCst);
                Ok(signature)
            }
            None => {
                state.has_failed.store(true, Ordering::SeqCst);
                Err(Error::General("nobody signs".to_owned()))
            }
        }
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

//! An authority for destinations.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

/// An authority.
#[derive(Debug)]
pub struct Roots {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub pem: Vec<u8>,
}

impl Default for Roots {
    fn default() -> Self {
        Self::new()
    }
}

impl Roots {
    /// One that nobody else has.
    #[must_use]
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate for self-signed whose issuer has its subject's name.
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "authority of destinations");
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: pem(certificate.der()),
            issuer: Issuer::new(params, key),
        }
    }

    /// How a server of `names` presents itself, after `change` was made to its certificate.
    pub fn server(
        &self,
        names: &[&str],
        alpn: &[&[u8]],
        change: impl FnOnce(&mut CertificateParams),
    ) -> ServerConfig {
        let (certificate, key) = self.certified(names, change);
        let mut config = builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|one| one.to_vec()).collect();
        config
    }

    /// The same, of one that wants to know its clients by certificates of `clients`.
    #[must_use]
    pub fn server_knowing(&self, names: &[&str], clients: &Self) -> ServerConfig {
        let mut known = RootCertStore::empty();
        known
            .add(CertificateDer::from_pem_slice(&clients.pem).unwrap())
            .unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(known), provider());
        let (certificate, key) = self.certified(names, |_| {});
        builder()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![certificate], key)
            .unwrap()
    }

    /// A certificate for `names`, after `change` was made to it, and its key.
    pub fn certified(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (certificate.der().clone(), key)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn builder() -> ConfigBuilder<ServerConfig, WantsVerifier> {
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
}

/// A certificate as text, in lines as OpenSSL reads them.
#[must_use]
pub fn pem(der: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut lines = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        lines += std::str::from_utf8(line).unwrap();
        lines.push('\n');
    }
    lines += "-----END CERTIFICATE-----\n";
    lines.into_bytes()
}

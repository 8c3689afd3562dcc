//! Which certificates of destinations are believed. There is nothing here that turns it off.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    client::Resumption,
    pki_types::{CertificateDer, pem::PemObject as _},
    version::{TLS12, TLS13},
};

use crate::{Clock, clock::TlsTime, limits::MAX_ROOTS_BYTES};

/// Why the operator's authorities are not believed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Too many bytes.
    #[error("the file of authorities has more than {MAX_ROOTS_BYTES} bytes")]
    TooLarge,
    /// No PEM.
    #[error("the file of authorities is not PEM")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// No certificate in it.
    #[error("the file of authorities has no certificate")]
    Empty,
    /// A certificate that cannot vouch for anything.
    #[error("an authority cannot be used")]
    Root(#[source] rustls::Error),
    /// The TLS library does not start.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// The authorities that vouch for destinations: Mozilla's, as bundled, and the operator's.
#[derive(Clone, Debug)]
pub struct Trust {
    roots: RootCertStore,
}

impl Trust {
    /// Mozilla's authorities, as they were when this was built.
    #[must_use]
    pub fn bundled() -> Self {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        Self { roots }
    }

    /// And the operator's, from the text of a PEM file.
    ///
    /// # Errors
    /// When it has none, or one that cannot be used.
    pub fn with_pem(mut self, pem: &[u8]) -> Result<Self, TrustError> {
        if pem.len() > MAX_ROOTS_BYTES {
            return Err(TrustError::TooLarge);
        }
        let mut found = 0;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(TrustError::Pem)?;
            self.roots.add(certificate).map_err(TrustError::Root)?;
            found += 1;
        }
        if found == 0 {
            Err(TrustError::Empty)
        } else {
            Ok(self)
        }
    }

    /// How destinations are spoken to: with HTTP/2 offered, without, where a client proves who it is, and as PostgreSQL.
    pub(crate) fn dial(self, clock: &Arc<dyn Clock>) -> Result<Dial, TrustError> {
        let roots = Arc::new(self.roots);
        let config = |versions: &[&'static SupportedProtocolVersion], protocols: &[&[u8]]| {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let time = Arc::new(TlsTime(Arc::clone(clock)));
            let mut config = ClientConfig::builder_with_details(provider, time)
                .with_protocol_versions(versions)
                .map_err(TrustError::Setup)?
                .with_root_certificates(Arc::clone(&roots))
                // What the agent would present is never forwarded.
                .with_no_client_auth();
            config.alpn_protocols = protocols.iter().map(|one| one.to_vec()).collect();
            // Each connection proves itself again, and nothing is sent before it has.
            config.resumption = Resumption::disabled();
            config.enable_early_data = false;
            Ok(Arc::new(config))
        };
        let both = &[&TLS13, &TLS12];
        Ok(Dial {
            h2: config(both, &[b"h2", b"http/1.1"])?,
            http1: config(both, &[b"http/1.1"])?,
            // Before that version certificates of clients are sent in clear, and what is signed could be anything.
            presenting: config(&[&TLS13], &[b"http/1.1"])?,
            postgres: config(both, &[b"postgresql"])?,
        })
    }
}

/// The ways to speak to destinations.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    pub(crate) h2: Arc<ClientConfig>,
    pub(crate) http1: Arc<ClientConfig>,
    pub(crate) presenting: Arc<ClientConfig>,
    pub(crate) postgres: Arc<ClientConfig>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_authority_is_refused() {
        let with = |pem: &[u8]| Trust::bundled().with_pem(pem);
        assert!(matches!(with(b""), Err(TrustError::Empty)));
        assert!(matches!(with(b"nothing"), Err(TrustError::Empty)));
        let broken = b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        assert!(matches!(with(broken), Err(TrustError::Pem(_))));
        let no_certificate = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(with(no_certificate), Err(TrustError::Root(_))));
        assert!(matches!(
            with(&vec![b' '; MAX_ROOTS_BYTES + 1]),
            Err(TrustError::TooLarge)
        ));
    }
}

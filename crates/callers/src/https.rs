//! Key sets from HTTPS servers.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use casemate_files::{Privacy, read_file};

use crate::{
    KeySource, KeySourceError,
    limits::{FETCH_TIMEOUT_MS, MAX_CA_FILE_BYTES, MAX_JWKS_BYTES},
};

/// Where distributions keep the authorities that a host believes.
const AUTHORITIES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
const MAX_HEADER_BYTES: usize = 16 << 10;

/// A key set on an HTTPS server, whose certificate is verified. No redirect is followed, no proxy used, no cookie kept.
#[derive(Debug)]
pub struct HttpsSource {
    url: String,
    agent: ureq::Agent,
}

impl HttpsSource {
    /// The key set at `url`, from a server that an authority in `authorities` vouches for, or else one of this host.
    ///
    /// # Errors
    /// When it is no HTTPS URL, or no authorities are found.
    pub fn new(url: &str, authorities: Option<&Path>) -> Result<Self, KeySourceError> {
        if !url.starts_with("https://") {
            return Err(KeySourceError::Place(url.to_owned()));
        }
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::Specific(Arc::new(roots(authorities)?)))
            .unversioned_rustls_crypto_provider(Arc::new(provider))
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // The environment must not choose the way.
            .proxy(None)
            .max_response_header_size(MAX_HEADER_BYTES)
            .max_idle_connections(0)
            .timeout_global(Some(Duration::from_millis(FETCH_TIMEOUT_MS)))
            .build()
            .new_agent();
        Ok(Self {
            url: url.to_owned(),
            agent,
        })
    }
}

impl KeySource for HttpsSource {
    fn fetch(&self) -> Result<Vec<u8>, KeySourceError> {
        let failed = |source| KeySourceError::Fetch {
            url: self.url.clone(),
            source: Box::new(source),
        };
        let request = self
            .agent
            .get(&self.url)
            .header("accept", "application/json");
        let mut response = request.call().map_err(failed)?;
        match response.status().as_u16() {
            200 => {}
            status => {
                let url = self.url.clone();
                return Err(KeySourceError::Status { url, status });
            }
        }
        let body = response.body_mut().with_config().limit(MAX_JWKS_BYTES);
        body.read_to_vec().map_err(failed)
    }
}

fn roots(authorities: Option<&Path>) -> Result<Vec<Certificate<'static>>, KeySourceError> {
    let path = match authorities {
        Some(path) => path.to_owned(),
        None => AUTHORITIES
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
            .unwrap_or_default(),
    };
    let pem = read_file(&path, MAX_CA_FILE_BYTES, Privacy::Configured)?;
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem)
        .map(|der| der.map(|der| Certificate::from_der(&der).to_owned()))
        .collect();
    match roots {
        Ok(roots) if !roots.is_empty() => Ok(roots),
        _ => Err(KeySourceError::Authorities { path }),
    }
}

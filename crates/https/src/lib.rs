//! HTTPS as a client.
//!
//! Invariants:
//! - Certificates are verified, by authorities of the host or of a file that is named. Nothing turns that off.
//! - No redirect is followed, no proxy of the environment used, no cookie kept, no connection reused.
//! - Everything has a limit of time and size.
//!
//! Deliberately absent: what is asked of whom. Private addresses are not refused: whoever configures an address means it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use casemate_files::{FileError, Privacy, read_file};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// Where distributions keep the authorities that a host believes.
const AUTHORITIES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Bytes of the headers of an answer.
const MAX_HEADER_BYTES: usize = 16 << 10;
/// Bytes of a file with certificates of authorities.
const MAX_AUTHORITIES_BYTES: u64 = 4 << 20;

/// Whether plain HTTP is spoken too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    /// Never.
    Refused,
    /// To whomever the caller has found to be on this host.
    Loopback,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// No authority is known by which a server could be verified.
    #[error("{path:?} holds no certificates of authorities")]
    None {
        /// Where they should be.
        path: PathBuf,
    },
}

/// A client that believes the authorities in a file, or else those of this host, and waits so long for a whole exchange.
///
/// # Errors
/// When no authorities are found.
pub fn client(
    authorities: Option<&Path>,
    timeout: Duration,
    plain: Plain,
) -> Result<ureq::Agent, AuthoritiesError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(roots(authorities)?)))
        .unversioned_rustls_crypto_provider(Arc::new(provider))
        .build();
    Ok(ureq::Agent::config_builder()
        .tls_config(tls)
        .https_only(plain == Plain::Refused)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        // The environment must not choose the way.
        .proxy(None)
        .max_response_header_size(MAX_HEADER_BYTES)
        .max_idle_connections(0)
        .timeout_global(Some(timeout))
        .build()
        .new_agent())
}

fn roots(authorities: Option<&Path>) -> Result<Vec<Certificate<'static>>, AuthoritiesError> {
    let path = match authorities {
        Some(path) => path.to_owned(),
        None => AUTHORITIES
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
            .unwrap_or_default(),
    };
    let pem = read_file(&path, MAX_AUTHORITIES_BYTES, Privacy::Configured)?;
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem)
        .map(|der| der.map(|der| Certificate::from_der(&der).to_owned()))
        .collect();
    match roots {
        Ok(roots) if !roots.is_empty() => Ok(roots),
        _ => Err(AuthoritiesError::None { path }),
    }
}

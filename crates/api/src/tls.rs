//! TLS for connections over a network: the files, and what clients have to show.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use casemate_files::{FileError, Privacy, read_file};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{VerifierBuilderError, WebPkiClientVerifier},
};

use crate::limits::MAX_TLS_FILE_BYTES;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or others could have changed it, or read the key.
    #[error("cannot use `{path}` for TLS")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: FileError,
    },
    /// A file is not what it should be.
    #[error("`{0}` is not PEM with what it should hold")]
    Pem(PathBuf),
    /// The certificate and the key do not go with each other, or are of no use.
    #[error("the certificate and the key are of no use together")]
    Pair(#[source] rustls::Error),
    /// The authorities of clients are of no use.
    #[error("the authorities of clients are of no use")]
    Authorities(#[source] VerifierBuilderError),
}

/// The files for TLS.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The chain of certificates, the server's first.
    pub certificates: PathBuf,
    /// Its key: for the owner only to read.
    pub key: PathBuf,
    /// The authorities that vouch for clients. Without them no client is asked for a certificate.
    pub client_authorities: Option<PathBuf>,
}

/// What a server says of itself, and asks of clients: who presents a certificate must have a valid one.
///
/// # Errors
/// When a file is of no use.
pub fn config(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = certificates(&files.certificates)?;
    let key = read(&files.key, Privacy::Secret)?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| TlsError::Pem(files.key.clone()))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Pair)?;
    let builder = match &files.client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(path)? {
                roots
                    .add(authority)
                    .map_err(|_| TlsError::Pem(path.clone()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(TlsError::Authorities)?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path, Privacy::Configured)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TlsError::Pem(path.to_owned())),
    }
}

fn read(path: &Path, privacy: Privacy) -> Result<Vec<u8>, TlsError> {
    read_file(path, MAX_TLS_FILE_BYTES, privacy).map_err(|source| TlsError::File {
        path: path.to_owned(),
        source,
    })
}

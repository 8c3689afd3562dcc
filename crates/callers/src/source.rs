//! Where the keys of an issuer come from.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use casemate_files::{FileError, Privacy, Stamp, read_file};
use casemate_https::AuthoritiesError;

use crate::{JwksError, limits::MAX_JWKS_BYTES};

/// Where the key set of an issuer comes from.
pub trait KeySource: fmt::Debug + Send + Sync {
    /// The key set as it is now. May take up to [`FETCH_TIMEOUT_MS`](crate::FETCH_TIMEOUT_MS).
    ///
    /// # Errors
    /// When it cannot be had.
    fn fetch(&self) -> Result<Vec<u8>, KeySourceError>;

    /// What tells cheaply whether the key set changed, if anything does.
    ///
    /// # Errors
    /// When the key set is gone: its keys no longer count then.
    fn stamp(&self) -> Result<Option<Stamp>, KeySourceError> {
        Ok(None)
    }
}

/// Why the keys of an issuer cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeySourceError {
    /// Nothing was fetched yet, or too long ago.
    #[error("no key set was fetched in the last hour")]
    Stale,
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// What was fetched is not a key set.
    #[error(transparent)]
    Jwks(#[from] JwksError),
    /// The place is no absolute path and no HTTPS URL.
    #[error("`{0}` is neither an absolute path nor an https URL")]
    Place(String),
    /// No authority is known by which the server could be verified.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    /// The server did not answer as it should.
    #[error("cannot fetch the key set from `{url}`")]
    Fetch {
        /// From where.
        url: String,
        /// Why not.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The server answered something else.
    #[error("`{url}` answered {status} instead of a key set; redirects are not followed")]
    Status {
        /// From where.
        url: String,
        /// What it answered.
        status: u16,
    },
}

/// A file with a key set, read again when it changes.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
}

impl FileSource {
    /// The key set in the file at `path`, which nobody else may write to.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }
}

impl KeySource for FileSource {
    fn fetch(&self) -> Result<Vec<u8>, KeySourceError> {
        Ok(read_file(&self.path, MAX_JWKS_BYTES, Privacy::Configured)?)
    }

    fn stamp(&self) -> Result<Option<Stamp>, KeySourceError> {
        let found = fs::metadata(&self.path).map_err(FileError::io("look at", &self.path))?;
        Ok(Some(Stamp::from(&found)))
    }
}

//! Assertions of who this host is, which its platform writes into files, and changes.

use std::{fmt, path::PathBuf};

use casemate_files::{FileError, Privacy, read_file};

use crate::{Form, Secret, SecretError, limits::MAX_SECRET_BYTES};

/// Why there is no assertion.
#[derive(Debug, thiserror::Error)]
pub enum AssertionError {
    /// Nobody says where they are.
    #[error("there is no directory of assertions")]
    None,
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is none.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// Where assertions are. They are read each time that one is presented: the last one may be over.
pub trait Assertions: fmt::Debug + Send + Sync {
    /// The one of this name.
    ///
    /// # Errors
    /// When it cannot be read now.
    fn read(&self, name: &str) -> Result<Secret, AssertionError>;
}

/// No assertions.
#[derive(Debug)]
pub(crate) struct Nowhere;

impl Assertions for Nowhere {
    fn read(&self, _: &str) -> Result<Secret, AssertionError> {
        Err(AssertionError::None)
    }
}

/// Assertions in files of a directory, which belong to this user or root, and which nobody else can write to.
#[derive(Debug)]
pub struct AssertionFiles(pub PathBuf);

impl Assertions for AssertionFiles {
    fn read(&self, name: &str) -> Result<Secret, AssertionError> {
        let path = self.0.join(name);
        let bytes = read_file(&path, MAX_SECRET_BYTES as u64, Privacy::Configured)?;
        Ok(Secret::read(bytes.trim_ascii_end(), Form::Line)?)
    }
}

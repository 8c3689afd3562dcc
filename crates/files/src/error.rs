//! What can be wrong with files and directories that are ours.

use std::{io, path::PathBuf};

/// Why a file or a directory of ours cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system refused a step.
    #[error("cannot {step} {path:?}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A file, a link or a device stands where a directory should be.
    #[error("{path:?} is not a directory: move it away")]
    NotADirectory {
        /// Where.
        path: PathBuf,
    },
    /// A link, a directory, a pipe or a device stands where a file should be.
    #[error(
        "{path:?} is not a regular file: find out who put it there, and restore the file from a backup"
    )]
    NotAFile {
        /// Where.
        path: PathBuf,
    },
    /// Somebody else owns it and could change it.
    #[error("{path:?} belongs to uid {owner}, not to uid {user}: run as its owner")]
    ForeignOwner {
        /// What.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user that this process runs as.
        user: u32,
    },
    /// Others can write to it.
    #[error(
        "others can write to {path:?} (mode {mode:04o}): check what is in it, then run `chmod go-w` on it"
    )]
    WritableByOthers {
        /// What.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others can read what only this user may.
    #[error(
        "others have access to {path:?} (mode {mode:04o}): treat what is in it as known to them, renew the keys among it, then run `chmod go-rwx` on it"
    )]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is larger than any file of its kind.
    #[error("{path:?} has more than {max} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How many it may have.
        max: u64,
    },
    /// Another process holds a lock for longer than it could need.
    #[error("{path:?} stayed locked for {waited_ms} ms: end the process that holds it")]
    Locked {
        /// The directory.
        path: PathBuf,
        /// How long this process waited.
        waited_ms: u64,
    },
}

impl FileError {
    /// The error of a step on a path, from the system's answer.
    pub fn io<E: Into<io::Error>>(
        step: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io {
            step,
            path,
            source: source.into(),
        }
    }
}

//! Who is at the other end of a socket, and whose the socket's directory is.

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use tokio::net::UnixStream;

/// Why the other end, or the place where it is, is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The kernel does not say who it is.
    #[error("cannot see who is at the other end of the socket")]
    Credentials(#[source] io::Error),
    /// It is somebody else.
    #[error("the other end of the socket belongs to the user {theirs}, not to {ours}")]
    Foreign {
        /// The user there.
        theirs: u32,
        /// The user here.
        ours: u32,
    },
    /// The directory cannot be looked at.
    #[error("cannot look at the socket's directory `{path}`")]
    Directory {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The directory is open to others.
    #[error("the socket's directory `{0}` must be a directory of this user's with mode 0700")]
    Open(PathBuf),
}

/// Refuses a peer that is another user. Asks the kernel, reads nothing.
pub(crate) fn check_peer(stream: &UnixStream) -> Result<(), PeerError> {
    check_user(stream, rustix::process::geteuid().as_raw())
}

/// Refuses a peer that is not this user.
pub(crate) fn check_user(stream: &UnixStream, ours: u32) -> Result<(), PeerError> {
    let theirs = stream.peer_cred().map_err(PeerError::Credentials)?.uid();
    if theirs == ours {
        Ok(())
    } else {
        Err(PeerError::Foreign { theirs, ours })
    }
}

/// Refuses a socket in a directory that others can enter.
pub(crate) fn check_directory(socket: &Path) -> Result<(), PeerError> {
    let directory = match socket.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    let facts = directory
        .symlink_metadata()
        .map_err(|source| PeerError::Directory {
            path: directory.to_owned(),
            source,
        })?;
    let ours = facts.uid() == rustix::process::geteuid().as_raw();
    if facts.is_dir() && ours && facts.mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(PeerError::Open(directory.to_owned()))
    }
}

//! The keeper's socket: one keeper at a time, and a dead one's socket is taken over.

use std::{
    cell::RefCell,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    rc::Rc,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use tokio::{
    net::{UnixListener, UnixStream},
    time::timeout,
};

use crate::{
    limits::SOCKET_CHECK,
    peer::{PeerError, check_directory},
};

/// The socket on which a keeper listens; the file is removed when this is dropped.
#[derive(Debug)]
pub struct Listener {
    listener: RefCell<Rc<UnixListener>>,
    path: PathBuf,
    /// Held for as long as the keeper lives: the kernel gives it back when the process dies.
    lock: File,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The directory is not this user's alone.
    #[error(transparent)]
    Directory(#[from] PeerError),
    /// The lock file cannot be opened or locked.
    #[error("cannot lock `{path}`")]
    Lock {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Another keeper has the socket, and lives.
    #[error("a keeper listens on `{0}` already")]
    Taken(PathBuf),
    /// The socket of a dead keeper cannot be removed.
    #[error("cannot remove the old socket `{path}`")]
    Remove {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("cannot listen on `{path}`")]
    Listen {
        /// Where.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl Listener {
    /// Listens on `path`, in a directory of this user's with mode 0700. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the directory is open to others, when a living keeper has the socket, and when a step fails.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        check_directory(path)?;
        let lock = lock(path)?;
        // Whoever had the socket is dead, or it would hold the lock.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BindError::Remove {
                    path: path.to_owned(),
                    source: error,
                });
            }
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(|source| BindError::Listen {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            listener: RefCell::new(Rc::new(listener)),
            path: path.to_owned(),
            lock,
        })
    }

    /// The next connection, from whomever. A socket whose file was removed is made anew: nobody could connect any more,
    /// and no other keeper start.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let listener = Rc::clone(&self.listener.borrow());
            match timeout(SOCKET_CHECK, listener.accept()).await {
                Ok(accepted) => return accepted.map(|(stream, _)| stream),
                Err(_) => self.restore(),
            }
        }
    }

    /// Whether nobody can find this keeper any more, because its directory is gone or has become another.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        let ours = self.lock.metadata();
        let there = fs::symlink_metadata(lock_of(&self.path));
        match (ours, there) {
            (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) != (there.dev(), there.ino()),
            (_, Err(error)) => error.kind() == io::ErrorKind::NotFound,
            (Err(_), _) => false,
        }
    }

    fn restore(&self) {
        let gone = fs::symlink_metadata(&self.path)
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if !gone || self.is_lost() || check_directory(&self.path).is_err() {
            return;
        }
        // What fails now is tried again.
        if let Ok(listener) = UnixListener::bind(&self.path) {
            *self.listener.borrow_mut() = Rc::new(listener);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Still under the lock: it is this keeper's file. If it cannot be removed, the next keeper does.
        if !self.is_lost() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn lock_of(socket: &Path) -> PathBuf {
    socket.with_added_extension("lock")
}

fn lock(socket: &Path) -> Result<File, BindError> {
    let path = lock_of(socket);
    let failed = |source: io::Error| BindError::Lock {
        path: path.clone(),
        source,
    };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path)
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(BindError::Taken(socket.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

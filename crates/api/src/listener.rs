//! The socket: one user's, and nobody else is heard.

use std::{
    fs, io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{
            fs::{FileTypeExt as _, PermissionsExt as _},
            net::UnixListener as StdUnixListener,
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{UnixListener, UnixStream, unix::SocketAddr},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{limits::MAX_CONNECTIONS, placed::Placed};

/// A connection of this user's.
type Caller = Placed<UnixStream, OwnedSemaphorePermit>;

/// How long to wait when the system has no descriptor for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Something that is no socket stands in its place.
    #[error("`{0}` is there, and is not a socket")]
    NotASocket(PathBuf),
    /// Another gateway listens there.
    #[error("a gateway listens on `{path}` already{}", whose(*.process))]
    Taken {
        /// Where.
        path: PathBuf,
        /// Its process, if the kernel says.
        process: Option<i32>,
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

fn whose(process: Option<i32>) -> String {
    process.map_or_else(String::new, |process| format!(", process {process}"))
}

/// The socket on which the gateway listens; removed when this is dropped, by whoever made it.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    made: Option<PathBuf>,
    uid: u32,
    room: Arc<Semaphore>,
}

impl Listener {
    /// Listens on `path` for this user. A socket on which nobody listens any more is replaced.
    ///
    /// # Errors
    /// When somebody listens there, or the socket cannot be made.
    pub async fn bind(path: &Path) -> Result<Self, BindError> {
        let failed = |source| BindError::Listen {
            path: path.to_owned(),
            source,
        };
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(BindError::NotASocket(path.to_owned()));
            }
            Ok(_) => match UnixStream::connect(path).await {
                Ok(stream) => {
                    let peer = stream.peer_cred();
                    return Err(BindError::Taken {
                        path: path.to_owned(),
                        process: peer.ok().and_then(|peer| peer.pid()),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(path).map_err(failed)?;
                }
                // Somebody listens, and is not keeping up.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(BindError::Taken {
                        path: path.to_owned(),
                        process: None,
                    });
                }
                Err(error) => return Err(failed(error)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self::on(listener, Some(path.to_owned())))
    }

    /// On a socket that somebody else made, who listens on it and removes it.
    ///
    /// # Errors
    /// When it is no such socket.
    pub fn given(socket: OwnedFd) -> io::Result<Self> {
        let listener = StdUnixListener::from(socket);
        listener.local_addr()?;
        listener.set_nonblocking(true)?;
        Ok(Self::on(UnixListener::from_std(listener)?, None))
    }

    /// The same socket, for another process. It stays open until the last that has it is gone.
    ///
    /// # Errors
    /// When the system has no descriptor for it.
    pub fn shared(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    fn on(listener: UnixListener, made: Option<PathBuf>) -> Self {
        Self {
            listener,
            made,
            uid: rustix::process::geteuid().as_raw(),
            room: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        }
    }

    async fn next(&mut self) -> (Caller, SocketAddr) {
        loop {
            let Ok(room) = Arc::clone(&self.room).acquire_owned().await else {
                std::future::pending::<()>().await;
                continue;
            };
            match self.listener.accept().await {
                // Before a byte is read: another user is told nothing.
                Ok((stream, address)) if self.is_ours(&stream) => {
                    return (Placed::new(stream, room), address);
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn is_ours(&self, stream: &UnixStream) -> bool {
        stream.peer_cred().is_ok_and(|peer| peer.uid() == self.uid)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            // If it is gone already, so much the better.
            drop(fs::remove_file(path));
        }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Caller;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Caller, SocketAddr) {
        self.next().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

//! Connections between processes of one user that speak something else than the keeper's protocol.

use std::{io, path::Path};

use tokio::{net::UnixStream, time::timeout};

use crate::{
    limits::CONNECT_TIMEOUT,
    peer::{PeerError, check_directory, check_peer},
    socket::Listener,
};

/// Why there is no connection to a process of this user.
#[derive(Debug, thiserror::Error)]
pub enum OursError {
    /// Whoever listens there, or the place where they do, is not this user's.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// Nobody listens there.
    #[error("cannot connect to the socket")]
    Socket(#[source] io::Error),
    /// Whoever listens there does not take the connection.
    #[error("the connection is not taken in time")]
    TimedOut,
}

/// Connects to a process of this user. Nothing is sent before it is certain whose it is.
///
/// # Errors
/// When nobody listens on `socket`, or somebody who is not this user, or where others can put a socket.
pub async fn connect_ours(socket: &Path) -> Result<UnixStream, OursError> {
    check_directory(socket)?;
    let connecting = timeout(CONNECT_TIMEOUT, UnixStream::connect(socket)).await;
    let stream = connecting.map_err(|_| OursError::TimedOut)?;
    let stream = stream.map_err(OursError::Socket)?;
    check_peer(&stream)?;
    Ok(stream)
}

impl Listener {
    /// The next connection of this user. Others are not heard, and told nothing.
    ///
    /// # Errors
    /// When the system has no room for another connection.
    pub async fn accept_ours(&self) -> io::Result<UnixStream> {
        loop {
            let stream = self.accept().await?;
            if check_peer(&stream).is_ok() {
                return Ok(stream);
            }
        }
    }
}

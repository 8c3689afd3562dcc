//! The connection: made when it is needed, and made anew when it broke.

use std::{
    fmt, io,
    path::Path,
    sync::{Arc, PoisonError},
};

use casemate_ports::KeeperError;
use tokio::{
    net::UnixStream,
    runtime::Handle,
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use super::{Remote, RemoteKeeper, unavailable};
use crate::{
    limits::{CONNECT_TIMEOUT, START_POLL, START_TIMEOUT},
    peer::{PeerError, check_directory, check_peer},
    speak::{Sender, ask_over},
};

/// Starts a keeper where nobody listens.
pub trait Start: fmt::Debug + Send + Sync {
    /// Starts one, and does not wait for it. When several are started, one of them lives.
    ///
    /// # Errors
    /// When it cannot be started.
    fn start(&self) -> io::Result<()>;
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("cannot connect to its socket")]
    Socket(#[source] io::Error),
    #[error("cannot start it")]
    Start(#[source] io::Error),
    #[error("it was started and does not listen; its log says why")]
    NotStarted(#[source] io::Error),
    #[error("cannot speak HTTP/2 to it")]
    Http(#[source] hyper::Error),
    #[error("it does not take the connection")]
    TimedOut,
    #[error("the runtime of its connection has ended")]
    Runtime,
}

/// The connection of one runtime, if there is one.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) runtime: Handle,
    sender: Mutex<Option<Sender>>,
}

impl Line {
    pub(super) fn here(runtime: Handle) -> Self {
        Self {
            runtime,
            sender: Mutex::new(None),
        }
    }

    /// Whether it has no connection, and nobody is making one.
    fn is_idle(&self) -> bool {
        let sender = self.sender.try_lock();
        sender.is_ok_and(|sender| sender.as_ref().is_none_or(Sender::is_closed))
    }
}

impl RemoteKeeper {
    /// The line of the runtime that asks.
    pub(super) fn near(&self) -> Arc<Line> {
        let home = &self.0.home;
        let here = match Handle::try_current() {
            Ok(here) if here.id() != home.runtime.id() => here,
            _ => return Arc::clone(home),
        };
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(&here.id()) {
            return Arc::clone(line);
        }
        // Those of runtimes that ended.
        lines.retain(|_, line| !line.is_idle());
        let line = Arc::new(Line::here(here));
        lines.insert(line.runtime.id(), Arc::clone(&line));
        line
    }

    /// The connection there is, or a new one.
    pub(super) async fn sender(&self, line: &Line) -> Result<Sender, KeeperError> {
        let mut slot = line.sender.lock().await;
        if let Some(sender) = slot.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let remote = Arc::clone(&self.0);
        // A task of its own: it does not end with the one that asks.
        let made = line.runtime.spawn(async move { remote.reach().await });
        let sender = made
            .await
            .unwrap_or(Err(ConnectError::Runtime))
            .map_err(|error| unavailable(&error))?;
        *slot = Some(sender.clone());
        Ok(sender)
    }
}

impl Remote {
    /// Connects to whoever listens, and if nobody does, to whoever is started.
    async fn reach(&self) -> Result<Sender, ConnectError> {
        let nobody = match dial(&self.socket).await {
            Err(ConnectError::Socket(error)) => ConnectError::Socket(error),
            reached => return reached,
        };
        let Some(start) = &self.start else {
            return Err(nobody);
        };
        start.start().map_err(ConnectError::Start)?;
        let started = Instant::now();
        loop {
            sleep(START_POLL).await;
            match dial(&self.socket).await {
                // It may not listen yet, and another one may do so first.
                Err(ConnectError::Socket(error)) if started.elapsed() > START_TIMEOUT => {
                    return Err(ConnectError::NotStarted(error));
                }
                Err(ConnectError::Socket(_)) => {}
                reached => return reached,
            }
        }
    }
}

async fn dial(socket: &Path) -> Result<Sender, ConnectError> {
    timeout(CONNECT_TIMEOUT, connect(socket))
        .await
        .unwrap_or(Err(ConnectError::TimedOut))
}

async fn connect(socket: &Path) -> Result<Sender, ConnectError> {
    check_directory(socket)?;
    let stream = UnixStream::connect(socket)
        .await
        .map_err(ConnectError::Socket)?;
    check_peer(&stream)?;
    ask_over(stream).await.map_err(ConnectError::Http)
}

//! The keeper's half: serves connections in one thread.

mod connection;
mod files;
mod inflow;
mod inputs;
mod place;
mod request;

use std::{cell::Cell, convert::Infallible, fmt, io, pin::pin, rc::Rc, time::Duration};

use casemate_ports::SessionKeeper;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::{JoinSet, spawn_local},
};

use crate::{
    fault::Fault,
    limits::{MAX_CONNECTIONS, MAX_HELD_INPUT_BYTES, MAX_REQUESTS},
    peer::check_peer,
    socket::Listener,
    speak::answering,
};

/// How long to wait when the system has no descriptor or memory for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves a keeper. A clone is the same server.
pub struct Server<K> {
    keeper: Rc<K>,
    state: Rc<State>,
}

#[derive(Debug, Default)]
struct State {
    draining: Cell<bool>,
    connections: Cell<usize>,
    requests: Cell<usize>,
    input_bytes: Cell<u64>,
}

impl<K> Clone for Server<K> {
    fn clone(&self) -> Self {
        Self {
            keeper: Rc::clone(&self.keeper),
            state: Rc::clone(&self.state),
        }
    }
}

impl<K> fmt::Debug for Server<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<K: SessionKeeper + 'static> Server<K> {
    /// A server of `keeper`.
    #[must_use]
    pub fn new(keeper: Rc<K>) -> Self {
        Self {
            keeper,
            state: Rc::default(),
        }
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.connections.get()
    }

    /// How many requests are being answered; a place counts until it is gone.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.state.requests.get()
    }

    /// Refuses everything that would start something, from now on.
    pub fn drain(&self) {
        self.state.draining.set(true);
    }

    /// Serves whoever connects, for ever; every connection breaks when this is dropped. Must run in a `LocalSet`.
    pub async fn serve(&self, listener: &Listener) -> Infallible {
        let mut connections = JoinSet::new();
        loop {
            match listener.accept().await {
                // Before a byte is read: another user is not heard, and told nothing.
                Ok(stream) if check_peer(&stream).is_err() => drop(stream),
                Ok(_) if self.connections() >= MAX_CONNECTIONS => {}
                Ok(stream) => {
                    connections.spawn_local(self.clone().connection(stream));
                }
                Err(error) => pause(&error).await,
            }
            while connections.try_join_next().is_some() {}
        }
    }

    /// Serves one stream of bytes until it ends, whatever it is.
    async fn connection(self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
        let _counted = Counted::new(&self.state, |state| &state.connections);
        let server = self.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(request::answer(server, request).await) }
        });
        let connection = answering(Local).serve_connection(TokioIo::new(stream), service);
        // Why a connection broke is its other end's to say.
        let _ = pin!(connection).await;
    }

    /// Counts a request, if it may be answered at all.
    fn enter(&self) -> Result<Counted, Fault> {
        if self.requests() >= MAX_REQUESTS {
            return Err(Fault::Busy(MAX_REQUESTS));
        }
        Ok(Counted::new(&self.state, |state| &state.requests))
    }
}

async fn pause(error: &io::Error) {
    // The connection that was not accepted is its peer's matter; a lack of ours passes or stays.
    if error.kind() != io::ErrorKind::ConnectionAborted {
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Runs what hyper starts in this thread.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

/// One more, for as long as it lives.
#[derive(Debug)]
struct Counted {
    state: Rc<State>,
    counter: fn(&State) -> &Cell<usize>,
}

impl Counted {
    fn new(state: &Rc<State>, counter: fn(&State) -> &Cell<usize>) -> Self {
        counter(state).update(|count| count + 1);
        Self {
            state: Rc::clone(state),
            counter,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.counter)(&self.state).update(|count| count - 1);
    }
}

/// A part of the bytes that inputs may take, for as long as it lives.
#[derive(Debug)]
struct Held {
    state: Rc<State>,
    bytes: u64,
}

impl Held {
    const fn none(state: Rc<State>) -> Self {
        Self { state, bytes: 0 }
    }

    /// Takes `more`, if there is room for them.
    fn grow(&mut self, more: u64) -> bool {
        let held = self.state.input_bytes.get().saturating_add(more);
        if held > MAX_HELD_INPUT_BYTES {
            return false;
        }
        self.state.input_bytes.set(held);
        self.bytes += more;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.state.input_bytes.update(|held| held - self.bytes);
    }
}

//! The gateway's half: the keeper of another process.

mod connecting;
mod files;
mod place;
mod port;
mod running;

use std::{
    collections::HashMap,
    error::Error,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use casemate_model::{ContextId, InputDigest, SessionId, Text};
use casemate_ports::{
    Chunk, Connection, Entry, KeeperError, Kind, Owner, PlaceSpec, PoolSize, PoolStatus,
    SessionKeeper, SessionSpec, SessionStatus,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    runtime::{self, Handle},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};

use self::connecting::Line;
pub use self::{connecting::Start, place::RemotePlace};
use crate::{
    body::OutBody,
    fault::Fault,
    limits::{MAX_ANSWER_BYTES, MAX_HEAD_BYTES, MAX_LONG_STREAMS, MAX_REQUEST_BYTES},
    route::{Nothing, OfContext, OfPath, OfPort, OfSession, Route, Stock},
};

/// The keeper behind a socket. A clone shares its connections, which are made anew when they break.
///
/// Each runtime that asks has a connection of its own, so that no answer waits for another thread to wake. What comes back
/// may be used on any thread, as long as the runtime that asked for it lives. What moves many bytes goes over the connection
/// of the runtime in which this was made.
#[derive(Clone, Debug)]
pub struct RemoteKeeper(Arc<Remote>);

#[derive(Debug)]
struct Remote {
    socket: PathBuf,
    home: Arc<Line>,
    /// Those of other runtimes.
    lines: Mutex<HashMap<runtime::Id, Arc<Line>>>,
    long_streams: Arc<Semaphore>,
    start: Option<Box<dyn Start>>,
}

impl RemoteKeeper {
    /// The keeper that listens on `socket`. Needs a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// When nobody listens there, or somebody who is not this user.
    pub async fn connect(socket: &Path) -> Result<Self, KeeperError> {
        Self::new(socket, None).await
    }

    /// The keeper that listens on `socket`; `start` starts one whenever nobody does, now or later. Needs a tokio runtime
    /// with time and I/O.
    ///
    /// # Errors
    /// When none can be started, none answers in time, or somebody answers who is not this user.
    pub async fn connect_or_start(
        socket: &Path,
        start: impl Start + 'static,
    ) -> Result<Self, KeeperError> {
        Self::new(socket, Some(Box::new(start))).await
    }

    async fn new(socket: &Path, start: Option<Box<dyn Start>>) -> Result<Self, KeeperError> {
        let remote = Self(Arc::new(Remote {
            socket: socket.to_owned(),
            home: Arc::new(Line::here(Handle::current())),
            lines: Mutex::default(),
            long_streams: Arc::new(Semaphore::new(MAX_LONG_STREAMS)),
            start,
        }));
        remote.sender(&remote.0.home).await?;
        Ok(remote)
    }

    /// Asks a question that is one value, for an answer that is one value.
    async fn ask<A: DeserializeOwned>(
        &self,
        route: Route,
        question: Result<Bytes, KeeperError>,
    ) -> Result<A, KeeperError> {
        let line = self.near();
        let response = self.send(&line, route, OutBody::whole(question?)).await?;
        answer(response).await
    }

    /// Sends a request, and gives the response if it is a success.
    async fn send(
        &self,
        line: &Line,
        route: Route,
        body: OutBody,
    ) -> Result<Response<Incoming>, KeeperError> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri(route)?;
        let response = self.exchange(line, request).await?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status();
        match answer::<Fault>(response).await {
            Ok(fault) => Err(fault.into_keeper_error()),
            Err(_) => Err(KeeperError::Unavailable(format!(
                "it answered with the status {status}"
            ))),
        }
    }

    async fn exchange(
        &self,
        line: &Line,
        request: Request<OutBody>,
    ) -> Result<Response<Incoming>, KeeperError> {
        let mut sender = self.sender(line).await?;
        let mut failure = match sender.try_send_request(request).await {
            Ok(response) => return Ok(response),
            Err(failure) => failure,
        };
        // Not a byte of it was sent: the connection broke before.
        let Some(request) = failure.take_message() else {
            return Err(unavailable(failure.error()));
        };
        let mut sender = self.sender(line).await?;
        let sent = sender.try_send_request(request).await;
        sent.map_err(|failure| unavailable(failure.error()))
    }

    /// One of the streams that may be open for long.
    fn long_stream(&self) -> Result<OwnedSemaphorePermit, KeeperError> {
        let permit = self.0.long_streams.clone().try_acquire_owned();
        permit.map_err(|_| KeeperError::Quota {
            quota: "streams".into(),
            of: "the connection to the keeper".into(),
            limit: MAX_LONG_STREAMS as u64,
            used: MAX_LONG_STREAMS as u64,
        })
    }
}

fn uri(route: Route) -> Result<http::Uri, KeeperError> {
    // HTTP wants an authority; a socket has none.
    let uri = http::Uri::builder()
        .scheme("http")
        .authority("keeper")
        .path_and_query(route.path());
    uri.build().map_err(|error| unavailable(&error))
}

async fn answer<A: DeserializeOwned>(response: Response<Incoming>) -> Result<A, KeeperError> {
    let collected = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect();
    let bytes = match collected.await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => return Err(unavailable(error.as_ref())),
    };
    serde_json::from_slice(&bytes).map_err(|error| unavailable(&error))
}

fn question<Q: Serialize>(question: &Q) -> Result<Bytes, KeeperError> {
    within(question, MAX_REQUEST_BYTES)
}

/// The first frame's content.
fn head<Q: Serialize>(head: &Q) -> Result<Bytes, KeeperError> {
    within(head, MAX_HEAD_BYTES)
}

fn within<Q: Serialize>(value: &Q, most: usize) -> Result<Bytes, KeeperError> {
    let bytes = serde_json::to_vec(value).map_err(|error| KeeperError::Spec(error.to_string()))?;
    if bytes.len() > most {
        let problem = format!(
            "a request of {} bytes is over the limit of {most}",
            bytes.len()
        );
        return Err(KeeperError::Spec(problem));
    }
    Ok(bytes.into())
}

/// What broke the connection, to its last cause: nobody else prints the chain.
pub(crate) fn unavailable(error: &dyn Error) -> KeeperError {
    KeeperError::Unavailable(chain(error))
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut problem = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        problem.push_str(": ");
        problem.push_str(&error.to_string());
        cause = error.source();
    }
    problem
}

impl SessionKeeper for RemoteKeeper {
    type Place = RemotePlace;

    async fn stock(&self, owner: Owner, kind: Kind, size: PoolSize) -> Result<(), KeeperError> {
        let stock = question(&Stock { owner, kind, size });
        self.ask(Route::Stock, stock).await
    }

    async fn pools(&self) -> Result<Vec<PoolStatus>, KeeperError> {
        self.ask(Route::Pools, question(&Nothing {})).await
    }

    async fn open(&self, spec: SessionSpec) -> Result<SessionStatus, KeeperError> {
        self.ask(Route::Open, question(&spec)).await
    }

    async fn sessions(&self) -> Result<Vec<SessionStatus>, KeeperError> {
        self.ask(Route::Sessions, question(&Nothing {})).await
    }

    async fn close(&self, session: SessionId, owner: Owner) -> Result<(), KeeperError> {
        let of = question(&OfSession { session, owner });
        self.ask(Route::Close, of).await
    }

    async fn place(&self, spec: PlaceSpec) -> Result<RemotePlace, KeeperError> {
        place::open(self, spec).await
    }

    async fn open_context(
        &self,
        session: SessionId,
        owner: Owner,
        context: ContextId,
    ) -> Result<(), KeeperError> {
        let of = question(&OfContext {
            session,
            owner,
            context,
        });
        self.ask(Route::OpenContext, of).await
    }

    async fn close_context(
        &self,
        session: SessionId,
        owner: Owner,
        context: ContextId,
    ) -> Result<(), KeeperError> {
        let of = question(&OfContext {
            session,
            owner,
            context,
        });
        self.ask(Route::CloseContext, of).await
    }

    async fn write_file(
        &self,
        session: SessionId,
        owner: Owner,
        path: Text,
        content: mpsc::Receiver<Chunk>,
    ) -> Result<InputDigest, KeeperError> {
        let of = OfPath {
            session,
            owner,
            path,
        };
        files::write(self, of, content).await
    }

    async fn read_file(
        &self,
        session: SessionId,
        owner: Owner,
        path: Text,
    ) -> Result<(u64, mpsc::Receiver<Vec<u8>>), KeeperError> {
        let of = OfPath {
            session,
            owner,
            path,
        };
        files::read(self, of).await
    }

    async fn list_files(
        &self,
        session: SessionId,
        owner: Owner,
        path: Text,
    ) -> Result<Vec<Entry>, KeeperError> {
        let of = question(&OfPath {
            session,
            owner,
            path,
        });
        self.ask(Route::ListFiles, of).await
    }

    async fn remove_file(
        &self,
        session: SessionId,
        owner: Owner,
        path: Text,
    ) -> Result<(), KeeperError> {
        let of = question(&OfPath {
            session,
            owner,
            path,
        });
        self.ask(Route::RemoveFile, of).await
    }

    async fn pack(
        &self,
        session: SessionId,
        owner: Owner,
    ) -> Result<(u64, mpsc::Receiver<Chunk>), KeeperError> {
        files::pack(self, OfSession { session, owner }).await
    }

    async fn unpack(
        &self,
        session: SessionId,
        owner: Owner,
        content: mpsc::Receiver<Chunk>,
    ) -> Result<(), KeeperError> {
        files::unpack(self, OfSession { session, owner }, content).await
    }

    async fn connect(
        &self,
        session: SessionId,
        owner: Owner,
        port: u16,
    ) -> Result<Connection, KeeperError> {
        let of = OfPort {
            session,
            owner,
            port,
        };
        port::open(self, of).await
    }
}

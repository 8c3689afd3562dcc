//! One request: its route, its question, its answer.

use bytes::Bytes;
use casemate_ports::{KeeperError, SessionKeeper};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{task::spawn_local, time::timeout};

use super::{Counted, Server, connection, files, place};
use crate::{
    body::OutBody,
    fault::Fault,
    inbox::Inbox,
    limits::{MAX_REQUEST_BYTES, REQUEST_TIMEOUT},
    route::{Nothing, OfContext, OfPath, OfSession, Route, Stock},
    to_keeper::ToKeeper,
};

/// The answer to any request at all.
pub(super) async fn answer<K: SessionKeeper + 'static>(
    server: Server<K>,
    request: Request<Incoming>,
) -> Response<OutBody> {
    match attempt(server, request).await {
        Ok(body) => Response::new(body),
        Err(fault) => {
            // A fault always has a JSON form; were it not so, the status says enough.
            let body = serde_json::to_vec(&fault).unwrap_or_default();
            let mut response = Response::new(OutBody::whole(body.into()));
            *response.status_mut() = fault.status();
            response
        }
    }
}

async fn attempt<K: SessionKeeper + 'static>(
    server: Server<K>,
    request: Request<Incoming>,
) -> Result<OutBody, Fault> {
    let counted = server.enter()?;
    let path = request.uri().path();
    let Some(route) = Route::of_path(path) else {
        return Err(Fault::Route(path.chars().take(100).collect()));
    };
    if request.method() != Method::POST {
        let method = request.method().as_str();
        return Err(Fault::Method(method.chars().take(100).collect()));
    }
    let starts = matches!(
        route,
        Route::Stock | Route::Open | Route::Place | Route::OpenContext | Route::Connect
    );
    if starts && server.state.draining.get() {
        return Err(Fault::Draining);
    }
    dispatch(server, counted, route, request.into_body()).await
}

async fn dispatch<K: SessionKeeper + 'static>(
    server: Server<K>,
    counted: Counted,
    route: Route,
    body: Incoming,
) -> Result<OutBody, Fault> {
    let keeper = server.keeper.clone();
    match route {
        Route::Stock => {
            let Stock { owner, kind, size } = question(body).await?;
            whole(
                counted,
                async move { keeper.stock(owner, kind, size).await },
            )
            .await
        }
        Route::Pools => {
            let Nothing {} = question(body).await?;
            whole(counted, async move { keeper.pools().await }).await
        }
        Route::Open => {
            let spec = question(body).await?;
            whole(counted, async move { keeper.open(spec).await }).await
        }
        Route::Sessions => {
            let Nothing {} = question(body).await?;
            whole(counted, async move { keeper.sessions().await }).await
        }
        Route::Close => {
            let OfSession { session, owner } = question(body).await?;
            whole(counted, async move { keeper.close(session, owner).await }).await
        }
        Route::OpenContext => {
            let OfContext {
                session,
                owner,
                context,
            } = question(body).await?;
            let opened = async move { keeper.open_context(session, owner, context).await };
            whole(counted, opened).await
        }
        Route::CloseContext => {
            let OfContext {
                session,
                owner,
                context,
            } = question(body).await?;
            let closed = async move { keeper.close_context(session, owner, context).await };
            whole(counted, closed).await
        }
        Route::ListFiles => {
            let OfPath {
                session,
                owner,
                path,
            } = question(body).await?;
            let listed = async move { keeper.list_files(session, owner, path).await };
            whole(counted, listed).await
        }
        Route::RemoveFile => {
            let OfPath {
                session,
                owner,
                path,
            } = question(body).await?;
            let removed = async move { keeper.remove_file(session, owner, path).await };
            whole(counted, removed).await
        }
        Route::ReadFile => files::read(server, counted, question(body).await?).await,
        Route::WriteFile => files::write(server, counted, Inbox::new(body)).await,
        Route::Pack => files::pack(server, counted, question(body).await?).await,
        Route::Unpack => files::unpack(server, counted, Inbox::new(body)).await,
        Route::Place => Box::pin(place::open(server, counted, Inbox::new(body))).await,
        Route::Connect => connection::open(server, counted, Inbox::new(body)).await,
    }
}

/// Does `work` to its end, whether or not its caller waits for it, and gives its answer.
pub(super) async fn whole<A: Serialize + 'static>(
    counted: Counted,
    work: impl Future<Output = Result<A, KeeperError>> + 'static,
) -> Result<OutBody, Fault> {
    let done = spawn_local(async move {
        let _counted = counted;
        work.await
    });
    let answer = done.await.map_err(|_| lost())??;
    let body = serde_json::to_vec(&answer).map_err(|error| Fault::Json(error.to_string()))?;
    Ok(OutBody::whole(body.into()))
}

/// The keeper's work was thrown away: it is about to end, or it failed in a way of its own.
pub(super) fn lost() -> KeeperError {
    KeeperError::Unavailable("it gave up in the middle".into())
}

async fn question<Q: DeserializeOwned>(body: Incoming) -> Result<Q, Fault> {
    let limited = Limited::new(body, MAX_REQUEST_BYTES).collect();
    match timeout(REQUEST_TIMEOUT, limited).await {
        Err(_) => Err(Fault::TimedOut),
        Ok(Ok(collected)) => parse(&collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Fault::TooLarge(MAX_REQUEST_BYTES)),
        Ok(Err(_)) => Err(Fault::CutOff),
    }
}

/// The head of a stream.
pub(super) async fn head<Q: DeserializeOwned>(inbox: &mut Inbox<ToKeeper>) -> Result<Q, Fault> {
    match timeout(REQUEST_TIMEOUT, inbox.next()).await {
        Err(_) => Err(Fault::TimedOut),
        Ok(frame) => match frame? {
            Some(ToKeeper::Head(head)) => parse(&head),
            Some(_) => Err(unexpected()),
            None => Err(Fault::CutOff),
        },
    }
}

fn parse<Q: DeserializeOwned>(json: &Bytes) -> Result<Q, Fault> {
    serde_json::from_slice(json).map_err(|error| Fault::Json(error.to_string()))
}

/// A frame at a moment where it means nothing.
pub(super) fn unexpected() -> Fault {
    Fault::Protocol("a frame that nobody waits for".into())
}

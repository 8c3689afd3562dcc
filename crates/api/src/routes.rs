//! Which path leads where.

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{delete, get, post},
};
use casemate_gateway::SessionStores;
use casemate_ports::SessionKeeper;

use crate::{
    approvals, calls, contexts, files,
    limits::{MAX_ANSWER_BYTES, MAX_CALL_BYTES},
    page, ports,
    problem::Problem,
    sessions,
    state::Api,
    terminal,
};

/// A keeper that any thread may use.
pub trait Keeps: SessionKeeper + Send + Sync + 'static {}

impl<K: SessionKeeper + Send + Sync + 'static> Keeps for K {}

/// Stores that any thread may use.
pub trait Remembers: SessionStores + Send + Sync + 'static {}

impl<P: SessionStores + Send + Sync + 'static> Remembers for P {}

/// The interface.
pub fn router<K: Keeps, P: Remembers>(api: Arc<Api<K, P>>) -> Router {
    let file = get(files::read::<K, P>)
        // As large as the session's disk takes.
        .put(files::write::<K, P>)
        .layer(DefaultBodyLimit::disable())
        .delete(files::remove::<K, P>);
    let answer = post(approvals::answer::<K, P>).layer(DefaultBodyLimit::max(MAX_ANSWER_BYTES));
    Router::new()
        .route("/v1/calls", post(calls::create::<K, P>))
        .route("/v1/calls/{id}", get(calls::show::<K, P>))
        .route("/v1/calls/{id}/events", get(calls::events::<K, P>))
        .route("/v1/calls/{id}/cancel", post(calls::cancel::<K, P>))
        .route(
            "/v1/sessions",
            get(sessions::list::<K, P>).post(sessions::open::<K, P>),
        )
        .route(
            "/v1/sessions/{id}",
            get(sessions::show::<K, P>).delete(sessions::destroy::<K, P>),
        )
        .route("/v1/approvals", get(approvals::list::<K, P>))
        .route("/v1/approvals/events", get(approvals::events::<K, P>))
        .route("/v1/approvals/{id}", get(approvals::show::<K, P>))
        .route("/v1/approvals/{id}/answer", answer)
        .route("/v1/approvals/{id}/cancel", post(approvals::cancel::<K, P>))
        .route("/v1/sessions/{id}/contexts", post(contexts::open::<K, P>))
        .route("/v1/contexts/{id}", delete(contexts::close::<K, P>))
        .route("/v1/sessions/{id}/files", get(files::list::<K, P>))
        .route("/v1/sessions/{id}/files/{*path}", file)
        .route(
            "/v1/sessions/{id}/ports/{port}",
            get(ports::connect::<K, P>),
        )
        .route("/v1/sessions/{id}/terminal", get(terminal::open::<K, P>))
        .route("/v1/pools", get(sessions::pools::<K, P>))
        .route("/v1/load", get(sessions::load::<K, P>))
        .route("/approvals", get(page::approvals))
        .fallback(no_such_path)
        .layer(DefaultBodyLimit::max(MAX_CALL_BYTES))
        .with_state(api)
}

async fn no_such_path() -> Problem {
    Problem::no_such_path()
}

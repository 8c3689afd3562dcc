//! Stateful interpreters.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use casemate_model::ContextId;
use serde_json::json;

use crate::{
    extract::{Asked, Named},
    owner::OfAgent,
    problem::Problem,
    routes::{Keeps, Remembers},
    sessions::session,
    state::Api,
};

/// `POST /v1/sessions/{id}/contexts`
pub(crate) async fn open<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    Named(id): Named<String>,
    Asked(OfAgent { agent }): Asked<OfAgent>,
) -> Result<Response, Problem> {
    let (owner, session) = (api.owner(agent), session(&id)?);
    let opened =
        api.with(move |sessions| async move { sessions.open_context(&owner, session).await });
    let context = opened.await??;
    let body = Json(json!({ "context": context, "session": session, "language": "python" }));
    Ok((StatusCode::CREATED, body).into_response())
}

/// `DELETE /v1/contexts/{id}`
pub(crate) async fn close<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    Named(id): Named<String>,
    Asked(OfAgent { agent }): Asked<OfAgent>,
) -> Result<Response, Problem> {
    let owner = api.owner(agent);
    let context: ContextId = id
        .parse()
        .map_err(|error| Problem::invalid(format!("{error}")))?;
    let closed =
        api.with(move |sessions| async move { sessions.close_context(&owner, context).await });
    closed.await??;
    Ok(StatusCode::NO_CONTENT.into_response())
}

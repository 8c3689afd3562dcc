//! Stateful interpreters.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode, response::Response};
use casemate_gateway::Done;
use casemate_model::ContextId;
use serde_json::json;

use crate::{
    extract::{Asked, Named},
    owner::{OfAgent, named},
    problem::Problem,
    routes::{Keeps, Remembers},
    sessions::OfSession,
    state::Api,
    who::Who,
};

/// `POST /v1/sessions/{id}/contexts`
pub(crate) async fn open<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    OfSession { caller, session }: OfSession,
) -> Result<Response, Problem> {
    let opened =
        api.with(move |sessions| async move { sessions.open_context(&caller, session).await });
    let Done {
        decision,
        value: context,
    } = opened.await??;
    let body = Json(json!({ "context": context, "session": session, "language": "python" }));
    Ok(named(decision, (StatusCode::CREATED, body)))
}

/// `DELETE /v1/contexts/{id}`
pub(crate) async fn close<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    Asked(OfAgent { agent }): Asked<OfAgent>,
) -> Result<Response, Problem> {
    let caller = who.caller(agent);
    let context: ContextId = id
        .parse()
        .map_err(|error| Problem::invalid(format!("{error}")))?;
    let closed =
        api.with(move |sessions| async move { sessions.close_context(&caller, context).await });
    let done = closed.await??;
    Ok(named(done.decision, StatusCode::NO_CONTENT))
}

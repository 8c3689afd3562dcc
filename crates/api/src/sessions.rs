//! Sessions as a whole, pools, and how much goes on.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, State, rejection::JsonRejection},
    http::{StatusCode, request::Parts},
    response::{IntoResponse as _, Response},
};
use casemate_gateway::{Caller, Done, SessionError, SessionView};
use casemate_model::SessionId;
use casemate_ports::PoolStatus;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use crate::{
    extract::{Asked, Named},
    limits::PAUSED_LOOK_MS,
    openapi::AgentName,
    owner::{OfAgent, agent, local, named},
    paging::{Order, Paging},
    problem::Problem,
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

/// A session to open.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenRequest {
    #[serde(default = "local", deserialize_with = "agent")]
    #[schemars(with = "AgentName")]
    agent: String,
    thread: Option<String>,
    route: Option<String>,
}

/// The id in a path.
pub(crate) fn session(id: &str) -> Result<SessionId, Problem> {
    id.parse()
        .map_err(|error| Problem::invalid(format!("{error}")))
}

/// A session that the path names, and who asks about it.
pub(crate) struct OfSession {
    pub(crate) caller: Caller,
    pub(crate) session: SessionId,
}

impl<S: Send + Sync> FromRequestParts<S> for OfSession {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let who = Who::from_request_parts(parts, state).await?;
        let Named(id) = Named::<String>::from_request_parts(parts, state).await?;
        let Asked(OfAgent { agent }) = Asked::from_request_parts(parts, state).await?;
        Ok(Self {
            caller: who.caller(agent),
            session: session(&id)?,
        })
    }
}

fn shown(view: &SessionView) -> Value {
    let record = &view.record;
    let end = record.end.as_ref().map(|end| {
        json!({
            "why": end.why,
            "detail": view.ending().map(|ending| ending.to_string()),
            "at_ms": end.at_ms,
        })
    });
    let status = view.status.as_ref();
    json!({
        "session": record.id,
        "thread": record.thread,
        "image": record.image,
        "policy": record.profile,
        "created_at_ms": record.created_at_ms,
        "used_at_ms": record.used_at_ms,
        "state": match (&end, &record.paused) {
            (Some(_), _) => "gone",
            (None, Some(_)) => "paused",
            (None, None) => "alive",
        },
        "gone": end,
        "paused": record.paused.as_ref().map(|pause| paused(pause.bytes, pause.at_ms, pause.until_ms)),
        "calls": status.map(|status| status.calls),
        "idle_ms": status.map(|status| status.idle_ms),
        "age_ms": status.map(|status| status.age_ms),
        "warm": status.map(|status| status.warm),
        "contexts": status.map(|status| &status.contexts),
    })
}

fn paused(bytes: u64, at_ms: u64, until_ms: u64) -> Value {
    json!({ "bytes": bytes, "at_ms": at_ms, "until_ms": until_ms })
}

/// `POST /v1/sessions`
pub(crate) async fn open<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    request: Result<Json<OpenRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(request) = request?;
    let caller = who.caller(request.agent);
    let (thread, route) = (request.thread, request.route);
    check_thread(thread.as_deref())?;
    let opened = api.with(move |sessions| async move {
        let Some(policy) = sessions.policy(route.as_deref()) else {
            let (reason, why) = sessions.no_policy(route.as_deref());
            return Err(Problem::of_reason(reason, why));
        };
        let opened = Box::pin(sessions.open_session(&caller, thread.as_deref(), &policy));
        Ok(opened.await?)
    });
    let Done { decision, value } = opened.await??;
    let (session, new) = value;
    let status = if new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let body = Json(json!({ "session": session, "new_session": new }));
    Ok(named(decision, (status, body)))
}

/// `GET /v1/sessions`
pub(crate) async fn list<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Asked(OfAgent { agent }): Asked<OfAgent>,
    Asked(paging): Asked<Paging>,
) -> Result<Response, Problem> {
    let owner = who.owner(agent.clone());
    let listed = api.with(move |sessions| async move { sessions.list(&owner).await });
    let listed = listed.await??.into_iter();
    let within = listed.filter(|view| who.reaches(&agent, view.record.thread.as_deref()));
    let sessions = within.map(|view| (view.record.id.to_string(), shown(&view)));
    let piece = paging.answer("sessions", Order::Descending, sessions.collect())?;
    Ok(Json(piece).into_response())
}

/// `GET /v1/sessions/{id}`
pub(crate) async fn show<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    Asked(OfAgent { agent }): Asked<OfAgent>,
) -> Result<Response, Problem> {
    let (owner, session) = (who.owner(agent.clone()), session(&id)?);
    let view = api.with(move |sessions| async move { sessions.show(&owner, session).await });
    let view = view.await??;
    match who.reaches(&agent, view.record.thread.as_deref()) {
        true => Ok(Json(shown(&view)).into_response()),
        false => Err(SessionError::Unknown(session).into()),
    }
}

/// `DELETE /v1/sessions/{id}`
pub(crate) async fn destroy<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    OfSession { caller, session }: OfSession,
) -> Result<Response, Problem> {
    let done = api.with(move |sessions| async move { sessions.destroy(&caller, session).await });
    let done = done.await??;
    Ok(named(done.decision, StatusCode::NO_CONTENT))
}

/// `POST /v1/sessions/{id}/pause`
pub(crate) async fn pause<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    OfSession { caller, session }: OfSession,
) -> Result<Response, Problem> {
    let done =
        api.with(move |sessions| async move { sessions.pause_session(&caller, session).await });
    let Done { decision, value } = done.await??;
    let body = Json(
        json!({ "session": session, "paused": paused(value.bytes, value.at_ms, value.until_ms) }),
    );
    Ok(named(decision, body))
}

/// `POST /v1/sessions/{id}/resume`
pub(crate) async fn resume<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    OfSession { caller, session }: OfSession,
) -> Result<Response, Problem> {
    let done =
        api.with(move |sessions| async move { sessions.resume_session(&caller, session).await });
    let decision = done.await??.decision;
    let body = Json(json!({ "session": session, "new_session": false }));
    Ok(named(decision, body))
}

/// Of which agent the session is, and for which thread its copy is to be.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct OfCopy {
    #[serde(default = "local", deserialize_with = "agent")]
    #[schemars(with = "AgentName")]
    agent: String,
    thread: Option<String>,
}

/// `POST /v1/sessions/{id}/copy`
pub(crate) async fn copy<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    Asked(OfCopy { agent, thread }): Asked<OfCopy>,
) -> Result<Response, Problem> {
    let (caller, session) = (who.caller(agent), session(&id)?);
    check_thread(thread.as_deref())?;
    let done = api.with(move |sessions| async move {
        Box::pin(sessions.copy_session(&caller, session, thread.as_deref())).await
    });
    let Done { decision, value } = done.await??;
    let body = Json(json!({ "session": value, "new_session": true }));
    Ok(named(decision, (StatusCode::CREATED, body)))
}

/// Refuses what no thread is called.
fn check_thread(thread: Option<&str>) -> Result<(), Problem> {
    let bad =
        |name: &str| name.is_empty() || name.len() > 255 || name.chars().any(char::is_control);
    if thread.is_some_and(bad) {
        return Err(Problem::invalid(
            "the thread's name must have 1 to 255 bytes and no control characters",
        ));
    }
    Ok(())
}

/// `GET /v1/pools`
pub(crate) async fn pools<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Asked(paging): Asked<Paging>,
) -> Result<Response, Problem> {
    let tenant = who.tenant().to_owned();
    let pools = api.with(move |sessions| async move { sessions.pools(&tenant).await });
    let mut pools = pools.await??;
    pools.retain(|pool| who.get().bounds().has_agent(&pool.owner.agent));
    let placed = |pool: PoolStatus| {
        let place = json!([pool.owner, pool.kind]).to_string();
        (place, json!(pool))
    };
    let pools = pools.into_iter().map(placed).collect();
    let piece = paging.answer("pools", Order::Ascending, pools)?;
    Ok(Json(piece).into_response())
}

impl<K: Keeps, P: Remembers> Api<K, P> {
    /// Ends paused sessions when their time is over, for as long as it is polled.
    pub async fn look_after_paused(&self) -> std::convert::Infallible {
        loop {
            sleep(Duration::from_millis(PAUSED_LOOK_MS)).await;
            let ended = self.with(|sessions| async move { sessions.end_overdue_pauses().await });
            // What could not be ended is looked at again.
            drop(ended.await);
        }
    }
}

/// `GET /v1/load`
pub(crate) async fn load<K: Keeps, P: Remembers>(State(api): State<Arc<Api<K, P>>>) -> Json<Value> {
    let (running, waiting) = api.sessions.load();
    Json(json!({ "running": running, "waiting": waiting }))
}

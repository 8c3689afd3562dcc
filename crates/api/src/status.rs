//! How the gateway stands: whether it is there, whether calls can be run, and what it is made of.

use std::{
    fmt,
    sync::{Arc, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use serde_json::json;
use tokio::{sync::Mutex, time::timeout};

use crate::{
    limits::{KEEPER_ANSWER_MS, READINESS_KEPT_MS},
    problem::Problem,
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

/// The processes of a gateway.
pub trait Household: fmt::Debug + Send + Sync {
    /// Those that there are, and those that there should be. May block.
    fn processes(&self) -> Vec<Process>;
}

/// A process of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// What it is: `gateway`, `keeper`, `identity`, `egress` or `supervisor`.
    pub name: &'static str,
    /// Its number, if it is there.
    pub pid: Option<i32>,
    /// Whether calls cannot be run without it, or it has to be there all the time.
    pub needed: bool,
}

/// What was found out last, and when, in milliseconds since 1970.
#[derive(Debug, Default)]
pub(crate) struct Readiness(Mutex<Option<(u64, Missing)>>);

/// What is missing for calls to be run.
pub(crate) type Missing = Arc<[&'static str]>;

impl<K: Keeps, P: Remembers> Api<K, P> {
    /// What is missing for calls to be run: nothing, as a rule. Whoever asks often is told again what was found out last.
    pub async fn missing(self: &Arc<Self>) -> Arc<[&'static str]> {
        let mut kept = self.readiness.0.lock().await;
        let now_ms = self.sessions.clock().now_ms();
        if let Some((at_ms, missing)) = &*kept
            && (*at_ms..at_ms.saturating_add(READINESS_KEPT_MS)).contains(&now_ms)
        {
            return Arc::clone(missing);
        }
        let missing = Missing::from(self.look().await);
        *kept = Some((self.sessions.clock().now_ms(), Arc::clone(&missing)));
        missing
    }

    async fn look(self: &Arc<Self>) -> Vec<&'static str> {
        let mut missing = Vec::new();
        // No tenant has no name.
        let answers = self.with(async |sessions| sessions.pools("").await.is_ok());
        let answers = timeout(Duration::from_millis(KEEPER_ANSWER_MS), answers).await;
        if !matches!(answers, Ok(Ok(true))) {
            missing.push("keeper");
        }
        let looked = self.blocking(|api| {
            let mut missing = Vec::new();
            let mut need = |there: bool, what| {
                if !there {
                    missing.push(what);
                }
            };
            need(api.sessions.journal().head().is_ok(), "records");
            need(!api.sessions.routes().is_empty(), "policies");
            need(api.switchboard.board().switches().is_ok(), "switches");
            let processes = api.household.iter().flat_map(|of| of.processes());
            // The keeper was asked.
            for process in processes.filter(|process| process.name != "keeper") {
                need(process.pid.is_some() || !process.needed, process.name);
            }
            missing
        });
        missing.extend(looked.await.unwrap_or_else(|_| vec!["gateway"]));
        missing
    }
}

/// `GET /healthz`: somebody answers.
pub(crate) async fn healthz() -> Response {
    ([(header::CACHE_CONTROL, "no-store")], "ok\n").into_response()
}

/// `GET /readyz`: calls can be run.
pub(crate) async fn readyz<K: Keeps, P: Remembers>(State(api): State<Arc<Api<K, P>>>) -> Response {
    let missing = api.missing().await;
    let status = match missing.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = Json(json!({ "ready": missing.is_empty(), "missing": *missing }));
    (status, [(header::CACHE_CONTROL, "no-store")], body).into_response()
}

/// `GET /v1/status`
pub(crate) async fn show<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
) -> Result<Response, Problem> {
    let missing = api.missing().await;
    let (running, waiting) = api.sessions.load();
    let (sessions, approvals) = api.sessions.count_of(who.tenant());
    let (head, processes) = api
        .blocking(|api| {
            let processes: Vec<_> = api.household.iter().flat_map(|of| of.processes()).collect();
            (api.sessions.journal().head(), processes)
        })
        .await?;
    let ledger = match head {
        Ok(head) => json!({
            "records": head.as_ref().map_or(0, |head| head.size),
            "root": head.map(|head| head.root),
        }),
        Err(error) => return Err(Problem::of_record(&error)),
    };
    let enforced = api.enforced.lock();
    let enforced = enforced.unwrap_or_else(PoisonError::into_inner).clone();
    let body = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "ready": missing.is_empty(),
        "missing": *missing,
        "processes": processes,
        "sessions": sessions,
        "waiting_approvals": approvals,
        "calls": { "running": running, "waiting": waiting },
        "ledger": ledger,
        "enforced": enforced,
    });
    Ok(Json(body).into_response())
}

//! Kill switches, each within the tenant of whoever throws it, and within its bounds.

use std::sync::Arc;

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    response::{IntoResponse as _, Response},
};
use casemate_authority::{Position, Switch, SwitchKind, Throw};
use casemate_callers::Permission;
use casemate_gateway::ThrowError;
use casemate_model::{Bounds, Reason};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::{
    door::Asked,
    extract::Asked as Query,
    openapi::{PositionWord, SwitchKindWord},
    paging::{Order, Paging},
    problem::Problem,
    refusals::Refused,
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

/// A switch to throw.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewThrow {
    #[schemars(with = "SwitchKindWord")]
    kind: SwitchKind,
    name: String,
    #[schemars(with = "PositionWord")]
    to: Position,
    reason: String,
}

/// Whether a switch stops nothing that is out of these bounds. It stops a tool for every agent, an agent with every tool, and
/// either in every thread: whoever is bounded in another way too has none.
fn stops_within(bounds: &Bounds, kind: SwitchKind, name: &str) -> bool {
    let [tools, agents, threads] = [&bounds.tools, &bounds.agents, &bounds.threads];
    match (kind, tools, agents, threads) {
        (_, None, None, None) => true,
        (SwitchKind::Tool, Some(tools), None, None) => tools.contains(name),
        (SwitchKind::Agent, None, Some(agents), None) => agents.contains(name),
        _ => false,
    }
}

/// Whether somebody with these bounds may know of a switch: it stops what is within them, by its name.
fn is_known(bounds: &Bounds, kind: SwitchKind, name: &str) -> bool {
    match kind {
        SwitchKind::Tenant => true,
        SwitchKind::Tool => bounds.has_tool(name),
        SwitchKind::Agent => bounds.has_agent(name),
        _ => bounds.is_open(),
    }
}

/// `GET /v1/switches`: those that concern the caller's tenant, and are known within its bounds.
pub(crate) async fn list<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Query(paging): Query<Paging>,
) -> Result<Response, Problem> {
    let listed = api.blocking(move |api| {
        let switches = api.switchboard.board().switches();
        let switches = switches.map_err(|error| Problem::failed(error.to_string()))?;
        let concerns = |switch: &&Arc<Switch>| match (&switch.tenant, switch.kind) {
            (Some(tenant), _) => tenant == who.tenant(),
            (None, SwitchKind::Tenant) => switch.name == who.tenant(),
            (None, _) => true,
        };
        let found: Vec<_> = switches
            .all()
            .iter()
            .filter(concerns)
            .filter(|switch| is_known(who.get().bounds(), switch.kind, &switch.name))
            .map(|switch| {
                let place = json!([switch.kind, switch.tenant, switch.name]);
                (place.to_string(), json!(**switch))
            })
            .collect();
        paging.answer("switches", Order::Ascending, found)
    });
    Ok(Json(listed.await??).into_response())
}

/// `POST /v1/switches`
pub(crate) async fn throw<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    asked: Asked,
    request: Result<Json<NewThrow>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(request) = request?;
    let needs = match request.to {
        Position::Off => Permission::ThrowSwitches,
        Position::On => Permission::LiftSwitches,
    };
    if !who.may_any(&[needs]) {
        api.note_refusal(Refused::caller(&who, &[needs], &asked))
            .await;
        let detail = format!("none of the caller's roles may {needs}");
        return Err(Problem::of_reason(Reason::MissingScope, detail));
    }
    let tenant = who.tenant().to_owned();
    let tenant = match request.kind {
        SwitchKind::Tenant if request.name == tenant => None,
        SwitchKind::Tenant => {
            api.note_refusal(Refused::tenant(&who, &asked)).await;
            let detail = "only the caller's own tenant can be switched here";
            return Err(Problem::of_reason(Reason::TenantBoundary, detail));
        }
        _ => Some(tenant),
    };
    if !stops_within(who.get().bounds(), request.kind, &request.name) {
        api.note_refusal(Refused::bounds(&who, &asked)).await;
        let detail = "what it stops is not all within the bounds of the caller's envelope";
        return Err(Problem::of_reason(Reason::MissingScope, detail));
    }
    let throw = Throw {
        kind: request.kind,
        name: request.name,
        tenant,
        to: request.to,
        who: who.get().subject().to_owned(),
        reason: request.reason,
        at_ms: api.sessions.clock().now_ms(),
    };
    let claims = who.claims();
    let thrown = api.blocking(move |api| {
        let journal = api.sessions.journal();
        journal.throw(&api.switchboard, throw, &claims)
    });
    match thrown.await? {
        Ok(switch) => Ok(Json(json!(switch)).into_response()),
        Err(ThrowError::Switch(error)) => Err(Problem::invalid(error.to_string())),
        Err(ThrowError::Record(error)) => Err(Problem::of_record(&error)),
    }
}

//! What there is for a caller: routes and what they permit, the images that they name, and agents at work.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use casemate_gateway::Phase;
use casemate_policy::{RoutePolicy, Shown};
use serde_json::{Value, json};

use crate::{
    extract::Asked,
    paging::{Order, Paging},
    problem::Problem,
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

impl<K: Keeps, P: Remembers> Api<K, P> {
    /// The routes whose profiles are for the tenant of whoever asks.
    fn routes_for(&self, who: &Who) -> Vec<RoutePolicy> {
        let routes = self.sessions.routes();
        let policies = routes.iter().filter_map(|route| {
            let policy = self.sessions.policy(Some(route))?;
            let tenants = &policy.identity.allowed_tenants;
            tenants
                .iter()
                .any(|tenant| tenant == who.tenant())
                .then_some(policy)
        });
        policies.collect()
    }
}

/// `GET /v1/profiles`
pub(crate) async fn profiles<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Asked(paging): Asked<Paging>,
) -> Result<Response, Problem> {
    let profiles = api.routes_for(&who).into_iter().map(|policy| {
        let tools = policy.tools.listed().filter_map(|tool| {
            let claims = who.claims();
            let shown = policy.shows(tool, claims.get())?;
            Some(described(&policy, tool, shown))
        });
        let profile = json!({
            "route": policy.route,
            "profile": policy.digest(),
            "session": policy.sandbox.session.as_str(),
            "image": api.sessions.image_of(&policy).map(|(name, _)| name),
            "limits": policy.sandbox.limits,
            "tools": tools.collect::<Vec<_>>(),
        });
        (policy.route.clone(), profile)
    });
    let piece = paging.answer("profiles", Order::Ascending, profiles.collect())?;
    Ok(Json(piece).into_response())
}

/// A tool that the caller could call: each call is still decided.
fn described(policy: &RoutePolicy, tool: &str, shown: Shown) -> Value {
    let mut held = policy.tools.approval_required.iter();
    json!({
        "tool": tool,
        "side_effect": shown.side_effect,
        "reaches_out": shown.reaches_out,
        "needs_approval": held.any(|held| held == tool),
    })
}

/// `GET /v1/images`: those that the routes of the tenant name.
pub(crate) async fn images<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Asked(paging): Asked<Paging>,
) -> Result<Response, Problem> {
    // Names are looked up on disk.
    let named = api.blocking(move |api| {
        let mut named = BTreeMap::<_, (_, BTreeSet<String>)>::new();
        for policy in api.routes_for(&who) {
            if let Some((name, digest)) = api.sessions.image_of(&policy) {
                let (_, routes) = named.entry(name).or_insert((digest, BTreeSet::new()));
                routes.insert(policy.route.clone());
            }
        }
        named
    });
    let images = named.await?.into_iter().map(|(name, (digest, routes))| {
        let image = json!({ "name": name, "image": digest, "routes": routes });
        (name, image)
    });
    let piece = paging.answer("images", Order::Ascending, images.collect())?;
    Ok(Json(piece).into_response())
}

/// `GET /v1/agents`: those that have live sessions, or calls that have not ended.
pub(crate) async fn agents<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Asked(paging): Asked<Paging>,
) -> Result<Response, Problem> {
    let bounds = who.get().bounds();
    let mut agents = BTreeMap::<String, [u64; 3]>::new();
    // Whose threads they are is not counted: whoever is bound to some learns of calls in them only.
    if bounds.threads.is_none() && bounds.tools.is_none() {
        for (agent, count) in api.sessions.agents_of(who.tenant()) {
            if bounds.has_agent(&agent) {
                let [sessions, ..] = agents.entry(agent).or_default();
                *sessions = count;
            }
        }
    }
    for call in api.calls.going_of(who.tenant()) {
        if call.is_within(bounds) {
            let [_, calls, held] = agents.entry(call.owner.agent.clone()).or_default();
            match call.phase() {
                Phase::Held => *held += 1,
                _ => *calls += 1,
            }
        }
    }
    let agents = agents
        .into_iter()
        .map(|(agent, [sessions, calls, waiting_approvals])| {
            let shown = json!({
                "agent": agent,
                "sessions": sessions,
                "calls": calls,
                "waiting_approvals": waiting_approvals,
            });
            (agent, shown)
        });
    let piece = paging.answer("agents", Order::Ascending, agents.collect())?;
    Ok(Json(piece).into_response())
}

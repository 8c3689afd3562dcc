//! Containers: made, found and destroyed.

use std::sync::Arc;

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    response::{IntoResponse as _, Response},
};
use casemate_gateway::{Ending, SessionError, SessionView};
use casemate_model::SessionId;
use casemate_policy::{RoutePolicy, SessionMode};
use casemate_ports::Gone;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    By,
    list::Page,
    name::{Name, id_of, session_of},
    unknown,
};
use crate::{
    extract::{Asked, Named},
    limits::MAX_OPENAI_MINUTES,
    owner::named,
    problem::Problem,
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

/// After so many minutes without use a container is over, if nobody says it.
const DEFAULT_MINUTES: u64 = 20;
const MINUTE_MS: u64 = 60_000;
/// What memory there can be, in words of OpenAI and in bytes.
const MEMORY: [(&str, u64); 4] = [
    ("64g", 64 << 30),
    ("16g", 16 << 30),
    ("4g", 4 << 30),
    ("1g", 1 << 30),
];

/// A container to make.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewContainer {
    name: String,
    expires_after: Option<ExpiresAfter>,
    file_ids: Option<Vec<String>>,
    memory_limit: Option<String>,
    network_policy: Option<NetworkPolicy>,
    skills: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpiresAfter {
    #[serde(rename = "anchor")]
    _anchor: Anchor,
    minutes: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Anchor {
    LastActiveAt,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum NetworkPolicy {
    Disabled,
    Allowlist {
        allowed_domains: Vec<String>,
        domain_secrets: Option<Vec<Value>>,
    },
}

impl NewContainer {
    /// Whether a profile gives what is asked for: nothing is added to it, and what it cannot be narrowed to is not promised.
    fn check(&self, policy: &RoutePolicy) -> Result<(), Problem> {
        let route = &policy.route;
        let some = |list: &Option<Vec<Value>>| list.as_ref().is_some_and(|list| !list.is_empty());
        if self.file_ids.as_ref().is_some_and(|ids| !ids.is_empty()) {
            return Err(Problem::invalid(
                "`file_ids`: this server keeps no files outside of containers: upload them to the container",
            ));
        }
        if some(&self.skills) {
            return Err(Problem::invalid(
                "`skills` are not available in this server",
            ));
        }
        if let Some(wanted) = &self.memory_limit {
            let bytes = MEMORY.iter().find(|(word, _)| word == wanted);
            let (_, bytes) = bytes
                .ok_or_else(|| Problem::invalid("`memory_limit` is `1g`, `4g`, `16g` or `64g`"))?;
            if *bytes > policy.sandbox.limits.memory_bytes {
                let gives = policy.sandbox.limits.memory_bytes >> 20;
                return Err(Problem::invalid(format!(
                    "`memory_limit`: the profile `{route}` gives {gives} MiB (sandbox.limits.max_memory_bytes)"
                )));
            }
        }
        let allowed = domains(policy);
        match &self.network_policy {
            None => Ok(()),
            Some(NetworkPolicy::Disabled) if allowed.is_empty() => Ok(()),
            Some(NetworkPolicy::Allowlist { domain_secrets, .. }) if some(domain_secrets) => {
                Err(Problem::invalid(
                    "`domain_secrets`: credentials are lent by the profile, and are in no sandbox",
                ))
            }
            Some(NetworkPolicy::Allowlist {
                allowed_domains, ..
            }) if same(allowed_domains, &allowed) => Ok(()),
            Some(_) => {
                let reached = match allowed.is_empty() {
                    true => "nobody".to_owned(),
                    false => allowed.join(", "),
                };
                Err(Problem::invalid(format!(
                    "`network_policy`: whom a container reaches is decided by the profile `{route}`, and is {reached}"
                )))
            }
        }
    }
}

/// Whom programs of a profile reach.
fn domains(policy: &RoutePolicy) -> Vec<&str> {
    let rules = policy.sandbox.network.allowed_domains.iter();
    rules.map(|rule| rule.as_str()).collect()
}

fn same(wanted: &[String], allowed: &[&str]) -> bool {
    wanted
        .iter()
        .all(|domain| allowed.contains(&domain.as_str()))
        && allowed
            .iter()
            .all(|domain| wanted.iter().any(|one| one == domain))
}

/// A container that a caller may know of.
pub(super) struct Container {
    pub(super) session: SessionId,
    /// Whether it is over, and not because somebody wanted it.
    pub(super) is_over: bool,
    name: Name,
    created_ms: u64,
    used_ms: u64,
    /// What its profile gives, if that is still in force.
    gives: Option<(Option<&'static str>, Value)>,
}

impl Container {
    /// The one that a session is, if it is one that is not destroyed.
    fn of<K: Keeps, P: Remembers>(
        api: &Api<K, P>,
        who: &Who,
        agent: &str,
        view: &SessionView,
    ) -> Option<Self> {
        let record = &view.record;
        let thread = record.thread.as_deref()?;
        let ending = view.ending();
        let is_destroyed = matches!(ending, Some(Ending::Kept(Gone::Destroyed)));
        let name =
            Name::of(thread).filter(|_| who.reaches(agent, Some(thread)) && !is_destroyed)?;
        let routes = api.sessions.routes().into_iter();
        let mut policies = routes.filter_map(|route| api.sessions.policy(Some(&route)));
        let policy = policies.find(|policy| policy.digest() == record.profile);
        let idle_ms = view.status.as_ref().map(|status| status.idle_ms);
        let now_ms = api.sessions.clock().now_ms();
        Some(Self {
            session: record.id,
            is_over: ending.is_some(),
            name,
            created_ms: record.created_at_ms,
            used_ms: idle_ms.map_or(record.used_at_ms, |idle| now_ms.saturating_sub(idle)),
            gives: policy.as_ref().map(gives),
        })
    }

    fn json(&self) -> Value {
        let mut json = json!({
            "id": id_of(self.session),
            "object": "container",
            "created_at": self.created_ms / 1_000,
            "status": if self.is_over { "expired" } else { "running" },
            "expires_after": { "anchor": "last_active_at", "minutes": self.name.minutes },
            "last_active_at": self.used_ms / 1_000,
            "name": self.name.name,
        });
        if let (Some(object), Some((memory, network))) = (json.as_object_mut(), &self.gives) {
            object.extend(memory.map(|memory| ("memory_limit".to_owned(), json!(memory))));
            object.insert("network_policy".to_owned(), network.clone());
        }
        json
    }
}

/// What memory and which network a profile gives.
fn gives(policy: &RoutePolicy) -> (Option<&'static str>, Value) {
    let most = policy.sandbox.limits.memory_bytes;
    let memory = MEMORY.iter().find(|(_, bytes)| *bytes <= most);
    let network = match domains(policy) {
        allowed if allowed.is_empty() => json!({ "type": "disabled" }),
        allowed => json!({ "type": "allowlist", "allowed_domains": allowed }),
    };
    (memory.map(|(word, _)| *word), network)
}

/// A container by its id.
pub(super) async fn find<K: Keeps, P: Remembers>(
    api: &Api<K, P>,
    who: &Who,
    agent: &str,
    id: &str,
) -> Result<Container, Problem> {
    let unknown = || unknown("container", "container_unknown", id);
    let session = session_of(id).ok_or_else(unknown)?;
    let owner = who.owner(agent.to_owned());
    let view = api.with(move |sessions| async move { sessions.show(&owner, session).await });
    let view = match view.await? {
        Ok(view) => view,
        Err(SessionError::Unknown(_)) => return Err(unknown()),
        Err(error) => return Err(error.into()),
    };
    Container::of(api, who, agent, &view).ok_or_else(unknown)
}

/// `POST /openai/v1/containers`
pub(crate) async fn create<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Asked(By { agent, route }): Asked<By>,
    request: Result<Json<NewContainer>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(new) = request?;
    let Some(policy) = api.sessions.policy(route.as_deref()) else {
        let (reason, why) = api.sessions.no_policy(route.as_deref());
        return Err(Problem::of_reason(reason, why));
    };
    new.check(&policy)?;
    if policy.sandbox.session == SessionMode::Call {
        return Err(Problem::invalid(format!(
            "the profile `{}` gives each call a sandbox of its own: there are no containers",
            policy.route
        )));
    }
    let minutes = new.expires_after.as_ref();
    let minutes = minutes.map_or(DEFAULT_MINUTES, |after| after.minutes);
    if !(1..=MAX_OPENAI_MINUTES).contains(&minutes) {
        return Err(Problem::invalid(format!(
            "`expires_after.minutes` is from 1 to {MAX_OPENAI_MINUTES}"
        )));
    }
    // What the profile gives is the most that there is, and is said. Less than a minute is one, in whole minutes.
    let policy = policy.idle_at_most(minutes * MINUTE_MS);
    let name = Name {
        name: new.name,
        minutes: (policy.sandbox.session_idle_ms / MINUTE_MS).max(1),
    };
    let thread = name.thread(api.sessions.entropy())?;
    let caller = who.caller(agent.clone());
    let opened = api.with(move |sessions| async move {
        Box::pin(sessions.open_session(&caller, Some(&thread), &policy)).await
    });
    let opened = opened.await??;
    let (session, _) = opened.value;
    let container = find(&api, &who, &agent, &id_of(session)).await?;
    Ok(named(opened.decision, Json(container.json())))
}

#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    name: Option<String>,
}

/// `GET /openai/v1/containers`
pub(crate) async fn list<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Asked(By { agent, .. }): Asked<By>,
    Asked(Which { name }): Asked<Which>,
    Asked(page): Asked<Page>,
) -> Result<Response, Problem> {
    let owner = who.owner(agent.clone());
    let views = api.with(move |sessions| async move { sessions.list(&owner).await });
    let views = views.await??;
    let containers = views
        .iter()
        .filter_map(|view| Container::of(&api, &who, &agent, view));
    let mut containers: Vec<_> = containers
        .filter(|container| {
            name.as_ref()
                .is_none_or(|name| *name == container.name.name)
        })
        .collect();
    containers.sort_by_key(|container| (container.created_ms, container.session));
    let piece = page.of(containers.iter().map(Container::json).collect())?;
    Ok(Json(piece).into_response())
}

/// `GET /openai/v1/containers/{id}`
pub(crate) async fn show<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    Asked(By { agent, .. }): Asked<By>,
) -> Result<Response, Problem> {
    let container = find(&api, &who, &agent, &id).await?;
    Ok(Json(container.json()).into_response())
}

/// `DELETE /openai/v1/containers/{id}`
pub(crate) async fn remove<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    Asked(By { agent, .. }): Asked<By>,
) -> Result<Response, Problem> {
    let container = find(&api, &who, &agent, &id).await?;
    let (caller, session) = (who.caller(agent), container.session);
    let destroyed =
        api.with(move |sessions| async move { sessions.destroy(&caller, session).await });
    let done = destroyed.await??;
    let body = json!({ "id": id, "object": "container.deleted", "deleted": true });
    Ok(named(done.decision, Json(body)))
}

//! The control plane: sandboxes are made, found, kept for longer and destroyed.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use casemate_e2b::{
    Code, Fault, connect,
    control::{self, Detail, Network, NewSandbox, Timeout},
    limits::{DEFAULT_TIMEOUT_S, MAX_PAGE, MAX_PAIRS, MAX_TEMPLATE_BYTES},
};
use casemate_gateway::SessionError;
use casemate_model::Text;
use casemate_policy::RoutePolicy;
use serde::Deserialize;
use tokio::time::{Duration, sleep};

use super::{
    Here,
    faults::Failure,
    sandboxes::{AGENT, Made, Sandbox, THREAD, new_thread, reaches_out, session_of},
};
use crate::{
    extract::{Asked, Named},
    problem::Problem,
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

/// Where the rest of a list begins.
const NEXT: HeaderName = HeaderName::from_static("x-next-token");

/// Names of templates that mean the default one.
const DEFAULTS: [&str; 3] = ["", "base", "code-interpreter-v1"];

type Answer = Result<Response, Failure>;

/// The policy of a template, and its name.
fn policy<K: Keeps, P: Remembers>(api: &Api<K, P>, template: &str) -> Result<RoutePolicy, Failure> {
    if template.len() > MAX_TEMPLATE_BYTES {
        return Err(
            Fault::invalid(format!("a template has at most {MAX_TEMPLATE_BYTES} bytes")).into(),
        );
    }
    // What comes after it names a build of it.
    let name = template.split(':').next().unwrap_or_default();
    let named = api.sessions.policy(Some(name));
    let default = || {
        api.sessions
            .policy(None)
            .filter(|_| DEFAULTS.contains(&name))
    };
    if let Some(policy) = named.or_else(default) {
        return Ok(policy);
    }
    let routes = api.sessions.routes();
    if routes.is_empty() {
        let (reason, why) = api.sessions.no_policy(None);
        return Err(Problem::of_reason(reason, why).into());
    }
    let message = format!(
        "there is no template `{}`: there are {}",
        name.escape_debug(),
        routes.join(", ")
    );
    Err(Fault::rest(StatusCode::NOT_FOUND, message).into())
}

/// Whether a profile gives what is asked of the network: what it gives already is taken, nothing is added to it.
fn check_network(
    policy: &RoutePolicy,
    internet: Option<bool>,
    network: Option<&Network>,
) -> Result<(), Fault> {
    let route = &policy.route;
    let cannot = |what: &str| {
        let message = format!(
            "{what} is decided by the profile `{route}`, and cannot be set for one sandbox"
        );
        Err(Fault::rest(StatusCode::BAD_REQUEST, message))
    };
    let open = reaches_out(policy);
    if internet == Some(false) && open {
        return cannot("that a sandbox reaches nobody");
    }
    let Some(network) = network else {
        return Ok(());
    };
    let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let given = |value: &Option<serde_json::Value>| {
        value.as_ref().is_some_and(|value| match value {
            serde_json::Value::Null => false,
            serde_json::Value::Object(members) => !members.is_empty(),
            serde_json::Value::Array(items) => !items.is_empty(),
            _ => true,
        })
    };
    for host in network.allow_out.iter().flatten() {
        let rules = &policy.sandbox.network.allowed_domains;
        if !rules.iter().any(|rule| rule.allows(host)) {
            let message = format!(
                "the profile `{route}` does not let its sandboxes reach `{}`: `network.allowOut` cannot widen it",
                host.escape_debug()
            );
            return Err(Fault::rest(StatusCode::FORBIDDEN, message));
        }
    }
    if open && (some(&network.deny_out) || some(&network.allow_out)) {
        return cannot("whom a sandbox reaches");
    }
    if given(&network.rules) || given(&network.egress_proxy) {
        return cannot("what is done with requests on their way out");
    }
    if some(&network.dns_servers) {
        return cannot("who answers for names");
    }
    if network.mask_request_host.is_some()
        || network
            .https_ports
            .as_ref()
            .is_some_and(|ports| !ports.is_empty())
    {
        return cannot("how ports are spoken to");
    }
    Ok(())
}

/// What clients of E2B can ask for and is not there.
fn check_features(new: &NewSandbox) -> Result<(), Fault> {
    let given =
        |value: &Option<serde_json::Value>| value.as_ref().is_some_and(|value| !value.is_null());
    let missing = |what: &str| {
        let message = format!("{what}: not available in this server");
        Err(Fault::rest(StatusCode::BAD_REQUEST, message))
    };
    if new.auto_pause == Some(true) {
        return missing("`autoPause` (a sandbox is killed when its time is over)");
    }
    if given(&new.mcp) {
        return missing("`mcp`");
    }
    let tokens = new.iam.as_ref().and_then(|iam| iam.get("tokens"));
    if tokens
        .and_then(|tokens| tokens.as_object())
        .is_some_and(|tokens| !tokens.is_empty())
    {
        return missing("`iam` (credentials are lent by the profile)");
    }
    if new
        .volume_mounts
        .as_ref()
        .is_some_and(|mounts| !mounts.is_empty())
    {
        return missing("`volumeMounts`");
    }
    Ok(())
}

fn check_pairs(
    what: &str,
    pairs: Option<BTreeMap<String, String>>,
) -> Result<BTreeMap<String, String>, Fault> {
    let pairs = pairs.unwrap_or_default();
    match pairs.len() > MAX_PAIRS {
        true => Err(Fault::invalid(format!(
            "`{what}` has at most {MAX_PAIRS} entries"
        ))),
        false => Ok(pairs),
    }
}

/// A time from now on, in milliseconds.
fn lasting(timeout_s: Option<u64>, policy_max_ms: u64) -> Result<u64, Fault> {
    let seconds = timeout_s.unwrap_or(DEFAULT_TIMEOUT_S);
    let ms = seconds.saturating_mul(1_000);
    match ms > policy_max_ms {
        true => Err(Fault::invalid(format!(
            "a sandbox lasts at most {} s under its profile (`sandbox.session_max_ms`)",
            policy_max_ms / 1_000
        ))),
        false => Ok(ms),
    }
}

/// `POST /v2/sandboxes`, `POST /sandboxes`
pub(crate) async fn create<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let new: NewSandbox = connect::read(&body)?;
    let policy = policy(&api, &new.template)?;
    check_features(&new)?;
    check_network(&policy, new.allow_internet_access, new.network.as_ref())?;
    let lasting_ms = lasting(new.timeout, policy.sandbox.session_max_ms)?;
    let metadata = check_pairs("metadata", new.metadata)?;
    let variables = check_pairs("envVars", new.env_vars)?;
    let variables = variables
        .into_iter()
        .map(|(name, value)| (name, Text::from(value)));
    api.sandboxes.has_room(who.tenant())?;
    let (thread, caller) = (
        new_thread(api.sessions.entropy())?,
        who.caller(AGENT.to_owned()),
    );
    let opened = {
        let (thread, policy) = (thread.clone(), policy.clone());
        api.with(move |sessions| async move {
            Box::pin(sessions.open_session(&caller, Some(&thread), &policy)).await
        })
        .await??
    };
    let started_ms = api.sessions.clock().now_ms();
    let (session, _) = opened.value;
    let sandbox = api.sandboxes.add(Sandbox::new(Made {
        session,
        owner: who.owner(AGENT.to_owned()),
        thread,
        template: match new.template.as_str() {
            "" => policy.route.clone(),
            _ => new.template,
        },
        policy: &policy,
        metadata,
        variables: variables.collect(),
        started_ms,
        ends_ms: started_ms.saturating_add(lasting_ms),
    }));
    attend(&api, &who, &sandbox);
    let shown = shown(&api, &who, &sandbox, domain(&headers))?;
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// Ends a sandbox when its time is over, for whoever made it.
fn attend<K: Keeps, P: Remembers>(api: &Arc<Api<K, P>>, who: &Who, sandbox: &Arc<Sandbox>) {
    let (api, who, sandbox) = (Arc::clone(api), who.clone(), Arc::clone(sandbox));
    tokio::spawn(async move {
        loop {
            let changed = sandbox.changed();
            if api.sandboxes.get(&sandbox.id).is_none() {
                return;
            }
            let left_ms = sandbox
                .ends_ms()
                .saturating_sub(api.sessions.clock().now_ms());
            if left_ms == 0 {
                break;
            }
            tokio::select! {
                () = sleep(Duration::from_millis(left_ms)) => {}
                () = changed => {}
            }
        }
        api.sandboxes.remove(&sandbox);
        let (caller, session) = (who.caller(sandbox.owner.agent.clone()), sandbox.session);
        let destroyed =
            api.with(move |sessions| async move { sessions.destroy(&caller, session).await });
        // One that cannot be destroyed by its caller any more ends when it has been idle for too long.
        drop(destroyed.await);
    });
}

/// Where ports of sandboxes are, for a client that reached us by this name.
fn domain(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    casemate_e2b::domain_of(host)
}

fn shown<K: Keeps, P: Remembers>(
    api: &Api<K, P>,
    who: &Who,
    sandbox: &Sandbox,
    domain: Option<String>,
) -> Result<control::Sandbox, Fault> {
    let now_ms = api.sessions.clock().now_ms();
    let token = sandbox.token_for(who, now_ms, api.sessions.entropy())?;
    Ok(control::Sandbox {
        template: sandbox.template.clone(),
        id: sandbox.id.clone(),
        client: control::CLIENT,
        alias: sandbox.template.clone(),
        envd_version: control::envd_version(),
        access_token: token.clone(),
        traffic_token: token,
        domain,
    })
}

fn unknown(id: &str) -> Failure {
    let id: String = id.chars().take(64).collect();
    Fault::rest(
        StatusCode::NOT_FOUND,
        format!("there is no sandbox `{}`", id.escape_debug()),
    )
    .into()
}

/// A sandbox of the caller's that lives. One that was made before this process began is found again by its session.
async fn find<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    who: &Who,
    id: &str,
) -> Result<Arc<Sandbox>, Failure> {
    let session = session_of(id).ok_or_else(|| unknown(id))?;
    let owner = who.owner(AGENT.to_owned());
    let view = api.with(move |sessions| async move { sessions.show(&owner, session).await });
    let view = match view.await? {
        Ok(view) => view,
        Err(SessionError::Unknown(_)) => return Err(unknown(id)),
        Err(error) => return Err(error.into()),
    };
    let thread = view.record.thread.clone();
    let thread =
        thread.filter(|thread| thread.starts_with(THREAD) && who.reaches(AGENT, Some(thread)));
    let known = api.sandboxes.get(id);
    let Some(thread) = thread.filter(|_| view.record.end.is_none()) else {
        if let Some(known) = known.filter(|known| known.owner.tenant == who.tenant()) {
            api.sandboxes.remove(&known);
        }
        return Err(unknown(id));
    };
    if let Some(known) = known {
        return Ok(known);
    }
    let governing = api.sessions.routes().into_iter();
    let mut policies = governing.filter_map(|route| api.sessions.policy(Some(&route)));
    let policy = policies
        .find(|policy| policy.digest() == view.record.profile)
        .ok_or_else(|| unknown(id))?;
    let now_ms = api.sessions.clock().now_ms();
    let sandbox = api.sandboxes.add(Sandbox::new(Made {
        session,
        owner: who.owner(AGENT.to_owned()),
        thread,
        template: policy.route.clone(),
        policy: &policy,
        metadata: BTreeMap::new(),
        variables: BTreeMap::new(),
        started_ms: view.record.created_at_ms,
        ends_ms: now_ms.saturating_add(policy.sandbox.session_idle_ms),
    }));
    attend(api, who, &sandbox);
    Ok(sandbox)
}

/// `GET /sandboxes/{id}`
pub(crate) async fn show<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    headers: HeaderMap,
) -> Answer {
    let sandbox = find(&api, &who, &id).await?;
    let detail = Detail {
        listed: sandbox.listed(),
        access_token: match who.may_any(&[casemate_callers::Permission::RunCalls]) {
            true => {
                let now_ms = api.sessions.clock().now_ms();
                sandbox.token_for(&who, now_ms, api.sessions.entropy())?
            }
            false => String::new(),
        },
        allow_internet_access: sandbox.reaches_out,
        domain: domain(&headers),
    };
    Ok(Json(detail).into_response())
}

/// `DELETE /sandboxes/{id}`
pub(crate) async fn kill<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
) -> Answer {
    let sandbox = find(&api, &who, &id).await?;
    let (caller, session) = (who.caller(AGENT.to_owned()), sandbox.session);
    let destroyed =
        api.with(move |sessions| async move { sessions.destroy(&caller, session).await });
    match destroyed.await? {
        Ok(_) => {
            api.sandboxes.remove(&sandbox);
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Err(SessionError::Unknown(_) | SessionError::Gone { .. }) => {
            api.sandboxes.remove(&sandbox);
            Err(unknown(&id))
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ListQuery {
    metadata: Option<String>,
    state: Option<String>,
    template: Option<String>,
    order: Option<String>,
    limit: Option<usize>,
    next_token: Option<String>,
}

/// `GET /v2/sandboxes`, `GET /sandboxes`
pub(crate) async fn list<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Asked(query): Asked<ListQuery>,
) -> Answer {
    let limit = query.limit.unwrap_or(MAX_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Fault::invalid(format!("`limit` is from 1 to {MAX_PAGE}")).into());
    }
    let owner = who.owner(AGENT.to_owned());
    let views = api.with(move |sessions| async move { sessions.list(&owner).await });
    let views = views.await??;
    let lives = |sandbox: &Sandbox| {
        let view = views.iter().find(|view| view.record.id == sandbox.session);
        view.is_some_and(|view| view.record.end.is_none())
    };
    let wanted = metadata(query.metadata.as_deref().unwrap_or_default())?;
    let running = query
        .state
        .as_deref()
        .is_none_or(|states| states.split(',').any(|state| state == "running"));
    let mut found = api.sandboxes.of(who.tenant());
    found.retain(|sandbox| {
        running
            && lives(sandbox)
            && who.reaches(AGENT, Some(&sandbox.thread))
            && query
                .template
                .as_ref()
                .is_none_or(|template| *template == sandbox.template)
            && wanted
                .iter()
                .all(|(key, value)| sandbox.metadata.get(key) == Some(value))
    });
    if query.order.as_deref() == Some("asc") {
        found.reverse();
    }
    if let Some(after) = &query.next_token {
        let place = found.iter().position(|sandbox| sandbox.id == *after);
        // The one that was last is gone: who goes on begins again, and is told of none twice.
        let place = place
            .ok_or_else(|| Fault::invalid("`nextToken` is of no list any more: begin again"))?;
        found.drain(..=place);
    }
    let next = found
        .get(limit)
        .and_then(|_| found.get(limit - 1))
        .map(|last| last.id.clone());
    found.truncate(limit);
    let listed: Vec<_> = found.iter().map(|sandbox| sandbox.listed()).collect();
    let mut response = Json(listed).into_response();
    if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next).ok()) {
        response.headers_mut().insert(NEXT, next);
    }
    Ok(response)
}

/// What a list is asked for by, which is a query within the query.
fn metadata(text: &str) -> Result<BTreeMap<String, String>, Fault> {
    let uri = format!("/?{text}").parse().ok();
    let query = uri
        .as_ref()
        .map(axum::extract::Query::<BTreeMap<String, String>>::try_from_uri);
    match query {
        Some(Ok(query)) => Ok(query.0),
        _ => Err(Fault::invalid(
            "`metadata` is `key=value` pairs, encoded as in a query",
        )),
    }
}

/// `POST /sandboxes/{id}/timeout`
pub(crate) async fn timeout<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    body: Bytes,
) -> Answer {
    let Timeout { timeout } = connect::read(&body)?;
    let timeout = timeout.ok_or_else(|| Fault::invalid("`timeout` is missing"))?;
    let sandbox = find(&api, &who, &id).await?;
    let now_ms = api.sessions.clock().now_ms();
    let lasting_ms = lasting(
        Some(timeout),
        sandbox.latest_ms.saturating_sub(sandbox.started_ms),
    )?;
    sandbox.end_at(now_ms.saturating_add(lasting_ms));
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /sandboxes/{id}/connect`, `POST /v2/sandboxes/{id}/connect`, `POST /sandboxes/{id}/resume`
pub(crate) async fn connect<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let Timeout { timeout } = connect::read(&body)?;
    let sandbox = find(&api, &who, &id).await?;
    if let Some(timeout) = timeout {
        let now_ms = api.sessions.clock().now_ms();
        let lasting_ms = lasting(
            Some(timeout),
            sandbox.latest_ms.saturating_sub(sandbox.started_ms),
        )?;
        // Nobody's time is made shorter by somebody who connects.
        sandbox.end_at(now_ms.saturating_add(lasting_ms).max(sandbox.ends_ms()));
    }
    Ok(Json(shown(&api, &who, &sandbox, domain(&headers))?).into_response())
}

/// `PUT /sandboxes/{id}/network`
pub(crate) async fn network<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    body: Bytes,
) -> Answer {
    let network: Network = connect::read(&body)?;
    let sandbox = find(&api, &who, &id).await?;
    let within = casemate_model::Within {
        session: Some(sandbox.session),
        ..casemate_model::Within::default()
    };
    let policy = api.sessions.policy_for(&sandbox.owner, None, Some(&within));
    let policy = policy.ok_or_else(|| unknown(&id))?;
    check_network(&policy, None, Some(&network))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `GET /sandboxes/{id}/metrics`: none were taken; what calls used is in their records.
pub(crate) async fn metrics<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
) -> Answer {
    find(&api, &who, &id).await?;
    Ok(Json(Vec::<control::Metrics>::new()).into_response())
}

/// What is there for sandboxes elsewhere, and not here.
pub(crate) async fn absent<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
) -> Answer {
    find(&api, &who, &id).await?;
    let message = "pausing, forking, snapshots and logs are not available in this server: a sandbox runs until it is killed or its time is over";
    Err(Failure(Fault {
        slug: Some("not_available".to_owned()),
        ..Fault::new(Code::Unimplemented, message)
    }))
}

/// `GET /snapshots`: there are none.
pub(crate) async fn no_snapshots<K: Keeps, P: Remembers>(
    State(_): State<Arc<Api<K, P>>>,
    _: Who,
) -> Answer {
    Ok(Json(Vec::<u8>::new()).into_response())
}

/// `GET /envs`: the variables of the sandbox.
pub(crate) async fn variables<K: Keeps, P: Remembers>(
    State(_): State<Arc<Api<K, P>>>,
    Extension(Here(sandbox)): Extension<Here>,
) -> Answer {
    Ok(Json(sandbox.variables.clone()).into_response())
}

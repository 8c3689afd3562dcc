//! Which path leads where, and what somebody has to be allowed for it.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{Next, from_fn},
    routing::{MethodRouter, get},
};
use casemate_callers::Permission;
use casemate_gateway::SessionStores;
use casemate_ports::SessionKeeper;

use crate::{
    approvals, azure, calls, contexts,
    door::{self, Door},
    envelopes, files, keys,
    limits::MAX_CALL_BYTES,
    mcp, openapi, page, ports,
    problem::Problem,
    resource, sessions,
    state::Api,
    status, switches, terminal,
};

/// A keeper that any thread may use.
pub trait Keeps: SessionKeeper + Send + Sync + 'static {}

impl<K: SessionKeeper + Send + Sync + 'static> Keeps for K {}

/// Stores that any thread may use.
pub trait Remembers: SessionStores + Send + Sync + 'static {}

impl<P: SessionStores + Send + Sync + 'static> Remembers for P {}

/// Something that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The method.
    pub method: &'static str,
    /// The path; `{…}` stands for a part of it.
    pub path: &'static str,
    /// One of these is needed.
    pub needs: &'static [Permission],
}

/// The table is the router: what is not in it leads nowhere, and what is in it says what it needs.
macro_rules! endpoints {
    ($($method:ident $verb:literal $path:literal $($needs:ident)|+ => $module:ident::$handler:ident;)+) => {
        /// Everything that can be asked for.
        pub const ENDPOINTS: &[Endpoint] = &[$(Endpoint {
            method: $verb,
            path: $path,
            needs: &[$(Permission::$needs),+],
        }),+];

        fn table<K: Keeps, P: Remembers>(api: &Arc<Api<K, P>>) -> Router<Arc<Api<K, P>>> {
            Router::new()$(.route(
                $path,
                guarded(
                    api,
                    &[$(Permission::$needs),+],
                    MethodRouter::new().$method($module::$handler::<K, P>),
                ),
            ))+
        }
    };
}

endpoints! {
    post "POST" "/v1/calls" RunCalls => calls::create;
    get "GET" "/v1/calls/{id}" ReadCalls => calls::show;
    get "GET" "/v1/calls/{id}/events" ReadCalls => calls::events;
    post "POST" "/v1/calls/{id}/cancel" RunCalls => calls::cancel;
    get "GET" "/v1/approvals" ReadCalls => approvals::list;
    get "GET" "/v1/approvals/events" ReadCalls => approvals::events;
    get "GET" "/v1/approvals/{id}" ReadCalls => approvals::show;
    post "POST" "/v1/approvals/{id}/answer" DecideApprovals => approvals::answer;
    post "POST" "/v1/approvals/{id}/cancel" RunCalls => approvals::cancel;
    get "GET" "/v1/sessions" ReadSessions => sessions::list;
    post "POST" "/v1/sessions" ManageSessions => sessions::open;
    get "GET" "/v1/sessions/{id}" ReadSessions => sessions::show;
    delete "DELETE" "/v1/sessions/{id}" ManageSessions => sessions::destroy;
    post "POST" "/v1/sessions/{id}/contexts" RunCalls => contexts::open;
    delete "DELETE" "/v1/contexts/{id}" RunCalls => contexts::close;
    get "GET" "/v1/sessions/{id}/files" ReadSessions => files::list;
    get "GET" "/v1/sessions/{id}/files/{*path}" ReadSessions => files::read;
    put "PUT" "/v1/sessions/{id}/files/{*path}" RunCalls => files::write;
    delete "DELETE" "/v1/sessions/{id}/files/{*path}" RunCalls => files::remove;
    get "GET" "/v1/sessions/{id}/ports/{port}" RunCalls => ports::connect;
    get "GET" "/v1/sessions/{id}/terminal" RunCalls => terminal::open;
    get "GET" "/v1/pools" ReadSessions => sessions::pools;
    get "GET" "/v1/load" ReadSessions => sessions::load;
    get "GET" "/v1/status" ReadRecords => status::show;
    get "GET" "/v1/api-keys" ReadCallers => keys::list;
    post "POST" "/v1/api-keys" ManageCallers => keys::create;
    delete "DELETE" "/v1/api-keys/{name}" ManageCallers => keys::revoke;
    post "POST" "/v1/envelopes" Delegate => envelopes::issue;
    delete "DELETE" "/v1/envelopes/{id}" Delegate | ManageCallers => envelopes::revoke;
    get "GET" "/v1/switches" ReadRecords => switches::list;
    post "POST" "/v1/switches" ThrowSwitches | LiftSwitches => switches::throw;
    post "POST" "/mcp" RunCalls => mcp::receive;
    delete "DELETE" "/mcp" RunCalls => mcp::end;
    post "POST" "/pool/{pool}/code/execute" RunCalls => azure::code_execute;
    post "POST" "/pool/{pool}/executions" RunCalls => azure::executions;
    get "GET" "/pool/{pool}/executions/{id}" ReadCalls => azure::execution;
    get "GET" "/pool/{pool}/files" RunCalls => azure::list;
    post "POST" "/pool/{pool}/files" RunCalls => azure::upload;
    post "POST" "/pool/{pool}/files/{name}" RunCalls => azure::upload_by_name;
    get "GET" "/pool/{pool}/files/{name}" RunCalls => azure::file;
    delete "DELETE" "/pool/{pool}/files/{name}" RunCalls => azure::remove;
    get "GET" "/pool/{pool}/files/{name}/content" RunCalls => azure::content;
    get "GET" "/pool/{pool}/files/content/{*name}" RunCalls => azure::content;
    get "GET" "/pool/{pool}/session" ReadSessions => azure::session;
    delete "DELETE" "/pool/{pool}/session" ManageSessions => azure::end;
    get "GET" "/pool/{pool}/listSessions" ReadSessions => azure::sessions;
    get "GET" "/msi/token" RunCalls => azure::token;
}

/// The interface, for those who come through `door`. Uploads are as large as a session's disk takes: their handler takes the
/// body as it comes, to which no limit applies.
pub fn router<K: Keeps, P: Remembers>(api: Arc<Api<K, P>>, door: Door) -> Router {
    let admitting = Arc::clone(&api);
    let is_network = matches!(door, Door::Network(_));
    let router = table(&api)
        .fallback(no_such_path)
        .layer(DefaultBodyLimit::max(MAX_CALL_BYTES))
        .layer(from_fn(move |request: Request, next: Next| {
            door::admit(Arc::clone(&admitting), door.clone(), request, next)
        }))
        .layer(from_fn(azure::in_their_words))
        // In front of the door: whoever looks at the page has not said yet who they are, and it says nothing of anybody.
        .route("/approvals", get(page::approvals))
        // So is whoever looks whether the gateway is there, and is told no more than that.
        .route("/openapi.json", get(openapi::show))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz::<K, P>));
    // So is whoever asks where to get a credential, which the user of a socket does not need.
    let router = match is_network {
        true => router
            .route(resource::PATH, get(resource::show::<K, P>))
            .route(resource::PATH_OF_MCP, get(resource::show::<K, P>)),
        false => router,
    };
    router.with_state(api)
}

fn guarded<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    needs: &'static [Permission],
    route: MethodRouter<Arc<Api<K, P>>>,
) -> MethodRouter<Arc<Api<K, P>>> {
    let api = Arc::clone(api);
    route.layer(from_fn(move |request: Request, next: Next| {
        door::permit(Arc::clone(&api), needs, request, next)
    }))
}

async fn no_such_path() -> Problem {
    Problem::no_such_path()
}

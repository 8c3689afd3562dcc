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
    approvals, attach, azure, calls, cloudflare, contexts,
    door::{self, Door},
    e2b::{
        self, Inside, contexts as e2b_contexts, control, files as e2b_files, filesystem,
        interpreter, metrics, processes, watch,
    },
    envelopes, files, keys,
    limits::MAX_CALL_BYTES,
    mcp, offers,
    openai::{containers, files as openai_files},
    openapi, page, ports,
    problem::Problem,
    records, resource, sessions,
    state::Api,
    status, switches, tags, terminal, words,
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
    ($(#[$doc:meta])* $name:ident $table:ident: $($method:ident $verb:literal $path:literal $($needs:ident)|+ => $module:ident::$handler:ident;)+) => {
        $(#[$doc])*
        pub const $name: &[Endpoint] = &[$(Endpoint {
            method: $verb,
            path: $path,
            needs: &[$(Permission::$needs),+],
        }),+];

        pub(crate) fn $table<K: Keeps, P: Remembers>(api: &Arc<Api<K, P>>) -> Router<Arc<Api<K, P>>> {
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
    /// Everything that can be asked for.
    ENDPOINTS table:
    post "POST" "/v1/calls" RunCalls => calls::create;
    get "GET" "/v1/calls/{id}" ReadCalls => calls::show;
    get "GET" "/v1/calls/{id}/events" ReadCalls => calls::events;
    get "GET" "/v1/calls/{id}/attach" RunCalls => attach::open;
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
    post "POST" "/v1/sessions/{id}/pause" ManageSessions => sessions::pause;
    post "POST" "/v1/sessions/{id}/resume" ManageSessions => sessions::resume;
    post "POST" "/v1/sessions/{id}/copy" ManageSessions => sessions::copy;
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
    get "GET" "/v1/decisions/{id}" ReadRecords => records::decision;
    get "GET" "/v1/ledger" ReadRecords => records::list;
    get "GET" "/v1/ledger/{index}" ReadRecords => records::prove;
    get "GET" "/v1/incidents" ReadRecords => records::incidents;
    get "GET" "/v1/agents" ReadSessions => offers::agents;
    get "GET" "/v1/profiles" ReadPolicies => offers::profiles;
    get "GET" "/v1/images" ReadPolicies => offers::images;
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

endpoints! {
    /// The control plane of E2B's clients, in all its versions.
    E2B_ENDPOINTS e2b_control:
    post "POST" "/sandboxes" ManageSessions => control::create;
    post "POST" "/v2/sandboxes" ManageSessions => control::create;
    get "GET" "/sandboxes" ReadSessions => control::list;
    get "GET" "/v2/sandboxes" ReadSessions => control::list;
    get "GET" "/sandboxes/{id}" ReadSessions => control::show;
    delete "DELETE" "/sandboxes/{id}" ManageSessions => control::kill;
    post "POST" "/sandboxes/{id}/timeout" ManageSessions => control::timeout;
    post "POST" "/sandboxes/{id}/connect" RunCalls => control::connect;
    post "POST" "/v2/sandboxes/{id}/connect" RunCalls => control::connect;
    post "POST" "/sandboxes/{id}/resume" RunCalls => control::connect;
    put "PUT" "/sandboxes/{id}/network" ManageSessions => control::network;
    get "GET" "/sandboxes/{id}/metrics" ReadSessions => control::metrics;
    get "GET" "/sandboxes/{id}/logs" ReadSessions => control::absent;
    get "GET" "/v2/sandboxes/{id}/logs" ReadSessions => control::absent;
    post "POST" "/sandboxes/{id}/pause" ManageSessions => control::absent;
    post "POST" "/sandboxes/{id}/fork" ManageSessions => control::absent;
    post "POST" "/sandboxes/{id}/snapshots" ManageSessions => control::absent;
    get "GET" "/snapshots" ReadSessions => control::no_snapshots;
}

endpoints! {
    /// What sandboxes of E2B's clients answer at the port of `envd`.
    ENVD_ENDPOINTS envd:
    post "POST" "/process.Process/Start" RunCalls => processes::start;
    post "POST" "/process.Process/Connect" RunCalls => processes::reconnect;
    post "POST" "/process.Process/List" RunCalls => processes::list;
    post "POST" "/process.Process/Update" RunCalls => processes::update;
    post "POST" "/process.Process/SendInput" RunCalls => processes::send_input;
    post "POST" "/process.Process/StreamInput" RunCalls => processes::stream_input;
    post "POST" "/process.Process/SendSignal" RunCalls => processes::send_signal;
    post "POST" "/process.Process/CloseStdin" RunCalls => processes::close_stdin;
    post "POST" "/filesystem.Filesystem/Stat" RunCalls => filesystem::stat;
    post "POST" "/filesystem.Filesystem/MakeDir" RunCalls => filesystem::make_dir;
    post "POST" "/filesystem.Filesystem/Move" RunCalls => filesystem::rename;
    post "POST" "/filesystem.Filesystem/ListDir" RunCalls => filesystem::list_dir;
    post "POST" "/filesystem.Filesystem/Remove" RunCalls => filesystem::remove;
    post "POST" "/filesystem.Filesystem/WatchDir" RunCalls => watch::watch_dir;
    post "POST" "/filesystem.Filesystem/CreateWatcher" RunCalls => watch::create;
    post "POST" "/filesystem.Filesystem/GetWatcherEvents" RunCalls => watch::events;
    post "POST" "/filesystem.Filesystem/RemoveWatcher" RunCalls => watch::remove;
    get "GET" "/files" RunCalls => e2b_files::read;
    post "POST" "/files" RunCalls => e2b_files::write;
    get "GET" "/envs" RunCalls => control::variables;
    get "GET" "/metrics" RunCalls => metrics::show;
}

endpoints! {
    /// What they answer at the port of the code interpreter.
    INTERPRETER_ENDPOINTS interpreter:
    post "POST" "/execute" RunCalls => interpreter::execute;
    get "GET" "/contexts" RunCalls => e2b_contexts::list;
    post "POST" "/contexts" RunCalls => e2b_contexts::create;
    post "POST" "/contexts/{id}/restart" RunCalls => e2b_contexts::restart;
    delete "DELETE" "/contexts/{id}" RunCalls => e2b_contexts::remove;
}

endpoints! {
    /// The containers of OpenAI's clients.
    OPENAI_ENDPOINTS openai_containers:
    post "POST" "/openai/v1/containers" ManageSessions => containers::create;
    get "GET" "/openai/v1/containers" ReadSessions => containers::list;
    get "GET" "/openai/v1/containers/{id}" ReadSessions => containers::show;
    delete "DELETE" "/openai/v1/containers/{id}" ManageSessions => containers::remove;
    post "POST" "/openai/v1/containers/{id}/files" RunCalls => openai_files::create;
    get "GET" "/openai/v1/containers/{id}/files" ReadSessions => openai_files::list;
    get "GET" "/openai/v1/containers/{id}/files/{file}" ReadSessions => openai_files::show;
    delete "DELETE" "/openai/v1/containers/{id}/files/{file}" RunCalls => openai_files::remove;
    get "GET" "/openai/v1/containers/{id}/files/{file}/content" ReadSessions => openai_files::content;
}

endpoints! {
    /// The bridge to sandboxes, as Cloudflare's clients speak to it.
    CLOUDFLARE_ENDPOINTS cloudflare_bridge:
    post "POST" "/cloudflare/v1/sandbox" ManageSessions => cloudflare::create;
    delete "DELETE" "/cloudflare/v1/sandbox/{id}" ManageSessions => cloudflare::remove;
    get "GET" "/cloudflare/v1/sandbox/{id}/running" ReadSessions => cloudflare::running;
    post "POST" "/cloudflare/v1/sandbox/{id}/exec" RunCalls => cloudflare::exec;
    get "GET" "/cloudflare/v1/sandbox/{id}/file/{*path}" ReadSessions => cloudflare::read;
    put "PUT" "/cloudflare/v1/sandbox/{id}/file/{*path}" RunCalls => cloudflare::write;
    post "POST" "/cloudflare/v1/sandbox/{id}/persist" RunCalls => cloudflare::persist;
    post "POST" "/cloudflare/v1/sandbox/{id}/hydrate" RunCalls => cloudflare::hydrate;
}

/// The interface, for those who come through `door`. Uploads are as large as a session's disk takes: their handler takes the
/// body as it comes, to which no limit applies.
pub fn router<K: Keeps, P: Remembers>(api: Arc<Api<K, P>>, door: Door) -> Router {
    let admitting = Arc::clone(&api);
    let is_network = matches!(door, Door::Network(_));
    let (fronting, front_door, inside) = (Arc::clone(&api), door.clone(), Inside::new(&api));
    let router = table(&api)
        .merge(e2b_control(&api))
        .merge(openai_containers(&api))
        .merge(cloudflare_bridge(&api))
        .fallback(no_such_path)
        .layer(DefaultBodyLimit::max(MAX_CALL_BYTES))
        .layer(from_fn(tags::tag))
        .layer(from_fn(move |request: Request, next: Next| {
            door::admit(Arc::clone(&admitting), door.clone(), request, next)
        }))
        .layer(from_fn(azure::in_their_words))
        .layer(from_fn(words::in_their_words))
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
    // In front of everything: which sandbox of E2B's clients a request is for is not in its path.
    let router = router.layer(from_fn(move |request: Request, next: Next| {
        e2b::front(
            Arc::clone(&fronting),
            front_door.clone(),
            inside.clone(),
            request,
            next,
        )
    }));
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

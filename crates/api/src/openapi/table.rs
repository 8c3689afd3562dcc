//! What each endpoint takes and answers, in words.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use super::shapes::{OfPool, OfResource};
use crate::{
    answer,
    approvals::Which,
    calls::From,
    envelopes::NewEnvelope,
    files::ListQuery,
    keys::NewKey,
    owner::OfAgent,
    paging::Paging,
    records::{DecisionQuery, RecordsQuery},
    request::CallRequest,
    routes::Endpoint,
    sessions::{OfCopy, OpenRequest},
    switches::NewThrow,
    terminal::TerminalQuery,
};

/// A schema of a type.
pub(super) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// What is said of an endpoint.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) name: &'static str,
    pub(super) says: &'static str,
    pub(super) query: Option<Shape>,
    pub(super) body: Body,
    pub(super) answers: &'static [Answer],
}

/// What it takes.
#[derive(Clone, Copy)]
pub(super) enum Body {
    None,
    Json(Shape),
    Bytes,
    /// An object that another protocol describes.
    Any,
    /// Files in a form.
    Form,
}

/// What it answers when nothing is wrong.
pub(super) enum Answer {
    /// JSON of this shape.
    Json(u16, &'static str, &'static str),
    /// Server-sent events.
    Events(u16, &'static str),
    /// Bytes as they are.
    Bytes(u16, &'static str),
    /// Nothing, or another protocol.
    Empty(u16, &'static str),
    /// A refusal of this shape, beside problems.
    Refusal(&'static str),
}

/// What is said of this endpoint.
pub(super) fn of(endpoint: &Endpoint) -> Option<&'static Operation> {
    OPERATIONS
        .iter()
        .find(|operation| (operation.method, operation.path) == (endpoint.method, endpoint.path))
}

/// In place: the members of an object become parameters.
fn query<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    T::json_schema(generator)
}

/// The same of a list, which is given in pieces.
fn pieces<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let (mut own, paging) = (query::<T>(generator), query::<Paging>(generator));
    let more = paging.get("properties").and_then(Value::as_object).cloned();
    let members = own.get_mut("properties").and_then(Value::as_object_mut);
    match (members, more) {
        (Some(members), Some(more)) => members.extend(more),
        _ => return paging,
    }
    own
}

fn body<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

use Answer::{Bytes, Empty, Events, Json, Refusal};

macro_rules! operations {
    ($($method:literal $path:literal $name:literal $says:literal, $query:expr, $body:expr => [$($answer:expr),+ $(,)?];)+) => {
        pub(super) const OPERATIONS: &[Operation] = &[$(Operation {
            method: $method,
            path: $path,
            name: $name,
            says: $says,
            query: $query,
            body: $body,
            answers: &[$($answer),+],
        }),+];
    };
}

operations! {
    "POST" "/v1/calls" "create_call" "Run a call, and answer when it has ended; or, with `wait: false`, at once. With `accept: text/event-stream`, its output comes as it is written.",
        None, Body::Json(body::<CallRequest>) => [
            Json(200, "Answer", "The call has ended."),
            Events(200, "Its output and its end."),
            Json(202, "Accepted", "It runs by itself; `location` says where to ask after it."),
        ];
    "GET" "/v1/calls/{id}" "show_call" "How a call stands, and its newest output.",
        Some(query::<From>), Body::None => [Json(200, "Call", "The call.")];
    "GET" "/v1/calls/{id}/events" "watch_call" "The output of a call from a piece on, and what follows, until it ends.",
        Some(query::<From>), Body::None => [Events(200, "`call`, `output`, `result`, `missed`, `ended`.")];
    "GET" "/v1/calls/{id}/attach" "attach_call" "A WebSocket that carries a call that runs: its output, and from the first who attaches to one that was made with `attach`, its standard input; as text `resize`, `signal`, `end` and `detach`.",
        Some(query::<From>), Body::None => [Empty(101, "A WebSocket.")];
    "POST" "/v1/calls/{id}/cancel" "cancel_call" "Take a call back, or interrupt it and then kill it.",
        None, Body::None => [Json(202, "Cancelled", "It is being ended, or has ended already.")];
    "GET" "/v1/approvals" "list_approvals" "Calls that wait for a person, and what became of others.",
        Some(pieces::<Which>), Body::None => [Json(200, "Approvals", "Those that the caller could know of.")];
    "GET" "/v1/approvals/events" "watch_approvals" "Calls that wait, now and whenever that changes.",
        None, Body::None => [Events(200, "`approvals`, each with all that wait.")];
    "GET" "/v1/approvals/{id}" "show_approval" "Everything that would run, and what was answered.",
        None, Body::None => [Json(200, "Approval", "The call that waits.")];
    "POST" "/v1/approvals/{id}/answer" "answer_approval" "Answer for a call that waits, signed: a note, a statement with the assertion of a passkey, or a message of Standard Webhooks.",
        None, Body::Json(body::<answer::Body>) => [Json(200, "Answered", "The answer counts.")];
    "POST" "/v1/approvals/{id}/cancel" "cancel_approval" "Take back a call that waits.",
        None, Body::None => [Json(202, "Cancelled", "It will not run.")];
    "GET" "/v1/sessions" "list_sessions" "The sessions of an agent: those that live, and those that ended not long ago.",
        Some(pieces::<OfAgent>), Body::None => [Json(200, "Sessions", "The sessions.")];
    "POST" "/v1/sessions" "open_session" "Open the session of a thread, or find it; without a thread, a new one.",
        None, Body::Json(body::<OpenRequest>) => [
            Json(200, "Opened", "The thread has it already."),
            Json(201, "Opened", "A new one."),
        ];
    "GET" "/v1/sessions/{id}" "show_session" "How a session stands.",
        Some(query::<OfAgent>), Body::None => [Json(200, "Session", "The session.")];
    "DELETE" "/v1/sessions/{id}" "destroy_session" "End a session with everything in it.",
        Some(query::<OfAgent>), Body::None => [Empty(204, "It is gone.")];
    "POST" "/v1/sessions/{id}/pause" "pause_session" "End everything in a session but its files, which are kept on disk until it is resumed.",
        Some(query::<OfAgent>), Body::None => [Json(200, "Paused", "Its files are kept.")];
    "POST" "/v1/sessions/{id}/resume" "resume_session" "Bring a paused session back: a new sandbox with its files.",
        Some(query::<OfAgent>), Body::None => [Json(200, "Opened", "It lives.")];
    "POST" "/v1/sessions/{id}/copy" "copy_session" "Open a new session with the files of this one.",
        Some(query::<OfCopy>), Body::None => [Json(201, "Opened", "The new one.")];
    "POST" "/v1/sessions/{id}/contexts" "open_context" "Start an interpreter of Python that keeps its variables.",
        Some(query::<OfAgent>), Body::None => [Json(201, "Context", "The interpreter.")];
    "DELETE" "/v1/contexts/{id}" "close_context" "End an interpreter.",
        Some(query::<OfAgent>), Body::None => [Empty(204, "It is gone.")];
    "GET" "/v1/sessions/{id}/files" "list_files" "A directory of the session.",
        Some(pieces::<ListQuery>), Body::None => [Json(200, "Entries", "What is in it.")];
    "GET" "/v1/sessions/{id}/files/{*path}" "read_file" "A file of the session.",
        Some(query::<OfAgent>), Body::None => [Bytes(200, "Its bytes.")];
    "PUT" "/v1/sessions/{id}/files/{*path}" "write_file" "Write a file, whole or not at all.",
        Some(query::<OfAgent>), Body::Bytes => [Json(201, "Written", "What was written.")];
    "DELETE" "/v1/sessions/{id}/files/{*path}" "remove_file" "Remove a file, or an empty directory.",
        Some(query::<OfAgent>), Body::None => [Empty(204, "It is gone.")];
    "GET" "/v1/sessions/{id}/ports/{port}" "connect_port" "A WebSocket that carries a TCP connection to a program of the session.",
        Some(query::<OfAgent>), Body::None => [Empty(101, "A WebSocket.")];
    "GET" "/v1/sessions/{id}/terminal" "open_terminal" "A WebSocket that carries a terminal with a shell: bytes, and as text `resize`, `signal` and `end`.",
        Some(query::<TerminalQuery>), Body::None => [Empty(101, "A WebSocket.")];
    "GET" "/v1/pools" "list_pools" "Sandboxes that stand ready.",
        Some(query::<Paging>), Body::None => [Json(200, "Pools", "The pools of the tenant.")];
    "GET" "/v1/load" "show_load" "How many calls run and wait, on the whole host.",
        None, Body::None => [Json(200, "Load", "Both numbers.")];
    "GET" "/v1/status" "show_status" "How the server stands: its processes, whether calls can be run, the log, what is enforced.",
        None, Body::None => [Json(200, "Status", "The server.")];
    "GET" "/v1/decisions/{id}" "explain_decision" "Why a call was allowed, held or refused, and everything on record of it, as far as it was found: with `next` there may be more. What it was decided from takes `read_content`, and is on record.",
        Some(query::<DecisionQuery>), Body::None => [Json(200, "Decision", "The decision.")];
    "GET" "/v1/ledger" "list_records" "The tenant's records in the ledger, oldest first.",
        Some(query::<RecordsQuery>), Body::None => [Json(200, "Records", "The records, and how far the log has got.")];
    "GET" "/v1/ledger/{index}" "prove_record" "A record, and the proof that it is in the log.",
        None, Body::None => [Json(200, "ProvenRecord", "The record, its bytes, and the path from them to a signed checkpoint.")];
    "GET" "/v1/incidents" "list_incidents" "What raised an alert, from the ledger, oldest first.",
        Some(query::<RecordsQuery>), Body::None => [Json(200, "Incidents", "The records.")];
    "GET" "/v1/agents" "list_agents" "The agents that have sessions, or calls that have not ended.",
        Some(query::<Paging>), Body::None => [Json(200, "Agents", "The agents.")];
    "GET" "/v1/profiles" "list_profiles" "The routes of the tenant, and the tools that the caller could call there. Each call is still decided.",
        Some(query::<Paging>), Body::None => [Json(200, "Profiles", "The routes.")];
    "GET" "/v1/images" "list_images" "The images that the routes of the tenant name.",
        Some(query::<Paging>), Body::None => [Json(200, "Images", "The images; null is one that is not there.")];
    "GET" "/v1/api-keys" "list_api_keys" "The API keys of the tenant, without their secrets.",
        Some(query::<Paging>), Body::None => [Json(200, "ApiKeys", "The keys.")];
    "POST" "/v1/api-keys" "create_api_key" "Make an API key. Its text is in this answer, and nowhere else.",
        None, Body::Json(body::<NewKey>) => [Json(201, "ApiKey", "The key.")];
    "DELETE" "/v1/api-keys/{name}" "revoke_api_key" "Take an API key back, with the envelopes that stand on it.",
        None, Body::None => [Empty(204, "It no longer counts.")];
    "POST" "/v1/envelopes" "issue_envelope" "Give part of one's own authority on.",
        None, Body::Json(body::<NewEnvelope>) => [Json(201, "Envelope", "The envelope.")];
    "DELETE" "/v1/envelopes/{id}" "revoke_envelope" "Take an envelope back.",
        None, Body::None => [Empty(204, "It no longer counts.")];
    "GET" "/v1/switches" "list_switches" "The switches that concern the tenant.",
        Some(query::<Paging>), Body::None => [Json(200, "Switches", "The switches.")];
    "POST" "/v1/switches" "throw_switch" "Stop something at once, or let it go on.",
        None, Body::Json(body::<NewThrow>) => [Json(200, "Switch", "The switch as it stands.")];
    "POST" "/mcp" "mcp" "A message of the Model Context Protocol: see docs/clients.md.",
        None, Body::Any => [
            Json(200, "Message", "The answer."),
            Events(200, "The answer, as an event."),
            Empty(202, "What has no answer is taken."),
            Refusal("Message"),
        ];
    "DELETE" "/mcp" "end_mcp" "End a conversation of the Model Context Protocol.",
        None, Body::None => [Empty(204, "It is over."), Refusal("Message")];
    "POST" "/pool/{pool}/code/execute" "azure_code_execute" "Run code in a session of Azure's dynamic sessions, first generation: see docs/clients.md.",
        Some(query::<OfPool>), Body::Any => [Json(200, "Azure", "It has ended."), Refusal("AzureError")];
    "POST" "/pool/{pool}/executions" "azure_execute" "Run code in such a session, second generation.",
        Some(query::<OfPool>), Body::Any => [Json(200, "Azure", "It has ended, or runs by itself."), Refusal("AzureError")];
    "GET" "/pool/{pool}/executions/{id}" "azure_execution" "How an execution stands.",
        Some(query::<OfPool>), Body::None => [Json(200, "Azure", "The execution."), Refusal("AzureError")];
    "GET" "/pool/{pool}/files" "azure_list_files" "The files of such a session.",
        Some(query::<OfPool>), Body::None => [Json(200, "Azure", "The files."), Refusal("AzureError")];
    "POST" "/pool/{pool}/files" "azure_upload" "Upload files in a form, second generation.",
        Some(query::<OfPool>), Body::Form => [Json(200, "Azure", "The last of them."), Refusal("AzureError")];
    "POST" "/pool/{pool}/files/{name}" "azure_upload_first" "Upload files in a form, first generation: the name is `upload`.",
        Some(query::<OfPool>), Body::Form => [Json(200, "Azure", "The files."), Refusal("AzureError")];
    "GET" "/pool/{pool}/files/{name}" "azure_file" "What is known of a file.",
        Some(query::<OfPool>), Body::None => [Json(200, "Azure", "The file."), Refusal("AzureError")];
    "DELETE" "/pool/{pool}/files/{name}" "azure_remove_file" "Remove a file.",
        Some(query::<OfPool>), Body::None => [Empty(204, "It is gone."), Refusal("AzureError")];
    "GET" "/pool/{pool}/files/{name}/content" "azure_file_content" "A file, second generation.",
        Some(query::<OfPool>), Body::None => [Bytes(200, "Its bytes."), Refusal("AzureError")];
    "GET" "/pool/{pool}/files/content/{*name}" "azure_file_content_first" "A file, first generation.",
        Some(query::<OfPool>), Body::None => [Bytes(200, "Its bytes."), Refusal("AzureError")];
    "GET" "/pool/{pool}/session" "azure_session" "How such a session stands.",
        Some(query::<OfPool>), Body::None => [Json(200, "Azure", "The session."), Refusal("AzureError")];
    "DELETE" "/pool/{pool}/session" "azure_end_session" "End such a session with everything in it.",
        Some(query::<OfPool>), Body::None => [Empty(204, "It is gone."), Refusal("AzureError")];
    "GET" "/pool/{pool}/listSessions" "azure_list_sessions" "The sessions of a pool.",
        Some(query::<OfPool>), Body::None => [Json(200, "Azure", "The sessions."), Refusal("AzureError")];
    "GET" "/msi/token" "azure_token" "A short token that stands for an API key at pools, as clients with a managed identity ask for it.",
        Some(query::<OfResource>), Body::None => [Json(200, "Azure", "The token."), Refusal("AzureTokenError")];
}

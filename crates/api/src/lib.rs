//! The HTTP interface of the gateway: JSON, events, WebSockets, on a Unix socket and over a network.
//!
//! Invariants:
//! - Who calls is proven before anything else is looked at: by the kernel on the Unix socket, where one user is heard; by
//!   one credential of each request over a network (I14). A handler has it from its request, and cannot be written without.
//! - The router is a table ([`ENDPOINTS`]): what leads anywhere says which permission it takes.
//! - Whoever is refused is on record, or counted in one that is.
//! - Another tenant's, and what is out of an envelope's bounds, is as unknown as what never was.
//! - A caller that goes away cancels the call that it waited for; one that asked not to wait does not.
//! - An error is a problem (RFC 9457) with a stable code, the id of what was meant, and what can be done.
//! - Whatever a request may hold is bounded ([`limits`]); an upload that was cut off leaves nothing.
//!
//! Deliberately absent: decisions, SQL, sandboxes, proofs of who calls. It knows the gateway and `callers`, and nothing behind them.

mod answer;
mod approvals;
mod attach;
mod azure;
mod body;
mod calls;
mod cloudflare;
mod contexts;
mod credential;
mod door;
mod e2b;
mod envelopes;
mod extract;
mod files;
mod keys;
pub mod limits;
mod listener;
mod mcp;
mod network;
mod offers;
mod openai;
mod openapi;
mod operate;
mod owner;
mod page;
mod paging;
mod pipe;
mod placed;
mod ports;
mod problem;
mod readers;
mod records;
mod refusals;
mod request;
mod resource;
mod routes;
mod sessions;
mod sse;
mod standing;
mod state;
mod status;
mod switches;
mod tags;
mod terminal;
mod tls;
mod who;
mod words;
mod writers;
mod written;

pub use self::{
    door::Door,
    listener::{BindError, Listener},
    network::{Network, NetworkError},
    openapi::openapi,
    routes::{
        CLOUDFLARE_ENDPOINTS, E2B_ENDPOINTS, ENDPOINTS, ENVD_ENDPOINTS, Endpoint,
        INTERPRETER_ENDPOINTS, Keeps, OPENAI_ENDPOINTS, Remembers, router,
    },
    state::Api,
    status::{Household, Process},
    tls::{TlsError, TlsFiles, config as tls_config},
};

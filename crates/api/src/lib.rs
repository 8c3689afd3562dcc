//! The HTTP interface of the gateway: JSON, events, WebSockets, on a Unix socket.
//!
//! Invariants:
//! - Who calls is what the kernel says of the connection, never what a request says (I14). Only one user is heard.
//! - A caller that goes away cancels the call that it waited for; one that asked not to wait does not.
//! - An error is a problem (RFC 9457) with a stable code, the id of what was meant, and what can be done.
//! - Whatever a request may hold is bounded ([`limits`]); an upload that was cut off leaves nothing.
//!
//! Deliberately absent: decisions, SQL, sandboxes, TCP. It knows the gateway, and nothing behind it.

mod answer;
mod approvals;
mod body;
mod calls;
mod contexts;
mod extract;
mod files;
pub mod limits;
mod listener;
mod owner;
mod page;
mod pipe;
mod ports;
mod problem;
mod request;
mod routes;
mod sessions;
mod sse;
mod state;
mod terminal;

pub use self::{
    listener::{BindError, Listener},
    routes::{Keeps, Remembers, router},
    state::{Api, Callers},
};

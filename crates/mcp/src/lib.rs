//! The Model Context Protocol (MCP): the gateway's tools for any host that speaks it.
//!
//! The protocol is `rmcp`'s; this crate says which tools there are, what they take and what they answer, and how a message over HTTP
//! is served. What the tools do is behind [`Plane`]: one call there is one life of a call in the gateway.
//!
//! Invariants:
//! - A tool that the caller may not use is not listed. It is called all the same if somebody asks for it: whoever is refused is on
//!   record, and only the gateway records.
//! - A refusal is a result that a model can read: a stable code, what can be done, the id of what was decided.
//! - A call that waits for a person is answered at once. Nobody is asked to approve through the client: the model's own host is
//!   not who approves.
//! - A message is bounded ([`limits`]) and looked at before `rmcp` sees it; whatever is no message gets a JSON-RPC error.
//! - Dropping an answer drops the call behind it.
//!
//! Deliberately absent: decisions, sessions of the gateway, who calls, sampling, elicitation, resources, prompts.

mod content;
mod handler;
mod http;
pub mod limits;
mod message;
mod plane;
mod schema;
mod tools;

pub use self::{
    http::{Body, answer, fault, is_foreign_origin},
    message::{Fault, Kind, Message},
    plane::{
        Connected, Conversation, Done, Effects, Ended, File, Listed, Offers, Plane, Refusal, Run,
        Runs, Written,
    },
};

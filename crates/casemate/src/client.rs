//! The clients of `casemate serve`: `casemate call`, `casemate session` and `casemate mcp`.

mod call;
mod connection;
mod events;
mod mcp;
mod session;
mod shell;
mod upload;

pub(crate) use self::{
    call::{CallArgs, run as call},
    connection::{Gateway as GatewayArgs, block_on, encoded, print, request},
    events::Events,
    mcp::{McpArgs, run as mcp},
    session::{SessionCommand, run as session},
};

//! The clients of `casemate serve`: `casemate call` and `casemate session`.

mod call;
mod connection;
mod events;
mod session;
mod shell;
mod upload;

pub(crate) use self::{
    call::{CallArgs, run as call},
    connection::{Gateway as GatewayArgs, block_on, encoded, print, request},
    events::Events,
    session::{SessionCommand, run as session},
};

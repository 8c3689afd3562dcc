//! A `casemate serve` or `casemate up` that a chore starts, with its keeper, and what it takes to speak with it.

mod client;
mod gateway;
mod processes;
mod profile;
mod server;

pub(crate) use self::{
    client::{Answer, Client},
    gateway::{Gateway, signal},
    processes::{Memory, Process, available_bytes, descendants, memory, resident_bytes},
    profile::{Profile, Tools},
    server::Server,
};

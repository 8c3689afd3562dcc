//! A `casemate serve` that a chore starts, with its keeper, and what it takes to speak with it.

mod client;
mod gateway;
mod processes;
mod profile;

pub(crate) use self::{
    client::{Answer, Client},
    gateway::{Gateway, signal},
    processes::{Memory, Process, available_bytes, descendants, memory, resident_bytes},
    profile::{Profile, Tools},
};

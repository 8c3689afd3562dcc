//! The clients of `casemate serve`: `casemate call` and `casemate session`.

mod call;
mod connection;
mod session;
mod shell;
mod upload;

pub(crate) use self::{
    call::{CallArgs, run as call},
    session::{SessionCommand, run as session},
};

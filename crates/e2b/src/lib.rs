//! The protocol of E2B's clients, which sandboxes of ours answer: the control plane in both its versions, `envd` (processes and
//! files, as Connect with JSON), the code interpreter, and which sandbox and port a request means.
//!
//! Invariants:
//! - Nothing here does anything: bytes become types and types become bytes. What they mean is for whoever uses this crate.
//! - Everything that comes from a client is bounded ([`limits`]) and read as it is specified, or not at all.
//! - An error is one of E2B's: with the code and the words by which its SDKs raise the right exception.
//!
//! Deliberately absent: HTTP servers, sandboxes, who calls, the binary encoding of Connect (no SDK sends it).

mod address;
pub mod connect;
pub mod control;
mod fault;
pub mod filesystem;
pub mod interpreter;
pub mod limits;
pub mod process;
mod signature;

pub use self::{
    address::{Address, AddressError, domain_of},
    fault::{Code, Fault},
    signature::{Direction, Signed, is_same, is_signature, sign},
};

//! The keeper's port between two processes: [`SessionKeeper`](casemate_ports::SessionKeeper) over HTTP/2 on a Unix socket.
//!
//! [`Server`] serves a keeper out of a process with one thread; [`RemoteKeeper`] is that keeper in another process, from
//! any number of threads. Every request is one HTTP/2 stream; a place and everything that happens in it is one too.
//!
//! Invariants:
//! - Only the user whose keeper it is is heard: both ends ask the kernel for the other's uid before a byte is read.
//! - A stream that goes away takes its place with it: what runs there is killed.
//! - Everything is bounded ([`limits`]). A consumer that stalls stops the program's output, never its clock, and never
//!   the word that stops it: standard input is sent only where the keeper said that there is room.
//! - An upload counts as whole only by its last frame, never by its end.
//!
//! Beside it, [`handover`] passes the sockets of a call's way out to whoever serves them, and [`lending`] its connection to identity.
//!
//! Deliberately absent: TLS. Both halves work on any stream of bytes; which one is chosen in one place of each.

mod body;
mod client;
mod descriptors;
mod egress;
mod fault;
mod frame;
mod from_keeper;
pub mod handover;
mod inbox;
pub mod lending;
pub mod limits;
mod ours;
mod peer;
mod route;
mod server;
mod socket;
mod speak;
mod to_keeper;

pub use self::{
    client::{RemoteKeeper, RemotePlace, Start},
    egress::{RemoteEgress, serve_egress},
    ours::{OursError, connect_ours},
    peer::PeerError,
    server::Server,
    socket::{BindError, Listener},
};

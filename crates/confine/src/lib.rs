//! What the programs of a sandbox may do, and giving up everything else.
//!
//! The tables are data with reasons: system calls in `seccomp.toml`, files in [`LANDLOCK`], what of `/proc` is
//! hidden in [`HIDDEN_FILES`] and [`HIDDEN_DIRECTORIES`]. The network of a call with a way out is made by [`open_way`], beforehand. Whoever starts programs in a sandbox calls [`restrict`] first: the
//! first process of a sandbox that is used once, the first process of each call in one that lasts; under gVisor
//! [`restrict_unheard`].
//!
//! Invariants:
//! - What [`restrict`] took away cannot be had back: every child has less, never more.
//! - The program that the kernel gets and the table that people read are the same; a test compares them.
//!
//! Deliberately absent: a switch that leaves a layer out.

mod egress;
mod files;
mod identity;
mod restrict;
pub mod seccomp;
mod way;

pub use self::{
    egress::restrict_egress,
    files::{HIDDEN_DIRECTORIES, HIDDEN_FILES, LANDLOCK},
    identity::restrict_identity,
    restrict::{Neighbours, RestrictError, Restricted, restrict, restrict_unheard},
    way::{RESOLV_CONF, WAY_BLOCK, WAY_DNS_PORT, WAY_PLATFORM, WAY_PROXY_PORT, open_way},
};

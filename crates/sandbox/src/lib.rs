//! The keeper: makes sandboxes, runs one program in each, destroys them.
//!
//! The `namespace` tier: user, pid, mount, network, IPC, host-name and cgroup namespaces, a read-only
//! root out of the host's userland, seccomp, Landlock, no capabilities, limits on everything.
//! The `gvisor` tier: the same with gVisor between programs and the host's kernel, for sandboxes that are used once.
//!
//! Invariants:
//! - A sandbox is used once and dies whole: with its call, with its [`NamespaceSandbox`], with the keeper (I8, I9).
//! - What is enforced is measured on the finished sandbox and reported; nothing is assumed (I7).
//! - What a sandbox says is hostile input; artefacts are taken only when everything in it is dead.
//! - A sandbox has no network but its own loopback. With a way out, there is one listener on it, which whoever made the
//!   sandbox serves (I3, I4).
//!
//! Deliberately absent: what is behind a way out, secrets, policy, and any path that leads out of a descriptor.

mod artefacts;
mod cgroup;
mod construct;
mod denied;
pub mod escape;
mod facts;
mod gvisor;
mod honey;
mod host;
mod image;
mod keeper;
mod keystore;
mod limits;
mod nursery;
mod place;
mod plan;
mod pool;
mod process;
mod run;
mod sandbox;
mod session;
mod sessions;
mod setup;
mod userland;
mod watch;

pub use self::{
    gvisor::{GvisorKeeper, NoGvisor, Platform, Runsc},
    keeper::NamespaceKeeper,
    place::Place,
    sandbox::NamespaceSandbox,
    sessions::NamespaceSessions,
};

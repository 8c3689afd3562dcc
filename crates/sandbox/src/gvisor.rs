//! The `gvisor` tier: a sandbox of namespaces, as every other, in which gVisor's kernel stands between the programs and
//! the host's.
//!
//! The sandbox's first process does not restrict itself and execute the guest; it executes `runsc`, which runs an OCI
//! bundle whose root is the one that programs have in every sandbox, and whose program is the guest. The frames go over
//! the same socket, artefacts and inputs are in the same places, and the end of the first process is the end of all.

mod bundle;
mod facts;
mod keeper;
mod launch;
mod runsc;

pub(crate) use self::{
    facts::measure,
    launch::{Launch, host_limits},
};
pub use self::{
    keeper::GvisorKeeper,
    runsc::{NoGvisor, Platform, Runsc},
};

/// The memory that gVisor itself needs beside what programs use, in bytes.
pub(crate) const KERNEL_BYTES: u64 = 64 << 20;

/// The threads of the host that gVisor's processes need by themselves.
pub(crate) const KERNEL_THREADS: u64 = 256;

/// The threads of the host that gVisor may have for each process or thread of a program: on the platform `ptrace` one for
/// each pair of a process and a thread of its kernel that has run it.
pub(crate) const THREADS_EACH: u64 = 16;

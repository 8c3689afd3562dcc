//! What is really kept from the process of egress: found out by trying, in it, when everything is in force.

use std::{
    fs::{self, File},
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream},
    },
    thread,
};

use casemate_sys::{LandlockStatus, exec_path, read_process_memory};
use rustix::{
    process::{DumpableBehavior, Resource, Rlimit, dumpable_behavior, getpid, getrlimit},
    thread::{
        CapabilitySet, SecureComputingMode, capabilities, no_new_privs, secure_computing_mode,
    },
};
use serde::{Deserialize, Serialize};

/// What a process of egress is kept from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Enforced {
    /// Who it is.
    pub(crate) user: u32,
    /// How much of the rules on files, abstract sockets and signals the kernel's Landlock enforces: what it lacks, others do.
    pub(crate) landlock: String,
    /// What was tried.
    pub(crate) tried: Vec<Tried>,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tried {
    /// What.
    pub(crate) what: String,
    /// Whether it cannot be.
    pub(crate) held: bool,
}

impl Enforced {
    /// Whether everything that must not be cannot be. Another process serves nothing.
    pub(crate) fn is_whole(&self) -> bool {
        !self.tried.is_empty() && self.tried.iter().all(|tried| tried.held)
    }

    /// What should not be possible, and is.
    pub(crate) fn gaps(&self) -> String {
        let open = self.tried.iter().filter(|tried| !tried.held);
        let open: Vec<_> = open.map(|tried| tried.what.as_str()).collect();
        open.join(", ")
    }
}

/// What can be told only before system calls are restricted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    user: u32,
    core: Rlimit,
}

pub(super) fn before() -> Before {
    Before {
        user: rustix::process::geteuid().as_raw(),
        core: getrlimit(Resource::Core),
    }
}

/// Tries everything.
pub(super) fn trial(before: Before, landlock: LandlockStatus) -> Enforced {
    let tried = attempts(before).into_iter();
    Enforced {
        user: before.user,
        landlock: match landlock {
            LandlockStatus::Full => "full",
            LandlockStatus::Partial => "partial",
            LandlockStatus::None => "none",
        }
        .to_owned(),
        tried: tried
            .map(|(what, held)| Tried {
                what: what.to_owned(),
                held,
            })
            .collect(),
    }
}

fn attempts(before: Before) -> Vec<(&'static str, bool)> {
    vec![
        ("open a file", opens().is_err()),
        ("list a directory", fs::read_dir("/").is_err()),
        ("make a file", File::create("/tmp/casemate-trial").is_err()),
        ("execute a program", executes()),
        ("start a process or thread", starts().is_err()),
        ("see processes of this host", getpid().is_init()),
        ("read the memory of a process", looks().is_err()),
        (
            "be looked into, or leave a core dump",
            matches!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable))
                && before.core.current == Some(0)
                && before.core.maximum == Some(0),
        ),
        ("connect to an abstract socket", reaches().is_err()),
        ("make a Unix socket", UnixDatagram::unbound().is_err()),
        ("use a capability", has_no_capability()),
        ("gain privileges", matches!(no_new_privs(), Ok(true))),
        (
            "make system calls beside those for connections",
            matches!(secure_computing_mode(), Ok(SecureComputingMode::Filter)),
        ),
    ]
}

/// One of the files that every host has.
fn opens() -> io::Result<File> {
    File::open("/etc/passwd")
        .or_else(|_| File::open("/proc/self/status"))
        .or_else(|_| File::open("/dev/null"))
        .or_else(|_| File::open("/"))
}

fn executes() -> bool {
    // It only comes back when it failed. A host without this program has no other, by which one could tell.
    let error = exec_path(c"/proc/self/exe/", &[], &[]);
    let refused = rustix::io::Errno::NOSYS.raw_os_error();
    error.raw_os_error() == Some(refused)
}

fn starts() -> io::Result<()> {
    thread::Builder::new().spawn(|| ()).map(drop)
}

/// Its own memory, which everybody may read who may read any.
fn looks() -> io::Result<()> {
    let there = [7_u8; 1];
    let address = there.as_ptr().addr() as u64;
    read_process_memory(getpid(), address, &mut [0]).map(drop)
}

/// A socket that is made for this, if one can be.
fn reaches() -> io::Result<()> {
    let name = format!("casemate-trial-{}", getpid().as_raw_nonzero());
    let address = SocketAddr::from_abstract_name(name)?;
    let _listener = UnixListener::bind_addr(&address)?;
    UnixStream::connect_addr(&address).map(drop)
}

fn has_no_capability() -> bool {
    capabilities(None).is_ok_and(|sets| {
        [sets.effective, sets.permitted, sets.inheritable]
            .into_iter()
            .all(|set| set == CapabilitySet::empty())
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// A trial that finds nothing possible where everything is would prove nothing.
    #[test]
    fn whoever_is_not_restricted_can_do_all_of_it() {
        let rlimit = Rlimit {
            current: None,
            maximum: None,
        };
        let before = Before {
            user: 0,
            core: rlimit,
        };
        let found = trial(before, LandlockStatus::None);
        fs::remove_file("/tmp/casemate-trial").unwrap();
        // Whoever runs the tests may be restricted to begin with.
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let says = |line: &str| status.lines().any(|one| one == line);
        for Tried { what, held } in &found.tried {
            let expected = match what.as_str() {
                "use a capability" => says("CapPrm:\t0000000000000000"),
                "gain privileges" => says("NoNewPrivs:\t1"),
                "make system calls beside those for connections" => says("Seccomp:\t2"),
                _ => false,
            };
            assert_eq!(*held, expected, "{what}");
        }
        assert!(!found.is_whole());
        assert!(found.gaps().contains("open a file, list a directory"));
    }
}

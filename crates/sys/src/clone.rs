//! New processes in new namespaces.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use rustix::process::Pid;

/// A set of namespaces for a new process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespaces(u64);

impl Namespaces {
    /// None: a plain copy.
    pub const NONE: Self = Self(0);
    /// User, pid, mount, IPC and host name. A sandbox enters its network namespace later, when it is made
    /// ([`crate::PendingNetwork`]), and its cgroup namespace from within its cgroup, so that it is the root
    /// there ([`enter_cgroup_namespace`]).
    pub const SANDBOX: Self = Self(
        (libc::CLONE_NEWUSER
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS) as u64,
    );
    /// Those of a sandbox that is made ahead of its use, where nobody waits for the network namespace.
    pub const SESSION: Self = Self(Self::SANDBOX.0 | libc::CLONE_NEWNET as u64);
    /// Pid, mount and IPC: a place for one call in a sandbox.
    pub const PLACE: Self =
        Self((libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC) as u64);
    /// Pid, mount, IPC and host name: a process of ours that has the host's network and nothing else of the host.
    pub const ALONE: Self = Self(
        (libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS) as u64,
    );
    /// The same with users of its own, for who is not root.
    pub const ALONE_WITH_USERS: Self = Self(Self::ALONE.0 | libc::CLONE_NEWUSER as u64);
    /// The same with a network of its own.
    pub const PLACE_WITH_NETWORK: Self = Self(Self::PLACE.0 | libc::CLONE_NEWNET as u64);
}

/// Which side of a [`clone_process`] this is.
#[derive(Debug)]
pub enum Forked {
    /// The parent, with the child's pid and a pidfd.
    Parent(Pid, OwnedFd),
    /// The child: a copy of the parent with one thread.
    Child,
}

/// How many threads this process has.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn thread_count() -> io::Result<u64> {
    // The directory has two links of its own and one for each thread.
    Ok(rustix::fs::stat("/proc/self/task")?
        .st_nlink
        .saturating_sub(2))
}

/// Copies this process into new namespaces, and into `cgroup` (a cgroup v2 directory) if given.
///
/// # Errors
/// `EDEADLK` when this process has more than one thread; else the kernel's answer.
pub fn clone_process(namespaces: Namespaces, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Forked> {
    if thread_count()? != 1 {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    let mut pidfd: libc::c_int = -1;
    let mut arguments = libc::clone_args {
        flags: namespaces.0 | libc::CLONE_PIDFD as u64,
        pidfd: (&raw mut pidfd).addr() as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::try_from(cgroup.as_raw_fd()).unwrap_or_default();
    }
    // SAFETY: `arguments` is a valid `clone_args` of the size given, and `pidfd` outlives the call. Without
    // CLONE_VM the child has its own memory; this process has one thread, so the child's copy of every
    // lock is consistent.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut arguments,
            size_of::<libc::clone_args>(),
        )
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => {
            // SAFETY: the kernel has just given this descriptor to us.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            pid.map(|pid| Forked::Parent(pid, pidfd))
                .ok_or_else(|| io::Error::other("clone3 gave an impossible pid"))
        }
    }
}

/// Copies this process: the child's pid in the parent, nothing in the child.
///
/// # Errors
/// As [`clone_process`].
pub fn fork_process() -> io::Result<Option<Pid>> {
    if thread_count()? != 1 {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    // SAFETY: this process has one thread, so the child's copy of every lock is consistent.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Moves this process into a new cgroup namespace whose root is the cgroup that it is in.
///
/// # Errors
/// The kernel's answer.
pub fn enter_cgroup_namespace() -> io::Result<()> {
    // SAFETY: unsharing the cgroup namespace changes nothing that Rust or libc rely on.
    if unsafe { libc::unshare(libc::CLONE_NEWCGROUP) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Moves this process into a new user namespace, in which it is nobody until its user is mapped.
///
/// # Errors
/// The kernel's answer.
pub fn enter_user_namespace() -> io::Result<()> {
    // SAFETY: unsharing the user namespace changes nothing that Rust or libc rely on.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Keeps `kept` and the standard streams, and closes every other descriptor: for a new process, which has those of
/// its parent. The kept ones have the lowest numbers then, in their order, and close when a file is executed.
///
/// # Errors
/// The kernel's answer.
pub fn keep_descriptors(kept: Vec<OwnedFd>) -> io::Result<Vec<OwnedFd>> {
    /// Above all numbers that are kept.
    const AWAY: i32 = 512;
    let mut moved = Vec::new();
    for fd in kept {
        moved.push(rustix::io::fcntl_dupfd_cloexec(&fd, AWAY)?);
    }
    close_range(FIRST, AWAY.unsigned_abs() - 1)?;
    let mut low = Vec::new();
    for fd in moved {
        low.push(rustix::io::fcntl_dupfd_cloexec(&fd, 3)?);
    }
    let above = FIRST.saturating_add(u32::try_from(low.len()).unwrap_or(u32::MAX));
    close_range(above, u32::MAX)?;
    Ok(low)
}

/// Closes every descriptor from `first` to `last`.
pub(crate) fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: what is closed is used by nobody any more; a later use of such a number fails with EBADF or names
    // another file, which is not a matter of memory.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The first descriptor after the standard streams.
const FIRST: u32 = 3;

/// Marks every descriptor from `first` on to be closed when a file is executed.
///
/// # Errors
/// The kernel's answer.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: with CLOSE_RANGE_CLOEXEC nothing is closed now; it only changes flags.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

//! Signals as events, and signals to others.

use std::{
    io, mem,
    os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd},
};

use rustix::process::Pid;

/// Children that changed state, as a readable descriptor. The signal is blocked while this exists, and
/// stays blocked in children: they call [`reset_signals`].
#[derive(Debug)]
pub struct SignalEvents(OwnedFd);

impl SignalEvents {
    /// Starts to collect SIGCHLD.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn of_children() -> io::Result<Self> {
        // SAFETY: a zeroed `sigset_t` is a valid value for `sigemptyset`, which initialises it.
        let mut set: libc::sigset_t = unsafe { mem::zeroed() };
        // SAFETY: `set` is a valid `sigset_t`.
        unsafe { libc::sigemptyset(&raw mut set) };
        // SAFETY: as above; SIGCHLD is a valid signal.
        unsafe { libc::sigaddset(&raw mut set, libc::SIGCHLD) };
        // SAFETY: `set` is initialised; the old mask is not asked for.
        if unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } != 0
        {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `set` is initialised; -1 asks for a new descriptor.
        let fd =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given this descriptor to us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Takes what is there; the number of events does not matter, only that there were some.
    ///
    /// # Errors
    /// The kernel's answer, but for there being nothing.
    pub fn clear(&self) -> io::Result<()> {
        let mut buffer = [0; 16 * size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.0, &mut buffer) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for SignalEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Gives every signal its default action and unblocks all: what a new program expects.
pub fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is a valid action; numbers that are not signals are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: a zeroed `sigset_t` is a valid value for `sigemptyset`, which initialises it.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: `set` is a valid `sigset_t`.
    unsafe { libc::sigemptyset(&raw mut set) };
    // SAFETY: `set` is initialised; the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
}

/// Sends `signal` to the process group of `pid`. A group that is gone is fine.
pub fn signal_group(pid: Pid, signal: u8) {
    // SAFETY: `kill` touches no memory of ours; the kernel checks the numbers.
    unsafe { libc::kill(-pid.as_raw_nonzero().get(), signal.into()) };
}

/// Kills every process that this one may signal, but itself: for the first process of a pid namespace,
/// everything in it. New processes cannot slip through: the kernel holds off forks meanwhile.
pub fn signal_everyone() {
    // SAFETY: `kill` touches no memory of ours.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

//! Descriptors that the reactor watches.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::process::{Pid, Signal, pidfd_send_signal};
use tokio::io::{Interest, unix::AsyncFd};

/// Watches a descriptor that is read.
pub(crate) fn watch<F: AsRawFd>(fd: F) -> io::Result<AsyncFd<F>> {
    watch_for(fd, Interest::READABLE)
}

/// Watches a socket that is read and written.
pub(crate) fn watch_both(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    watch_for(fd, Interest::READABLE.add(Interest::WRITABLE))
}

#[expect(
    deprecated,
    reason = "sound for a descriptor that we own and never replace; the new form is unsafe, which only sys may write"
)]
fn watch_for<F: AsRawFd>(fd: F, interest: Interest) -> io::Result<AsyncFd<F>> {
    AsyncFd::with_interest(fd, interest)
}

/// A process that is somebody else's child. It is killed with this value.
#[derive(Debug)]
pub(crate) struct Watched {
    pidfd: AsyncFd<OwnedFd>,
}

impl Watched {
    pub(crate) fn new(pidfd: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            pidfd: watch(pidfd)?,
        })
    }

    pub(crate) fn pidfd(&self) -> &OwnedFd {
        self.pidfd.get_ref()
    }

    /// Its number in this process's pid namespace: nothing when it has ended and its parent has seen that.
    pub(crate) fn pid(&self) -> Option<Pid> {
        use std::os::fd::AsRawFd as _;
        let path = format!("/proc/self/fdinfo/{}", self.pidfd.get_ref().as_raw_fd());
        let text = std::fs::read_to_string(path).ok()?;
        let number = text.lines().find_map(|line| line.strip_prefix("Pid:"))?;
        let number: i32 = number.trim().parse().ok()?;
        Pid::from_raw(number.max(0))
    }

    pub(crate) fn kill(&self) {
        // One that has ended is as dead as one that is killed.
        let _ = pidfd_send_signal(self.pidfd.get_ref(), Signal::KILL);
    }

    /// Waits for its end. The first process of a pid namespace ends after everything in there.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        self.pidfd.readable().await?.retain_ready();
        Ok(())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.kill();
    }
}

//! The first process of a sandbox, seen from outside. Its end is the end of everything in there.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::OwnedFd,
    path::Path,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

/// Reads a file of the kernel's, which does not say its size, in as few calls as it takes.
///
/// Names in it can be any bytes: those that are no text are replaced.
pub(crate) fn file(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::with_capacity(16 * 1024);
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Dies with this value.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    reaped: bool,
}

impl Process {
    pub(crate) const fn new(pid: Pid, pidfd: OwnedFd) -> Self {
        Self {
            pid,
            pidfd,
            reaped: false,
        }
    }

    pub(crate) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it has not ended.
    pub(crate) fn is_alive(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        !self.reaped && matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
    }

    /// Kills it, and with it its pid namespace; returns when everything in there is dead and gone.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        if self.reaped {
            return Ok(());
        }
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
        loop {
            use std::os::fd::AsFd as _;
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(_) | Err(rustix::io::Errno::CHILD) => {
                    self.reaped = true;
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

//! The gateway's process, for whoever looks after it.

use std::{
    fmt, io,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::{
            net::UnixStream as StdUnixStream,
            process::{CommandExt as _, ExitStatusExt as _},
        },
    },
    process::{Child as Process, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{io::AsyncReadExt as _, net::UnixStream};

use crate::{
    activation::keep_from,
    serve::{self, Order},
};

/// A gateway. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Child {
    process: Process,
    stream: UnixStream,
}

/// How one ended.
#[derive(Debug)]
pub(super) struct Ended(io::Result<ExitStatus>);

impl Ended {
    pub(super) fn code(&self) -> Option<i32> {
        self.0.as_ref().ok().and_then(ExitStatus::code)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => write!(f, "exit code {code}"),
                (None, Some(signal)) => write!(f, "signal {signal}"),
                (None, None) => f.write_str("nobody knows how"),
            },
            Err(error) => error.fmt(f),
        }
    }
}

impl Child {
    /// Starts one on these sockets.
    pub(super) fn start(
        order: &Order,
        local: BorrowedFd<'_>,
        network: BorrowedFd<'_>,
    ) -> io::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        let process = keep_from(&mut command)
            .arg0("casemate")
            .arg("gateway")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            // Ctrl-C of a terminal is for us to pass on, once.
            .process_group(0)
            .spawn()?;
        let mut child = Self {
            process,
            stream: UnixStream::from_std({
                ours.set_nonblocking(true)?;
                ours.try_clone()?
            })?,
        };
        // An order is small and waits in the socket for whoever reads it.
        if let Err(error) = serve::order(&ours, order, local, Some(network)) {
            drop(child.process.kill());
            return Err(error);
        }
        Ok(child)
    }

    /// Waits until it says that it serves (nothing), or ends.
    pub(super) async fn next(&mut self) -> Option<Ended> {
        let mut byte = [0; 1];
        match self.stream.read(&mut byte).await {
            Ok(1..) => None,
            // It is dead, or nobody can say anything to it any more.
            Ok(0) | Err(_) => {
                drop(self.process.kill());
                Some(Ended(self.process.wait()))
            }
        }
    }

    /// Asks it to end.
    pub(super) fn ask_to_end(&self) {
        if let Some(pid) = Pid::from_raw(self.process.id().cast_signed()) {
            // It is not forgotten by the system before we have waited for it.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

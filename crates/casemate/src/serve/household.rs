//! The processes of a gateway, found by the sockets on which they listen.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use casemate_api::{Household, Process};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
        sockopt::{Timeout, set_socket_timeout, socket_peercred},
    },
    process::getpid,
};

use crate::egress::Processes;

/// How long it is waited for a place in the queue of a socket: whoever does not keep up is as good as gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The socket of the keeper in the state directory at `root`.
pub(crate) fn keeper_socket(root: &Path) -> PathBuf {
    root.join("run").join("keeper.sock")
}

/// The socket of identity in the state directory at `root`.
pub(crate) fn identity_socket(root: &Path) -> PathBuf {
    root.join("run").join("identity.sock")
}

/// Who listens on a socket of ours, if somebody does.
///
/// # Errors
/// When that cannot be told: somebody may be there who does not keep up, or is another user.
pub(crate) fn who_listens(socket: &Path) -> io::Result<Option<i32>> {
    let address = match SocketAddrUnix::new(socket) {
        // Nobody can listen at a path of that length.
        Err(Errno::NAMETOOLONG) => return Ok(None),
        address => address?,
    };
    let kind = (AddressFamily::UNIX, SocketType::STREAM);
    let stream = socket_with(kind.0, kind.1, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&stream, Timeout::Send, Some(CONNECT_TIMEOUT))?;
    match connect(&stream, &address) {
        Ok(()) => {}
        Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let peer = socket_peercred(&stream)?;
    if peer.uid != rustix::process::geteuid() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(Some(peer.pid.as_raw_nonzero().get()))
}

/// The same for those who only show it.
fn seen(socket: &Path) -> Option<i32> {
    who_listens(socket).ok().flatten()
}

/// This gateway, and the processes beside it.
#[derive(Debug)]
pub(super) struct Members {
    root: PathBuf,
    egress: Processes,
    supervisor: Option<i32>,
}

impl Members {
    pub(super) fn new(root: &Path, egress: Processes, supervisor: Option<i32>) -> Self {
        Self {
            root: root.to_owned(),
            egress,
            supervisor,
        }
    }
}

impl Household for Members {
    fn processes(&self) -> Vec<Process> {
        let process = |name, pid, needed| Process { name, pid, needed };
        let supervisor = self.supervisor.map(Some).into_iter();
        let mut found: Vec<_> = supervisor
            .map(|pid| process("supervisor", pid, false))
            .collect();
        let this = Some(getpid().as_raw_nonzero().get());
        found.push(process("gateway", this, true));
        found.push(process("keeper", seen(&keeper_socket(&self.root)), true));
        // Without a supervisor it is started when a call has a credential, and ends by itself.
        let identity = seen(&identity_socket(&self.root));
        found.push(process("identity", identity, self.supervisor.is_some()));
        let egress = self.egress.pids().into_iter();
        found.extend(egress.map(|pid| process("egress", Some(pid), false)));
        found
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    /// Whoever listens and takes nobody in is not waited for, and not taken for nobody.
    #[test]
    fn nobody_waits_for_one_that_does_not_keep_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sock");
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let pid = getpid().as_raw_nonzero().get();
        assert_eq!(who_listens(&path).unwrap(), Some(pid));
        let _first = listener.accept().unwrap();
        let _waits = UnixStream::connect(&path).unwrap();
        assert!(who_listens(&path).is_err());
        drop(listener);
        assert_eq!(who_listens(&path).unwrap(), None);
        assert_eq!(who_listens(&directory.path().join("none")).unwrap(), None);
    }
}

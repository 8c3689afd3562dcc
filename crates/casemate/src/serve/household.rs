//! The processes of a gateway, found by the sockets on which they listen.

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use casemate_api::{Household, Process};
use rustix::{net::sockopt::socket_peercred, process::getpid};

use crate::egress::Processes;

/// The socket of the keeper in the state directory at `root`.
pub(crate) fn keeper_socket(root: &Path) -> PathBuf {
    root.join("run").join("keeper.sock")
}

/// The socket of identity in the state directory at `root`.
pub(crate) fn identity_socket(root: &Path) -> PathBuf {
    root.join("run").join("identity.sock")
}

/// Who listens on a socket of ours, if somebody does.
pub(crate) fn who_listens(socket: &Path) -> Option<i32> {
    let stream = UnixStream::connect(socket).ok()?;
    let peer = socket_peercred(&stream).ok()?;
    let is_ours = peer.uid == rustix::process::geteuid();
    is_ours.then(|| peer.pid.as_raw_nonzero().get())
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
        found.push(process(
            "keeper",
            who_listens(&keeper_socket(&self.root)),
            true,
        ));
        // Without a supervisor it is started when a call has a credential, and ends by itself.
        let identity = who_listens(&identity_socket(&self.root));
        found.push(process("identity", identity, self.supervisor.is_some()));
        let egress = self.egress.pids().into_iter();
        found.extend(egress.map(|pid| process("egress", Some(pid), false)));
        found
    }
}

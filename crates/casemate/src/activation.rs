//! What systemd gives a server, and is told by it.

use std::{
    env,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process::Command,
};

use anyhow::anyhow;
use rustix::net::{AddressFamily, sockopt::socket_domain};

use crate::{report::Failure, serve::Sockets};

/// The variables by which sockets are handed over: they are for one process.
const FOR_ONE: &[&str] = &[
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
];

/// The sockets that are handed to this process: one of this user's, one of a network, or none.
///
/// # Errors
/// When they are others.
pub(crate) fn sockets() -> Result<Sockets, Failure> {
    let taken = casemate_sys::take_listening_sockets().map_err(|error| {
        Failure::usage(error).context("cannot take the sockets that LISTEN_FDS says are there")
    })?;
    let mut sockets = Sockets::default();
    for socket in taken {
        let domain = socket_domain(&socket).map_err(Failure::usage)?;
        let slot = match domain {
            AddressFamily::UNIX => &mut sockets.local,
            AddressFamily::INET | AddressFamily::INET6 => &mut sockets.network,
            _ => return Err(odd()),
        };
        if slot.replace(socket).is_some() {
            return Err(odd());
        }
    }
    Ok(sockets)
}

fn odd() -> Failure {
    Failure::usage(anyhow!(
        "a server takes one Unix socket and one TCP socket, and was given others"
    ))
    .hint("contrib/systemd/casemate.socket has the two")
}

/// Whether what is printed goes into the log of the system, where it stays.
pub(crate) fn is_logged() -> bool {
    let Ok(facts) = rustix::fs::fstat(std::io::stdout()) else {
        return false;
    };
    // A process that was started by a service may have the variable and another output.
    let stdout = format!("{}:{}", facts.st_dev, facts.st_ino);
    env::var_os("JOURNAL_STREAM").is_some_and(|stream| stream == *stdout)
}

/// Says that calls are served, to whoever waits for that. If it cannot be said, nobody waits.
pub(crate) fn notify_ready() {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let bytes = path.as_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    if let (Ok(address), Ok(socket)) = (address, UnixDatagram::unbound()) {
        drop(socket.send_to_addr(b"READY=1", &address));
    }
}

/// A command whose process gets none of it.
pub(crate) fn keep_from(command: &mut Command) -> &mut Command {
    for name in FOR_ONE {
        command.env_remove(name);
    }
    command
}

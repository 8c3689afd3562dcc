//! What systemd gives a server, and is told by it.

use std::{
    env, net,
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
use rustix::net::{
    AddressFamily, SocketType,
    sockopt::{socket_acceptconn, socket_domain, socket_type},
};

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
        if socket_type(&socket) != Ok(SocketType::STREAM) || socket_acceptconn(&socket) != Ok(true)
        {
            return Err(odd());
        }
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

/// Where the network's socket listens, if one was handed over.
///
/// # Errors
/// When the system does not say.
pub(crate) fn address_of(sockets: &Sockets) -> Result<Option<net::SocketAddr>, Failure> {
    let Some(given) = &sockets.network else {
        return Ok(None);
    };
    let copy = given.try_clone().map_err(Failure::failed)?;
    let address = net::TcpListener::from(copy).local_addr();
    address.map(Some).map_err(Failure::usage)
}

/// Refuses a network's socket where nobody is to be heard, or elsewhere than it is said: who may call and whether it takes TLS is
/// decided by the address that was said.
///
/// # Errors
/// When it contradicts `listen`.
pub(crate) fn refuse_unheard(
    sockets: &Sockets,
    listen: Option<net::SocketAddr>,
) -> Result<(), Failure> {
    let Some(address) = address_of(sockets)?.filter(|address| listen != Some(*address)) else {
        return Ok(());
    };
    let said = match listen {
        Some(listen) => format!("`listen` says {listen}"),
        None => "nothing says that a network is heard".to_owned(),
    };
    Err(Failure::usage(anyhow!(
        "the socket that was handed over listens on {address}, and {said}"
    ))
    .hint("name the same address with --listen"))
}

fn odd() -> Failure {
    Failure::usage(anyhow!(
        "a server takes one Unix socket and one TCP socket on which somebody listens, and was given others"
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

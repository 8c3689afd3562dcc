//! The sockets of a way out, on their way between processes: each is looked at by whoever takes it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{
        SocketType,
        sockopt::{socket_acceptconn, socket_type},
    },
};

use super::MAX_WAY_PORTS;

/// The sockets of a way out. Whoever connects or sends to one is in the network of that one call.
#[derive(Debug)]
pub struct WaySockets {
    /// On [`WAY_OUT_PORT`](super::WAY_OUT_PORT): programs that know of the proxy.
    pub proxy: TcpListener,
    /// On each of [`WayPorts`](super::WayPorts), at every address: programs that believe to be connected to a destination.
    pub transparent: Vec<TcpListener>,
    /// On [`WAY_OUT_DNS_PORT`](super::WAY_OUT_DNS_PORT): questions for addresses.
    pub dns: UdpSocket,
    /// The same questions over TCP.
    pub dns_tcp: TcpListener,
}

/// Why descriptors are not the sockets of a way out.
#[derive(Debug, thiserror::Error)]
pub enum BadSocket {
    /// Too few or too many.
    #[error("{0} descriptors are not the sockets of a way out")]
    Count(usize),
    /// One is something else.
    #[error("the descriptor {0} is not the socket that belongs there")]
    Kind(usize),
    /// One cannot be looked at.
    #[error("the descriptor {0} cannot be used")]
    Unusable(usize, #[source] io::Error),
}

/// The sockets that every way out has.
const ALWAYS: usize = 3;

impl WaySockets {
    /// The most descriptors of a way out.
    pub const MAX_DESCRIPTORS: usize = ALWAYS + MAX_WAY_PORTS;

    /// The descriptors, in the order in which [`WaySockets::of_descriptors`] takes them.
    #[must_use]
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let always = [self.proxy.as_fd(), self.dns.as_fd(), self.dns_tcp.as_fd()];
        let transparent = self.transparent.iter().map(AsFd::as_fd);
        always.into_iter().chain(transparent).collect()
    }

    /// The same sockets once more.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        let transparent = self.transparent.iter().map(TcpListener::try_clone);
        Ok(Self {
            proxy: self.proxy.try_clone()?,
            transparent: transparent.collect::<Result<_, _>>()?,
            dns: self.dns.try_clone()?,
            dns_tcp: self.dns_tcp.try_clone()?,
        })
    }

    /// The sockets that these descriptors are. Nobody waits for them from then on.
    ///
    /// # Errors
    /// When they are not exactly that, in this order.
    pub fn of_descriptors(fds: Vec<OwnedFd>) -> Result<Self, BadSocket> {
        let count = fds.len();
        if count > Self::MAX_DESCRIPTORS {
            return Err(BadSocket::Count(count));
        }
        let mut fds = fds.into_iter().enumerate();
        let mut next = || fds.next().ok_or(BadSocket::Count(count));
        let (proxy, dns, dns_tcp) = (next()?, next()?, next()?);
        Ok(Self {
            proxy: listener(proxy, Ipv4Addr::LOCALHOST)?,
            dns: asked(dns)?,
            dns_tcp: listener(dns_tcp, Ipv4Addr::LOCALHOST)?,
            transparent: fds
                .map(|fd| listener(fd, Ipv4Addr::UNSPECIFIED))
                .collect::<Result<_, _>>()?,
        })
    }
}

fn listener((at, fd): (usize, OwnedFd), address: Ipv4Addr) -> Result<TcpListener, BadSocket> {
    let unusable = |error: io::Error| BadSocket::Unusable(at, error);
    let is_listener = is(&fd, SocketType::STREAM, true).map_err(unusable)?;
    let listener = TcpListener::from(fd);
    if !is_listener || !is_at(listener.local_addr(), address) {
        return Err(BadSocket::Kind(at));
    }
    listener.set_nonblocking(true).map_err(unusable)?;
    Ok(listener)
}

fn asked((at, fd): (usize, OwnedFd)) -> Result<UdpSocket, BadSocket> {
    let unusable = |error: io::Error| BadSocket::Unusable(at, error);
    let is_udp = is(&fd, SocketType::DGRAM, false).map_err(unusable)?;
    let socket = UdpSocket::from(fd);
    // One that is connected would hear one client only.
    let connected = socket.peer_addr().is_ok();
    if !is_udp || connected || !is_at(socket.local_addr(), Ipv4Addr::LOCALHOST) {
        return Err(BadSocket::Kind(at));
    }
    socket.set_nonblocking(true).map_err(unusable)?;
    Ok(socket)
}

fn is(fd: &OwnedFd, kind: SocketType, listens: bool) -> io::Result<bool> {
    match (socket_type(fd), socket_acceptconn(fd)) {
        (Ok(its), Ok(accepts)) => Ok(its == kind && accepts == listens),
        (Err(Errno::NOTSOCK), _) => Ok(false),
        (Err(error), _) | (_, Err(error)) => Err(error.into()),
    }
}

/// Whether an address is of IPv4, this one, and has a port.
fn is_at(address: io::Result<SocketAddr>, wanted: Ipv4Addr) -> bool {
    address.is_ok_and(|address| address.ip() == IpAddr::V4(wanted) && address.port() != 0)
}

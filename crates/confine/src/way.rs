//! The network of a way out: a block of made-up addresses that are all this network's own, and the sockets to which they lead.
//!
//! To be made in a network namespace that has only its loopback, by a process that may administer it. Nothing else of
//! the namespace changes: no other interface, no other route.

use std::{
    io,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// The port of the proxy.
pub const WAY_PROXY_PORT: u16 = 3128;
/// The port of whoever answers for names.
pub const WAY_DNS_PORT: u16 = 53;
/// The made-up addresses: RFC 2544 keeps them out of the internet.
pub const WAY_BLOCK: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 18, 0, 0), 15);
/// Where the SDKs of clouds look for the services of their platform.
pub const WAY_PLATFORM: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// What `/etc/resolv.conf` says where there is a way out.
pub const RESOLV_CONF: &str = "nameserver 127.0.0.1\noptions timeout:5 attempts:1\n";

/// Makes it in this network namespace: the listener for the proxy, the socket and the listener for names, and a listener of every
/// address for each of `ports`, in that order. The address of the services of platforms is this network's own too if `platform` says so.
///
/// # Errors
/// The kernel's answer.
pub fn open_way(ports: &[u16], platform: bool) -> io::Result<Vec<OwnedFd>> {
    make_local(WAY_BLOCK.0, WAY_BLOCK.1)?;
    if platform {
        make_local(WAY_PLATFORM, 32)?;
    }
    let own = |port| (Ipv4Addr::LOCALHOST, port);
    let mut sockets = vec![
        TcpListener::bind(own(WAY_PROXY_PORT))?.into(),
        UdpSocket::bind(own(WAY_DNS_PORT))?.into(),
        TcpListener::bind(own(WAY_DNS_PORT))?.into(),
    ];
    for port in ports {
        sockets.push(TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port))?.into());
    }
    Ok(sockets)
}

/// The loopback is the first interface of every network namespace.
const LOOPBACK: u32 = 1;

/// Makes every address of a block an address of this host: `ip route add local BLOCK dev lo`.
fn make_local(block: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // NETLINK_ROUTE is the protocol 0.
        None,
    )?;
    rustix::net::send(&socket, &new_route(block, prefix), SendFlags::empty())?;
    let mut answer = [0; 512];
    let (count, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    answered(answer.get(..count).unwrap_or_default())
}

const NEW_ROUTE: u16 = 24;
/// A request that is answered, for a route that is not there yet.
const FLAGS: u16 = 0x1 | 0x4 | 0x200 | 0x400;
const TO: u16 = 1;
const THROUGH: u16 = 4;

/// The message of rtnetlink(7), all of whose parts end at multiples of four bytes.
fn new_route(block: Ipv4Addr, prefix: u8) -> Vec<u8> {
    const INET: u8 = 2;
    const TABLE_LOCAL: u8 = 255;
    const BY_ADMINISTRATOR: u8 = 4;
    const SCOPE_HOST: u8 = 254;
    const TYPE_LOCAL: u8 = 2;
    let mut body = vec![
        INET,
        prefix,
        0,
        0,
        TABLE_LOCAL,
        BY_ADMINISTRATOR,
        SCOPE_HOST,
        TYPE_LOCAL,
    ];
    body.extend([0; 4]);
    for (kind, value) in [(TO, block.octets()), (THROUGH, LOOPBACK.to_ne_bytes())] {
        body.extend(8_u16.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(value);
    }
    // 44 bytes: a header of 16, and the body.
    let mut message = Vec::from(44_u32.to_ne_bytes());
    message.extend(NEW_ROUTE.to_ne_bytes());
    message.extend(FLAGS.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// What the kernel says of it: a header, and an error number that is 0.
fn answered(message: &[u8]) -> io::Result<()> {
    const ERROR: u16 = 2;
    let number = |at: usize| message.get(at..at + 4)?.first_chunk().copied();
    let kind = message.get(4..6).and_then(|kind| kind.first_chunk());
    let kind = kind.map(|kind| u16::from_ne_bytes(*kind));
    match (kind, number(16).map(i32::from_ne_bytes)) {
        (Some(ERROR), Some(0)) => Ok(()),
        (Some(ERROR), Some(errno)) => Err(io::Error::from_raw_os_error(errno.saturating_neg())),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_one_message_of_the_length_that_it_says() {
        let message = new_route(WAY_BLOCK.0, WAY_BLOCK.1);
        assert_eq!(message.len(), 44);
        assert_eq!(message[16..24], [2, 15, 0, 0, 255, 4, 254, 2]);
        assert_eq!(message[32..36], [198, 18, 0, 0]);
    }

    #[test]
    fn what_the_kernel_says_is_an_error_or_none() {
        let said = |kind: u16, errno: i32| {
            let mut message = vec![0; 20];
            message[4..6].copy_from_slice(&kind.to_ne_bytes());
            message[16..20].copy_from_slice(&errno.to_ne_bytes());
            answered(&message).map_err(|error| error.raw_os_error())
        };
        assert_eq!(said(2, 0), Ok(()));
        assert_eq!(said(2, -1), Err(Some(1)));
        assert_eq!(said(24, 0), Err(None));
        assert!(answered(&[]).is_err());
        assert!(answered(&[0; 19]).is_err());
    }

    /// Whoever may not administer the network gets no block: the test's own namespace is left as it is.
    #[test]
    fn it_takes_the_right_to_administer_the_network() {
        if rustix::process::geteuid().is_root() {
            return;
        }
        assert_eq!(
            make_local(WAY_BLOCK.0, WAY_BLOCK.1).map_err(|error| error.raw_os_error()),
            Err(Some(rustix::io::Errno::PERM.raw_os_error()))
        );
    }
}

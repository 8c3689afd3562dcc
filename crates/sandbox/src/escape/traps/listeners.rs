//! Sockets of the host's, on which nobody may be heard.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener},
    },
    path::{Path, PathBuf},
};

use super::open_to_all;

#[derive(Debug)]
pub(super) struct Listeners {
    tcp: TcpListener,
    udp: UdpSocket,
    unix: UnixListener,
    unix_path: PathBuf,
    unnamed: UnixListener,
    unnamed_name: String,
}

impl Listeners {
    pub(super) fn lay(directory: &Path, nonce: &str) -> io::Result<Self> {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        tcp.set_nonblocking(true)?;
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        udp.set_nonblocking(true)?;
        let unix_path = directory.join("socket");
        let unix = UnixListener::bind(&unix_path)?;
        unix.set_nonblocking(true)?;
        open_to_all(&unix_path, 0o777)?;
        let unnamed_name = format!("casemate-trap-{nonce}");
        let unnamed = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&unnamed_name)?)?;
        unnamed.set_nonblocking(true)?;
        Ok(Self {
            tcp,
            udp,
            unix,
            unix_path,
            unnamed,
            unnamed_name,
        })
    }

    pub(super) fn places(&self) -> io::Result<BTreeMap<&'static str, String>> {
        Ok(BTreeMap::from([
            ("tcp_port", self.tcp.local_addr()?.port().to_string()),
            ("udp_port", self.udp.local_addr()?.port().to_string()),
            ("socket_path", self.unix_path.display().to_string()),
            ("abstract_name", self.unnamed_name.clone()),
        ]))
    }

    /// Who was heard.
    pub(super) fn visits(&self) -> io::Result<Vec<String>> {
        let visits = [
            ("TCP listener", came(self.tcp.accept())?),
            ("UDP socket", came(self.udp.recv_from(&mut [0; 64]))?),
            ("Unix socket", came(self.unix.accept())?),
            ("abstract Unix socket", came(self.unnamed.accept())?),
        ];
        let came = visits.into_iter().filter(|(_, came)| *came);
        Ok(came
            .map(|(what, _)| format!("the host's {what} was reached"))
            .collect())
    }
}

fn came<T>(result: io::Result<T>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

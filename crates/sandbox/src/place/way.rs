//! The network of a place, and the way out of the call that has it.

use std::{
    fs::File,
    io::{self, Seek as _, Write as _},
    os::fd::OwnedFd,
    path::PathBuf,
    rc::Rc,
};

use casemate_frames::{self as frames, Waiting};
use casemate_ports::{HandsOver, KeeperError, MAX_AUTHORITY_BYTES, Way, WayPorts, WaySockets};
use rustix::{
    fs::{FileType, Mode, OFlags},
    process::Pid,
};

use super::{Prepared, Stay};
use crate::{keeper::During as _, keystore::keystore};

/// What a place is to be like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) waiting: Waiting,
    pub(crate) network: Network<'a>,
}

/// In which network a place is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Network<'a> {
    /// That of the session.
    Session,
    /// One of its own, with a way out by these ports.
    Own(WayPorts),
    /// This one, of another place.
    Joined(&'a OwnedFd),
}

impl Network<'_> {
    /// What calls of a session have whose kind has these ports, or none.
    pub(crate) const fn of_calls(ports: Option<WayPorts>) -> Self {
        match ports {
            Some(ports) => Self::Own(ports),
            None => Self::Session,
        }
    }

    pub(super) fn word(self) -> frames::Network {
        match self {
            Self::Session => frames::Network::Session,
            Self::Own(ports) => frames::Network::Own {
                ports: ports.iter().collect(),
                platform: ports.has_platform(),
            },
            Self::Joined(_) => frames::Network::Joined,
        }
    }

    /// What came of it in the place whose first process is `pid`, which waits for us.
    pub(super) fn made(
        self,
        pid: Pid,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Option<OwnNetwork>, KeeperError> {
        match (self, descriptors.is_empty()) {
            (Self::Own(_), false) => OwnNetwork::of(pid, descriptors).map(Some),
            (Self::Session | Self::Joined(_), true) => Ok(None),
            _ => Err(KeeperError::Lost("it has another network".into())),
        }
    }
}

/// The network namespace of a place.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) fd: OwnedFd,
    /// The first process of the place.
    pid: Pid,
}

impl Namespace {
    fn of(pid: Pid) -> io::Result<Self> {
        let path = format!("/proc/{}/ns/net", pid.as_raw_nonzero());
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { fd, pid })
    }

    /// A file of the process in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.pid.as_raw_nonzero()).into()
    }

    /// Whether the process is still the one that is in it.
    pub(crate) fn is_there(&self) -> bool {
        let (there, ours) = (
            rustix::fs::stat(self.file("ns/net")),
            rustix::fs::fstat(&self.fd),
        );
        matches!((there, ours), (Ok(there), Ok(ours)) if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino))
    }
}

/// A network of one place alone.
#[derive(Debug)]
pub(crate) struct OwnNetwork {
    pub(crate) namespace: Rc<Namespace>,
    authority: File,
    keystore: File,
    /// Until they are somebody else's alone.
    sockets: Option<WaySockets>,
}

/// The way out that a call is to have, and who brings its sockets to where they are served.
#[derive(Debug)]
pub(crate) struct AskedWay {
    pub(crate) way: Way,
    pub(crate) handover: Rc<dyn HandsOver>,
}

impl Prepared {
    /// Its network, if it has one of its own.
    pub(crate) fn namespace(&self) -> Option<Rc<Namespace>> {
        let network = self.network.as_ref();
        network.map(|network| Rc::clone(&network.namespace))
    }

    /// Opens the way out of the call that begins here, if it has one: nothing of the call runs before it is served.
    pub(crate) async fn open_way(
        &mut self,
        asked: Option<&AskedWay>,
        stay: Stay,
    ) -> Result<(), KeeperError> {
        match (&mut self.network, asked) {
            (Some(network), Some(asked)) => network.open(asked).await?,
            (None, Some(_)) => {
                let why = "calls of this kind of session have no way out";
                return Err(KeeperError::Spec(why.into()));
            }
            (_, None) => {}
        }
        if let (Some(network), Stay::Once) = (&mut self.network, stay) {
            // Whoever serves them has them: with the end of that they are closed.
            network.sockets = None;
        }
        Ok(())
    }
}

/// The most connections and messages that are dropped before a call is served.
const MAX_STALE: usize = 4096;

impl OwnNetwork {
    fn of(pid: Pid, mut descriptors: Vec<OwnedFd>) -> Result<Self, KeeperError> {
        let during = "look at the network of a place";
        if descriptors.len() < 2 {
            return Err(KeeperError::Lost("its authority is missing".into()));
        }
        let sockets = descriptors.split_off(2);
        let mut file = || {
            let file = descriptors.pop().ok_or(io::ErrorKind::NotFound);
            let file = file.during(during)?;
            let kind = rustix::fs::fstat(&file).during(during)?.st_mode;
            match FileType::from_raw_mode(kind) {
                FileType::RegularFile => Ok(File::from(file)),
                _ => Err(KeeperError::Lost("its authority is no file".into())),
            }
        };
        let (keystore, authority) = (file()?, file()?);
        let sockets = WaySockets::of_descriptors(sockets);
        Ok(Self {
            namespace: Rc::new(Namespace::of(pid).during(during)?),
            authority,
            keystore,
            sockets: Some(sockets.map_err(|error| KeeperError::Lost(error.to_string()))?),
        })
    }

    async fn open(&mut self, AskedWay { way, handover }: &AskedWay) -> Result<(), KeeperError> {
        if way.authority.len() > MAX_AUTHORITY_BYTES {
            let why = format!("an authority has at most {MAX_AUTHORITY_BYTES} bytes");
            return Err(KeeperError::Spec(why));
        }
        self.certify(&way.authority)
            .during("write the authority of the way out")?;
        let Some(sockets) = &self.sockets else {
            return Err(KeeperError::Spec("its way out was opened before".into()));
        };
        forget_stale(sockets);
        let served = handover.hand_over(way, sockets).await;
        served.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            KeeperError::Lost(format!("{error}: {}", cause.unwrap_or_default()))
        })
    }

    fn certify(&mut self, authority: &str) -> io::Result<()> {
        rewrite(&mut self.authority, authority.as_bytes())?;
        rewrite(&mut self.keystore, &keystore(authority))
    }
}

fn rewrite(file: &mut File, content: &[u8]) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(content)
}

/// Drops who came when no call was there that they could belong to.
fn forget_stale(sockets: &WaySockets) {
    let listeners = [&sockets.proxy, &sockets.dns_tcp];
    for listener in listeners.into_iter().chain(&sockets.transparent) {
        for _ in 0..MAX_STALE {
            if listener.accept().is_err() {
                break;
            }
        }
    }
    for _ in 0..MAX_STALE {
        if sockets.dns.recv_from(&mut [0]).is_err() {
            break;
        }
    }
}

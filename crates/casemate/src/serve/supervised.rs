//! The gateway as a process of `casemate up`: what it is to do and its sockets come over standard input, which is a socket, and
//! it says there when it serves. When that socket ends, whoever looked after it is gone, and it ends too.

use std::{
    io::{self, IoSlice, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use casemate_api::Api;
use casemate_identity::{RemoteIdentity, Side};
use casemate_model::one_line;
use casemate_transport::RemoteKeeper;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt::socket_peercred,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::{sleep, timeout},
};

use super::{Order, drivers::CachedStores, start};
use crate::{
    exit::Exit,
    identity,
    report::{self, Failure},
};

/// The largest order, in bytes.
const MAX_ORDER_BYTES: usize = 1 << 20;
/// The sockets of one: that of this user, and that of a network.
const SOCKETS: usize = 2;
/// How often it is looked whether keeper and identity are there.
const TEND_PAUSE: Duration = Duration::from_millis(500);
/// How long the pause becomes while one of them is not.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// How long identity is waited for: longer than it has to listen, so that whoever starts it says why it did not.
const KEEP_TIMEOUT: Duration = identity::START_TIMEOUT.saturating_mul(2);
/// What is said when it serves.
const SERVES: u8 = b'S';

/// Sockets on which somebody listens already.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// For this user.
    pub(crate) local: Option<OwnedFd>,
    /// For others.
    pub(crate) network: Option<OwnedFd>,
}

/// Gives a gateway its order and its sockets.
pub(crate) fn order(
    stream: &StdUnixStream,
    order: &Order,
    local: BorrowedFd<'_>,
    network: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let json = serde_json::to_vec(order)?;
    let length = u32::try_from(json.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let sockets: Vec<_> = [Some(local), network].into_iter().flatten().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let count = [u8::try_from(sockets.len()).unwrap_or(0)];
    sendmsg(
        stream,
        &[IoSlice::new(&count)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    let mut stream = stream;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&json)
}

/// Takes them.
fn take(stream: &StdUnixStream) -> anyhow::Result<(Order, Sockets)> {
    let mut count = [0; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let parts = &mut [IoSliceMut::new(&mut count)];
    recvmsg(stream, parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
        _ => None,
    });
    let mut sockets = rights.flatten();
    let sockets = Sockets {
        local: sockets.next(),
        network: sockets.next(),
    };
    let mut stream = stream;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_ORDER_BYTES || sockets.local.is_none() {
        bail!("it is none");
    }
    let mut json = vec![0; length];
    stream.read_exact(&mut json)?;
    Ok((serde_json::from_slice(&json)?, sockets))
}

/// `casemate gateway`
pub(crate) fn run() -> Result<Exit, Failure> {
    let stream = io::stdin().as_fd().try_clone_to_owned();
    let stream = StdUnixStream::from(stream.map_err(Failure::failed)?);
    let from_terminal = || anyhow!("`casemate up` starts it");
    let peer = socket_peercred(&stream).map_err(|_| Failure::usage(from_terminal()))?;
    if peer.uid != rustix::process::geteuid() {
        return Err(Failure::usage(from_terminal()));
    }
    let (order, sockets) = take(&stream)
        .context("cannot understand what is to be done")
        .map_err(Failure::failed)?;
    let supervisor = Supervisor {
        stream,
        pid: peer.pid.as_raw_nonzero().get(),
    };
    start(&order, sockets, Some(supervisor))
}

/// Whoever started this gateway, and looks after it.
#[derive(Debug)]
pub(super) struct Supervisor {
    stream: StdUnixStream,
    pid: i32,
}

impl Supervisor {
    pub(super) const fn pid(&self) -> i32 {
        self.pid
    }

    /// Says that this gateway serves, when it does; keeps keeper and identity there, until the supervisor is gone.
    pub(super) async fn tend(&mut self, root: &Path, api: &Arc<Api<RemoteKeeper, CachedStores>>) {
        let stream = self.stream.try_clone();
        let stream = stream.and_then(|stream| {
            stream.set_nonblocking(true)?;
            UnixStream::from_std(stream)
        });
        let Ok(stream) = stream else {
            return;
        };
        let (mut from, mut to) = stream.into_split();
        let tending = async {
            let mut identity = Kept::default();
            let mut told = false;
            let mut pause = TEND_PAUSE;
            let mut before = String::new();
            loop {
                // What does not answer is missing.
                drop(timeout(KEEP_TIMEOUT, identity.keep(root)).await);
                let missing = api.missing().await;
                let now = missing.join(", ");
                if now != before && !now.is_empty() {
                    report::line(&format!("calls cannot be run: missing {now}"));
                    missing.iter().copied().for_each(advise);
                }
                before = now;
                if missing.is_empty() && !told {
                    told = to.write_all(&[SERVES]).await.is_ok();
                }
                pause = match missing.is_empty() {
                    true => TEND_PAUSE,
                    false => (pause * 2).min(LONGEST_PAUSE),
                };
                sleep(pause).await;
            }
        };
        let gone = async {
            let mut byte = [0; 1];
            // It says nothing more: whatever comes is its end.
            drop(from.read(&mut byte).await);
        };
        tokio::select! {
            () = tending => {}
            () = gone => {}
        }
    }
}

/// Says where to look for what is missing.
fn advise(missing: &str) {
    report::hint(match missing {
        "keeper" => "`casemate doctor` says what sandboxes need, run/keeper.log what it lacked",
        "identity" => "run/identity.log in the state directory says why it did not start",
        "records" => "`casemate audit verify` says what is wrong with the log",
        "policies" => "`casemate policy list` says which bundle there is",
        "switches" => "`casemate switch list` says why the switches cannot be read",
        _ => "`casemate status` says how it stands",
    });
}

/// Identity, which ends when nobody is connected to it.
#[derive(Default)]
struct Kept {
    connection: Option<RemoteIdentity>,
    failed: bool,
}

impl Kept {
    /// Connects, and starts it where it is not, unless it is there.
    async fn keep(&mut self, root: &Path) {
        if self.connection.as_ref().is_some_and(|one| !one.is_gone()) {
            return;
        }
        let connected = async {
            let stream = identity::connect_or_start(root, Side::Orders).await?;
            anyhow::Ok(RemoteIdentity::over(stream).await?)
        };
        self.connection = match connected.await {
            Ok(connection) => {
                self.failed = false;
                Some(connection)
            }
            Err(error) => {
                // Once: it is tried again and again.
                if !self.failed {
                    report::line(&one_line(error.as_ref()));
                }
                self.failed = true;
                None
            }
        };
    }
}

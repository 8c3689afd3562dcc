//! Where the sandboxes of one owner and kind are made, ahead of their use; what they share is read-only.

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use casemate_model::Limits;
use casemate_ports::KeeperError;
use casemate_sys::{Forked, Namespaces, clone_process};
use rustix::net::SocketType;
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::Mutex,
};

use crate::{
    cgroup::Cgroups,
    keeper::{During as _, identity_of, map_ids, pair},
    plan::{Baits, SANDBOX_ID, own_storage, shared_root},
    process::Process,
    setup::{self, Report, send_go},
    userland::Userland,
    watch::{watch, watch_both},
};

mod first;
mod program;
pub(crate) mod wire;

use self::{
    first::{Blueprint, READY, become_nursery},
    wire::{Order, answered, receive, send},
};

/// A running nursery. Everything in it dies with this value, all sandboxes included.
#[derive(Debug)]
pub(crate) struct Nursery {
    // First, so that it is dead before its cgroups are removed.
    process: Process,
    _cgroups: Cgroups,
    orders: Mutex<AsyncFd<OwnedFd>>,
    pub(crate) userland: Userland,
}

impl Nursery {
    /// Starts one, in `cgroups`; with what calls with ways out take, if they are to have them.
    pub(crate) async fn start(
        host: &Path,
        name: &str,
        limits: &Limits,
        userland: Userland,
        has_ways: bool,
        baits: Baits,
        cgroups: Cgroups,
    ) -> Result<Self, KeeperError> {
        let identity = identity_of(name);
        let template = program::template(&userland).during("prepare the interpreter")?;
        let tree = userland.take_tree().during("take the image")?;
        let blueprint = Blueprint {
            root: shared_root(host, userland.image(tree.as_ref()), has_ways, baits)
                .during("look at the host's userland")?,
            tree,
            storage: own_storage(limits, baits).during("plan the storage")?,
            identity,
            has_ways,
            template,
        };
        let (setup, setup_inside) = pair(SocketType::SEQPACKET).during("make a socket")?;
        let (orders, orders_inside) = pair(SocketType::SEQPACKET).during("make a socket")?;
        let joins = cgroups.joins().during("open the cgroups")?;
        let forked = clone_process(Namespaces::SESSION, None).during("make namespaces")?;
        let process = match forked {
            Forked::Child => {
                // With our ends open it would not see us die.
                drop((setup, orders));
                become_nursery(&blueprint, &joins, setup_inside, orders_inside)
            }
            Forked::Parent(pid, pidfd) => Process::new(pid, pidfd),
        };
        drop((setup_inside, orders_inside, blueprint));
        map_ids(process.pid(), identity, SANDBOX_ID).during("map the user")?;
        send_go(&setup).during("start the nursery")?;
        await_ready(setup).await?;
        rustix::io::ioctl_fionbio(&orders, true).during("watch the nursery")?;
        Ok(Self {
            process,
            _cgroups: cgroups,
            orders: Mutex::new(watch_both(orders).during("watch the nursery")?),
            userland,
        })
    }

    /// Whether it can make sandboxes still.
    pub(crate) fn is_alive(&self) -> bool {
        self.process.is_alive()
    }

    /// Makes a sandbox that joins its cgroups by `joins`, reports on `setup` and serves `control`; returns a pidfd of its first
    /// process.
    pub(crate) async fn make(
        &self,
        setup: OwnedFd,
        control: OwnedFd,
        joins: &[OwnedFd],
    ) -> Result<OwnedFd, KeeperError> {
        let orders = self.orders.lock().await;
        let mut fds = vec![setup.as_fd(), control.as_fd()];
        fds.extend(joins.iter().map(|file| file.as_fd()));
        let tell = |socket: &OwnedFd| send(socket.as_fd(), Order::Make.word(), &fds);
        let told = orders.async_io(Interest::WRITABLE, tell).await;
        told.during("ask the nursery")?;
        drop((setup, control));
        let hear = |socket: &OwnedFd| receive(socket.as_fd());
        let heard = orders.async_io(Interest::READABLE, hear).await;
        match heard.during("hear from the nursery")? {
            Some(message) => answered(message).during("make namespaces"),
            None => Err(KeeperError::Lost("its nursery died".into())),
        }
    }

    /// Has a warm interpreter sent into a sandbox; `socket` is its end.
    pub(crate) async fn warm(
        &self,
        first: &OwnedFd,
        socket: OwnedFd,
        joins: &[OwnedFd],
    ) -> Result<(), KeeperError> {
        let orders = self.orders.lock().await;
        let mut fds = vec![first.as_fd(), socket.as_fd()];
        fds.extend(joins.iter().map(|file| file.as_fd()));
        let tell = |socket: &OwnedFd| send(socket.as_fd(), Order::Warm.word(), &fds);
        let told = orders.async_io(Interest::WRITABLE, tell).await;
        told.during("ask for an interpreter")
    }
}

async fn await_ready(socket: OwnedFd) -> Result<(), KeeperError> {
    let during = "hear from the nursery";
    rustix::io::ioctl_fionbio(&socket, true).during(during)?;
    let socket = watch(socket).during(during)?;
    let hear = |socket: &OwnedFd| receive(socket.as_fd());
    let heard = socket.async_io(Interest::READABLE, hear).await;
    match heard.during(during)? {
        Some(message) if message.bytes == READY => Ok(()),
        Some(message) => match setup::decode_message(&message.bytes) {
            Some(Report::Failed(step, source)) => Err(KeeperError::Build { step, source }),
            _ => Err(KeeperError::Lost("its nursery said something else".into())),
        },
        None => Err(KeeperError::Lost(
            "its nursery died while it was made".into(),
        )),
    }
}

/// Turns text into what `execve` takes.
fn c_string(text: impl Into<Vec<u8>>) -> io::Result<CString> {
    CString::new(text).map_err(io::Error::from)
}

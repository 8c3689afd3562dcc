//! The sandbox of a session: unused in a pool, then of one thread, then destroyed.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    rc::Rc,
};

use casemate_frames::{SESSION_READY, SessionOrder, Waiting};
use casemate_model::{InputDigest, Limits, Responses};
use casemate_ports::{InputFile, KeeperError, WayPorts};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::SocketType,
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::{
    cgroup::{Ceiling, Cgroups, Removal},
    facts::NamespaceLinks,
    honey::{Honey, Lookout},
    keeper::{During as _, pair},
    nursery::{
        Nursery,
        wire::{receive, send},
    },
    place::{Network, Prepared, Wanted, prepare},
    setup::{Report, decode_message},
    watch::{Watched, watch, watch_both},
};

/// A sandbox that lasts. Everything in it dies with this value.
#[derive(Debug)]
pub(crate) struct SessionSandbox {
    // First, so that it is dead before its cgroups are removed.
    pub(crate) first: Watched,
    cgroups: Cgroups,
    /// Where its guest and its warm interpreter are, on v2.
    _leaf: Option<Cgroups>,
    removal: Removal,
    orders: AsyncFd<OwnedFd>,
    nursery: Rc<Nursery>,
    pub(crate) limits: Limits,
    way: Option<WayPorts>,
    /// What follows violations.
    pub(crate) violations: Option<Responses>,
    /// Its honey files, if it has any.
    pub(crate) honey: Option<Honey>,
    host: Rc<NamespaceLinks>,
    /// The guest's end of the socket to the warm interpreter, whose end is seen here.
    interpreter: RefCell<Option<OwnedFd>>,
    places: Cell<u64>,
    /// Made before the call that will have it.
    spare: RefCell<Option<Prepared>>,
}

/// What sandboxes are made with.
#[derive(Clone, Debug)]
pub(crate) struct Making {
    pub(crate) nursery: Rc<Nursery>,
    pub(crate) limits: Limits,
    /// The ports of its calls' ways out, if they have any.
    pub(crate) way: Option<WayPorts>,
    /// What follows violations, and who watches for them.
    pub(crate) violations: Option<(Responses, Rc<Lookout>)>,
    pub(crate) host: Rc<NamespaceLinks>,
    pub(crate) removal: Removal,
}

impl SessionSandbox {
    /// Makes one in `cgroups`, complete, with a place for its first call.
    pub(crate) async fn make(making: &Making, cgroups: Cgroups) -> Result<Rc<Self>, KeeperError> {
        let leaf = (cgroups.by() == "cgroup v2").then(|| {
            let unlimited = Ceiling::of(&making.limits);
            Cgroups::make(&cgroups.inside(), "guest", &unlimited).removed(making.removal.clone())
        });
        let joins = leaf.as_ref().unwrap_or(&cgroups).joins();
        let joins = joins.during("open the cgroups")?;
        let (setup, setup_inside) = pair(SocketType::SEQPACKET).during("make a socket")?;
        let (orders, orders_inside) = pair(SocketType::SEQPACKET).during("make a socket")?;
        let first = making
            .nursery
            .make(setup_inside, orders_inside, &joins)
            .await?;
        let first = Watched::new(first).during("watch the sandbox")?;
        rustix::io::ioctl_fionbio(&orders, true).during("watch the sandbox")?;
        let orders = watch_both(orders).during("watch the sandbox")?;
        await_guest(setup, &orders).await?;
        let honey = match (&making.violations, first.pid()) {
            (Some((responses, lookout)), Some(pid)) => {
                let honey = lookout.over(pid, responses.honey_files);
                Some(honey.during("watch the honey files")?)
            }
            (None, Some(_)) => None,
            (_, None) => return Err(KeeperError::Lost("it died while it was made".into())),
        };
        let sandbox = Rc::new(Self {
            first,
            cgroups,
            _leaf: leaf,
            removal: making.removal.clone(),
            orders,
            nursery: Rc::clone(&making.nursery),
            limits: making.limits,
            way: making.way,
            violations: making.violations.as_ref().map(|(responses, _)| *responses),
            honey,
            host: Rc::clone(&making.host),
            interpreter: RefCell::new(None),
            places: Cell::new(0),
            spare: RefCell::new(None),
        });
        sandbox.make_spare().await?;
        Ok(sandbox)
    }

    /// Its honey files that were opened and nobody has taken note of.
    pub(crate) fn opened_now(&self) -> Result<Vec<(&'static str, u64)>, KeeperError> {
        let opened = self.honey.as_ref().map(Honey::opened_now).transpose();
        Ok(opened
            .during("look at the honey files")?
            .unwrap_or_default())
    }

    pub(crate) fn python(&self) -> bool {
        self.nursery.userland.python.is_some()
    }

    pub(crate) fn variables(&self) -> &std::collections::BTreeMap<String, String> {
        &self.nursery.userland.env
    }

    /// The place that was made before, if it still stands.
    pub(crate) fn take_spare(&self) -> Option<Prepared> {
        let spare = self.spare.borrow_mut().take();
        let spare = spare.filter(Prepared::is_whole);
        // Nobody would see how the interpreter in it ended.
        spare.filter(|_| !self.python() || self.is_warm())
    }

    /// Makes a place for a call to come, if there is none.
    pub(crate) async fn make_spare(&self) -> Result<(), KeeperError> {
        if self.spare.borrow().is_none() {
            self.put_spare(self.for_any(Waiting::Ready)).await?;
        }
        Ok(())
    }

    /// Puts one that needs less memory in place of the spare: for a session that waits for long.
    pub(crate) async fn slim(&self) -> Result<(), KeeperError> {
        let lean = self.for_any(Waiting::Lean);
        let slim = self
            .spare
            .borrow()
            .as_ref()
            .is_none_or(|spare| spare.waiting == lean.waiting);
        if slim {
            Ok(())
        } else {
            self.put_spare(lean).await
        }
    }

    async fn put_spare(&self, wanted: Wanted<'_>) -> Result<(), KeeperError> {
        let (prepared, _) = self.prepare(wanted, Vec::new()).await?;
        // The one before dies.
        *self.spare.borrow_mut() = Some(prepared);
        Ok(())
    }

    /// What a place for any call is like, with this interpreter if there is one.
    pub(crate) fn for_any(&self, interpreter: Waiting) -> Wanted<'static> {
        Wanted {
            waiting: if self.python() {
                interpreter
            } else {
                Waiting::Nothing
            },
            network: Network::of_calls(self.way),
        }
    }

    /// Makes a place; a second time when the warm interpreter was lost on the way.
    pub(crate) async fn prepare(
        &self,
        wanted: Wanted<'_>,
        mut inputs: Vec<InputFile>,
    ) -> Result<(Prepared, Vec<InputDigest>), KeeperError> {
        let again = match wanted.waiting {
            Waiting::Nothing => None,
            _ => Some(copies(&inputs).during("keep the inputs")?),
        };
        match (self.try_prepare(wanted, inputs).await, again) {
            // Without the interpreter the place dies, or its guest says that nobody answers.
            (Err(KeeperError::Lost(_) | KeeperError::Build { .. }), Some(copies))
                if !self.is_warm() =>
            {
                inputs = copies;
                self.try_prepare(wanted, inputs).await
            }
            (tried, _) => tried,
        }
    }

    async fn try_prepare(
        &self,
        wanted: Wanted<'_>,
        inputs: Vec<InputFile>,
    ) -> Result<(Prepared, Vec<InputDigest>), KeeperError> {
        if wanted.waiting != Waiting::Nothing {
            self.warm_up().await?;
        }
        let number = self.places.get();
        self.places.set(number + 1);
        let ceiling = Ceiling::of(&self.limits);
        let cgroups = Cgroups::make(&self.cgroups.inside(), &format!("place-{number}"), &ceiling)
            .removed(self.removal.clone());
        let (mut prepared, digests) =
            prepare(&self.orders, cgroups, wanted, inputs, &self.host).await?;
        prepared.limit_ahead(self).await?;
        Ok((prepared, digests))
    }

    /// Whether there is a warm interpreter. One that a call has touched has ended.
    fn is_warm(&self) -> bool {
        self.interpreter.borrow().as_ref().is_some_and(|socket| {
            let mut fds = [PollFd::new(socket, PollFlags::empty())];
            matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
        })
    }

    /// Sees to it that there is a warm interpreter.
    async fn warm_up(&self) -> Result<(), KeeperError> {
        if self.is_warm() {
            return Ok(());
        }
        let joins = self._leaf.as_ref().unwrap_or(&self.cgroups).joins();
        let joins = joins.during("open the cgroups")?;
        let (guest, interpreter) = pair(SocketType::SEQPACKET).during("make a socket")?;
        tell(&self.orders, SessionOrder::Interpreter, &[&guest]).await?;
        *self.interpreter.borrow_mut() = Some(guest);
        self.nursery
            .warm(self.first.pidfd(), interpreter, &joins)
            .await
    }
}

/// The same files, from their starts.
fn copies(inputs: &[InputFile]) -> io::Result<Vec<InputFile>> {
    let copy = |input: &InputFile| {
        // A name of the same file has a position of its own.
        let path = format!("/proc/self/fd/{}", input.file.as_raw_fd());
        Ok(InputFile {
            name: input.name.clone(),
            file: std::fs::File::open(path)?,
        })
    };
    inputs.iter().map(copy).collect()
}

/// Gives the first process of a sandbox an order.
pub(crate) async fn tell(
    orders: &AsyncFd<OwnedFd>,
    order: SessionOrder,
    fds: &[&OwnedFd],
) -> Result<(), KeeperError> {
    let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
    let message = order.encode();
    let tell = |socket: &OwnedFd| send(socket.as_fd(), &message, &fds);
    match orders.async_io(Interest::WRITABLE, tell).await {
        Ok(()) => Ok(()),
        Err(error) => Err(KeeperError::Lost(format!(
            "its guest takes no orders: {error}"
        ))),
    }
}

/// Waits for the guest's first word, and says what was in its way if it does not come.
async fn await_guest(setup: OwnedFd, orders: &AsyncFd<OwnedFd>) -> Result<(), KeeperError> {
    let during = "hear from the sandbox";
    let hear = |socket: &OwnedFd| receive(socket.as_fd());
    let first = orders.async_io(Interest::READABLE, hear).await;
    if let Some(word) = first.during(during)? {
        return match word.bytes.as_slice() {
            SESSION_READY => Ok(()),
            _ => Err(KeeperError::Lost(
                "the guest's first word was another".into(),
            )),
        };
    }
    rustix::io::ioctl_fionbio(&setup, true).during(during)?;
    let setup = watch(setup).during(during)?;
    let heard = setup.async_io(Interest::READABLE, hear).await;
    match heard
        .during(during)?
        .map(|message| decode_message(&message.bytes))
    {
        Some(Some(Report::Failed(step, source))) => Err(KeeperError::Build { step, source }),
        _ => Err(KeeperError::Lost("the guest did not start".into())),
    }
}

//! The process: from its start as a copy of `casemate` to its last way out.

use std::{
    io::Write as _,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
    },
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use casemate_identity::ActionToken;
use casemate_model::DecisionId;
use casemate_ports::{
    Egress, EgressError, NewWay, Owner, Pending, ServedWay, WayAuthority, WayRules, WaySockets,
    Witness,
};
use casemate_sys::{Forked, exit_now, keep_descriptors};
use casemate_transport::{
    handover::{self, Expected, HandedOver, Handover},
    lending::{Borrowed, Borrower},
    serve_egress,
};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::{
    net::UnixStream,
    runtime::{Builder, Runtime},
    time::{Instant, sleep},
};

use super::{enter, trial};
use crate::{
    exit::Exit,
    report,
    way::{self, Service, Voucher},
};

/// How long a process stays that nobody needs.
const IDLE_EXIT: Duration = Duration::from_secs(5 * 60);
/// How often it is looked whether anybody does.
const IDLE_CHECK: Duration = Duration::from_secs(5);

/// What the process has when it gives up the files of this host.
struct Open {
    channel: OwnedFd,
    lending: OwnedFd,
    handover: StdUnixListener,
    null: OwnedFd,
    user: u32,
    group: u32,
}

pub(super) fn run(handover: &Path, roots: &Path) -> anyhow::Result<Exit> {
    let absolute = |path: &Path| {
        let found = std::path::absolute(path);
        found.with_context(|| format!("cannot find `{}`", path.display()))
    };
    let (handover, roots) = (absolute(handover)?, absolute(roots)?);
    enter::settle()?;
    let service = way::service(&roots)?;
    let open = Open {
        channel: rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)
            .context("cannot keep standard input")?,
        lending: rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)
            .context("cannot keep standard output")?,
        handover: handover::listen(&handover)?,
        null: enter::null()?,
        user: rustix::process::geteuid().as_raw(),
        group: rustix::process::getegid().as_raw(),
    };
    match enter::copy()? {
        Forked::Parent(pid, pidfd) => {
            drop((open, pidfd));
            // Whoever holds the other end must not take this process for the one that serves.
            enter::mute(&enter::null()?)?;
            wait(pid)
        }
        Forked::Child => {
            let served = catch_unwind(AssertUnwindSafe(|| serve(open, service)));
            match served {
                Ok(Ok(())) => exit_now(0),
                Ok(Err(error)) => report::line(&format!("egress: {error:#}")),
                // It has said so.
                Err(_) => {}
            }
            exit_now(1)
        }
    }
}

/// Waits for the copy: while it lives its parent does, or it dies.
fn wait(pid: Pid) -> anyhow::Result<Exit> {
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for the process of egress"),
            Ok(Some(status)) if status.exit_status() == Some(0) => return Ok(Exit::Success),
            Ok(_) => bail!("the process of egress has died"),
        }
    }
}

/// Gives up everything, says what is in force, and serves.
fn serve(open: Open, service: Service) -> anyhow::Result<()> {
    let Open {
        channel,
        lending,
        handover,
        null,
        user,
        group,
    } = open;
    enter::leave(user, group)?;
    enter::mute(&null)?;
    drop(null);
    let kept = keep_descriptors(vec![channel, lending, handover.into()]);
    let kept = kept.context("cannot close descriptors")?;
    let Ok([channel, lending, handover]) = <[OwnedFd; 3]>::try_from(kept) else {
        bail!("descriptors were lost");
    };
    // Before system calls are restricted: it makes pipes of its own, for signals, if it is asked for them.
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .context("cannot start")?;
    let before = trial::before();
    let landlock = casemate_confine::restrict_egress();
    let landlock = landlock.map_err(|error| anyhow::anyhow!("cannot {error}: {}", error.source))?;
    let mut channel = StdUnixStream::from(channel);
    say(&mut channel, &trial::trial(before, landlock))?;
    let borrower = Borrower::new(lending);
    attend(
        &runtime,
        channel,
        handover.into(),
        user,
        (service, borrower),
    )
}

/// Says what is in force: the length of the JSON, and the JSON.
fn say(channel: &mut StdUnixStream, enforced: &trial::Enforced) -> anyhow::Result<()> {
    let json = serde_json::to_vec(enforced).context("cannot say what is in force")?;
    let length = u32::try_from(json.len()).context("too much is in force")?;
    let said = channel
        .write_all(&length.to_be_bytes())
        .and_then(|()| channel.write_all(&json));
    said.context("cannot say what is in force")
}

fn attend(
    runtime: &Runtime,
    channel: StdUnixStream,
    handover: StdUnixListener,
    user: u32,
    (service, borrower): (Service, Borrower),
) -> anyhow::Result<()> {
    runtime.block_on(async {
        channel.set_nonblocking(true).context("cannot serve")?;
        let channel = UnixStream::from_std(channel).context("cannot serve")?;
        let handover = Handover::new(handover, user).context("cannot take sockets")?;
        let served = Served {
            service: service.clone(),
            borrower,
            expected: handover.expected(),
            asked: Arc::default(),
            open: Arc::default(),
        };
        let (asked, open) = (Arc::clone(&served.asked), Arc::clone(&served.open));
        tokio::select! {
            () = serve_egress(Arc::new(served), channel) => {}
            () = take(handover, service) => {}
            () = unneeded(&asked, &open) => {}
        }
        Ok(())
    })
}

/// Takes sockets of calls, for ever.
async fn take(mut handover: Handover, service: Service) {
    loop {
        // Whoever hands over wrongly is told by a closed connection.
        let Ok(HandedOver {
            decision,
            sockets,
            served,
        }) = handover.next().await
        else {
            continue;
        };
        let service = service.clone();
        tokio::spawn(async move {
            if service.take(decision, sockets).await {
                served.say().await;
            }
        });
    }
}

/// Comes when nobody has asked for anything for a while, and no way out is open.
async fn unneeded(asked: &AtomicUsize, open: &AtomicUsize) {
    let (mut seen, mut since) = (0, Instant::now());
    while since.elapsed() < IDLE_EXIT {
        sleep(IDLE_CHECK).await;
        let now = asked.load(Ordering::Relaxed);
        if now != seen || open.load(Ordering::Relaxed) > 0 {
            (seen, since) = (now, Instant::now());
        }
    }
}

/// The service, for the other process.
#[derive(Debug)]
struct Served {
    service: Service,
    /// Whence connections to identity come.
    borrower: Borrower,
    expected: Expected,
    /// How often something was asked for.
    asked: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Egress for Served {
    fn authority<'a>(
        &'a self,
        _: &'a Owner,
        rules: &'a WayRules,
    ) -> Pending<'a, Result<WayAuthority, EgressError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let made = self.service.authority(rules).map(|pem| WayAuthority {
            pem,
            // Whoever started this process knows.
            handover: None,
        });
        Box::pin(std::future::ready(made))
    }

    fn open<'a>(
        &'a self,
        _: &'a Owner,
        way: NewWay,
        sockets: Option<WaySockets>,
        witness: Arc<dyn Witness>,
    ) -> Pending<'a, Result<Box<dyn ServedWay>, EgressError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let decision = way.decision;
            let voucher = self.borrower.take(decision).and_then(voucher);
            let lent = self.service.borrow(&way, voucher).await?;
            let way = self.service.open(way, sockets, witness, lent)?;
            let expected = self.expected.expect(decision);
            expected.map_err(|error| EgressError::Refused(error.to_string()))?;
            let counted = Counted::new(&self.open, &self.expected, decision);
            Ok(Box::new(OpenWay { way, counted }) as Box<dyn ServedWay>)
        })
    }
}

/// What is redeemed on a connection that was lent. Needs a tokio runtime.
fn voucher(borrowed: Borrowed) -> Option<Voucher> {
    let stream = |connection: StdUnixStream| {
        connection.set_nonblocking(true).ok()?;
        UnixStream::from_std(connection).ok()
    };
    Some(Voucher {
        token: ActionToken::of(borrowed.token),
        connection: stream(borrowed.connection)?,
        signs: borrowed.signs.and_then(stream),
    })
}

/// One that is open, for as long as this lives.
#[derive(Debug)]
struct Counted {
    open: Arc<AtomicUsize>,
    expected: Expected,
    decision: DecisionId,
}

impl Counted {
    fn new(open: &Arc<AtomicUsize>, expected: &Expected, decision: DecisionId) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self {
            open: Arc::clone(open),
            expected: expected.clone(),
            decision,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        // If its sockets have not come by now, they must not come any more.
        self.expected.forget(self.decision);
    }
}

#[derive(Debug)]
struct OpenWay {
    way: Box<dyn ServedWay>,
    counted: Counted,
}

impl ServedWay for OpenWay {
    fn lost(&mut self) -> Pending<'_, EgressError> {
        self.way.lost()
    }

    fn revoke(&self) {
        self.way.revoke();
    }

    fn close(self: Box<Self>) -> Pending<'static, Result<(), EgressError>> {
        let Self { way, counted } = *self;
        Box::pin(async move {
            let closed = way.close().await;
            drop(counted);
            closed
        })
    }
}

//! A place for one call in a session's sandbox, and what runs there.

mod way;

use std::{
    collections::BTreeMap,
    io::{self, Read as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    rc::Rc,
    time::Duration,
};

use casemate_frames::{
    self as frames, Decoder, FromGuest, MAX_CHUNK_BYTES, Message as _, PROTOCOL_VERSION,
    PlaceReport, SessionOrder, ToGuest, Waiting,
};
use casemate_model::{Artefact, Cause, Hasher, InputDigest, Isolation, Limits};
use casemate_ports::{
    ArtefactSink, CallIo, Command, Echo, Ended, InputFile, KeeperError, Ready, Sandbox,
};
use casemate_sys::LandlockStatus;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::SocketType,
    process::{Pid, PidfdFlags, Resource, pidfd_open},
};
use tokio::{
    io::{AsyncWriteExt as _, Interest, unix::AsyncFd},
    net::UnixStream,
};

use self::way::OwnNetwork;
pub(crate) use self::way::{AskedWay, Namespace, Network, Wanted};
use crate::{
    cgroup::{Ceiling, Cgroups, Controlled},
    denied::add_opened,
    facts::{self, NamespaceLinks},
    keeper::{During as _, pair},
    limits::resource_limits,
    nursery::wire::{Message, receive},
    run::{Ending, Run, Sentinels, environment, exec, words},
    sandbox::Guest,
    session::{SessionSandbox, tell},
    sessions::Turn,
    watch::{Watched, watch},
};

/// How long a place may take to be made: its guest or its interpreter hangs after that.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(60);

/// How often is looked, after a kill, whether anything can still act, before others come first.
const LOOKS: u32 = 4;
/// How long they do until the next look.
const PAUSE: Duration = Duration::from_millis(1);

/// A place that is complete and has run nothing.
#[derive(Debug)]
pub(crate) struct Prepared {
    // First, so that it is dead before its cgroups are removed.
    pub(crate) first: Watched,
    cgroups: Cgroups,
    guest: Guest,
    /// Where refused system calls of programs are reported.
    listener: AsyncFd<OwnedFd>,
    way_out: AsyncFd<OwnedFd>,
    /// Its own network, if it has one.
    pub(crate) network: Option<OwnNetwork>,
    /// The same of the interpreter, if one waits here.
    interpreter: Option<AsyncFd<OwnedFd>>,
    isolation: Isolation,
    pub(crate) waiting: Waiting,
    /// What its processes are limited to by the call that has it.
    limits: Option<Limits>,
    /// The resource limits that its processes have.
    given: Vec<(u8, u64)>,
}

/// Orders a place and waits until every restriction is in force.
pub(crate) async fn prepare(
    orders: &AsyncFd<OwnedFd>,
    cgroups: Cgroups,
    wanted: Wanted<'_>,
    inputs: Vec<InputFile>,
    host: &NamespaceLinks,
) -> Result<(Prepared, Vec<InputDigest>), KeeperError> {
    let work = build(orders, cgroups, wanted, inputs, host);
    match tokio::time::timeout(PREPARE_TIMEOUT, work).await {
        Ok(made) => made,
        Err(_) => Err(KeeperError::Lost(
            "a place in it could not be made in time".into(),
        )),
    }
}

async fn build(
    orders: &AsyncFd<OwnedFd>,
    cgroups: Cgroups,
    wanted: Wanted<'_>,
    inputs: Vec<InputFile>,
    host: &NamespaceLinks,
) -> Result<(Prepared, Vec<InputDigest>), KeeperError> {
    let during = "make a socket";
    let (setup, setup_inside) = pair(SocketType::SEQPACKET).during(during)?;
    let (control, control_inside) = pair(SocketType::STREAM).during(during)?;
    rustix::net::sockopt::set_socket_passcred(&setup, true).during(during)?;
    rustix::io::ioctl_fionbio(&setup, true).during(during)?;
    let setup = watch(setup).during(during)?;
    let joins = cgroups.joins().during("open the cgroups")?;
    let mut fds = vec![&control_inside, &setup_inside];
    if let Network::Joined(namespace) = wanted.network {
        fds.push(namespace);
    }
    fds.extend(&joins);
    let order = SessionOrder::Place(wanted.waiting, wanted.network.word());
    tell(orders, order, &fds).await?;
    drop((control_inside, setup_inside, joins));
    let control = StdUnixStream::from(control);
    control.set_nonblocking(true).during(during)?;
    let mut guest = Guest {
        socket: UnixStream::from_std(control).during(during)?,
        decoder: Decoder::default(),
        buffer: Vec::new(),
        unsaid: Vec::new(),
    };
    let sealed: &[&str] = if inputs.is_empty() {
        &["/", "/usr"]
    } else {
        &["/", "/usr", "/workspace/in"]
    };
    let digests = give_inputs(&mut guest, inputs).await?;
    let mut reports = Reports::default();
    while reports.wait_for(wanted.waiting) {
        let hear = |socket: &OwnedFd| receive(socket.as_fd());
        let heard = setup.async_io(Interest::READABLE, hear).await;
        reports.take(heard.during("hear from the place")?, &cgroups, host, sealed)?;
    }
    let prepared = reports.prepared(cgroups, guest, wanted)?;
    Ok((prepared, digests))
}

/// What is heard from a place.
#[derive(Default)]
struct Reports {
    first: Option<(Pid, OwnedFd, OwnedFd, Vec<OwnedFd>, Isolation)>,
    interpreter: Option<(OwnedFd, Isolation)>,
}

impl Reports {
    fn wait_for(&self, waiting: Waiting) -> bool {
        self.first.is_none() || (waiting != Waiting::Nothing && self.interpreter.is_none())
    }

    fn take(
        &mut self,
        message: Option<Message>,
        cgroups: &Cgroups,
        host: &NamespaceLinks,
        sealed: &[&str],
    ) -> Result<(), KeeperError> {
        let lost = |what: &str| KeeperError::Lost(what.into());
        let message = message.ok_or_else(|| lost("a place in it died while it was made"))?;
        let sender = message
            .sender
            .ok_or_else(|| lost("a report has no sender"))?;
        let measure = |landlock| {
            facts::measure(sender, host, cgroups, landlock_of(landlock), sealed)
                .during("measure the place")
        };
        let mut fds = message.fds.into_iter();
        match (PlaceReport::decode(&message.bytes), fds.next(), fds.next()) {
            (Ok(PlaceReport::Place { landlock }), Some(listener), Some(way_out)) => {
                let network = fds.collect();
                self.first = Some((sender, listener, way_out, network, measure(landlock)?));
                Ok(())
            }
            (Ok(PlaceReport::Interpreter { landlock }), Some(listener), None) => {
                self.interpreter = Some((listener, measure(landlock)?));
                Ok(())
            }
            (Ok(PlaceReport::Failed { errno }), ..) => Err(KeeperError::Build {
                step: "make a place for the call".into(),
                source: io::Error::from_raw_os_error(errno),
            }),
            _ => Err(lost("it reported what is not the protocol")),
        }
    }

    fn prepared(
        self,
        cgroups: Cgroups,
        guest: Guest,
        wanted: Wanted<'_>,
    ) -> Result<Prepared, KeeperError> {
        let Some((pid, listener, way_out, network, mut isolation)) = self.first else {
            return Err(KeeperError::Lost("no place was made".into()));
        };
        let during = "watch the place";
        // It waits for us: its number is still its own.
        let first = pidfd_open(pid, PidfdFlags::empty()).during(during)?;
        let network = wanted.network.made(pid, network)?;
        let interpreter = match self.interpreter {
            Some((listener, own)) => {
                weaken(&mut isolation, &own);
                Some(watch_listener(listener).during(during)?)
            }
            None => None,
        };
        Ok(Prepared {
            first: Watched::new(first).during(during)?,
            cgroups,
            guest,
            listener: watch_listener(listener).during(during)?,
            way_out: watch_listener(way_out).during(during)?,
            network,
            interpreter,
            isolation,
            waiting: wanted.waiting,
            limits: None,
            given: Vec::new(),
        })
    }
}

/// A descriptor that came out of a sandbox: it must not make this process wait.
fn watch_listener(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    watch(fd)
}

/// What holds for both.
fn weaken(isolation: &mut Isolation, other: &Isolation) {
    for (control, other) in isolation.controls.iter_mut().zip(&other.controls) {
        if other.strength < control.strength {
            *control = other.clone();
        }
    }
}

const fn landlock_of(code: u8) -> LandlockStatus {
    match code {
        2 => LandlockStatus::Full,
        1 => LandlockStatus::Partial,
        _ => LandlockStatus::None,
    }
}

/// Streams the inputs in, hashes what is sent, and closes the door.
async fn give_inputs(
    guest: &mut Guest,
    inputs: Vec<InputFile>,
) -> Result<Vec<InputDigest>, KeeperError> {
    let mut digests = Vec::new();
    for input in inputs {
        guest
            .say(&ToGuest::Input(input.name.as_bytes().to_vec()))
            .await?;
        let (mut hasher, mut bytes) = (Hasher::default(), 0);
        let mut buffer = vec![0; MAX_CHUNK_BYTES];
        let mut file = input.file;
        loop {
            let count = file.read(&mut buffer).during("read an input")?;
            let chunk = buffer.get(..count).unwrap_or_default();
            if chunk.is_empty() {
                break;
            }
            hasher.update(chunk);
            bytes += chunk.len() as u64;
            guest.say(&ToGuest::Stdin(chunk.to_vec())).await?;
        }
        digests.push(InputDigest {
            name: input.name,
            bytes,
            sha256: hasher.finish(),
        });
    }
    guest.say(&ToGuest::Seal).await?;
    Ok(digests)
}

impl Guest {
    /// Tells a place something outside of a run.
    pub(crate) async fn say(&mut self, message: &ToGuest) -> Result<(), KeeperError> {
        self.say_with_next(message)?;
        let bytes = std::mem::take(&mut self.unsaid);
        let said = self.socket.write_all(&bytes).await;
        said.map_err(|error| KeeperError::Lost(format!("a place does not listen: {error}")))
    }

    /// Has it told together with what it is told next: each time it is woken costs.
    fn say_with_next(&mut self, message: &ToGuest) -> Result<(), KeeperError> {
        let encoded = message.encode(&mut self.unsaid);
        encoded.map_err(|error| KeeperError::Spec(error.to_string()))
    }

    async fn greet(&mut self) -> Result<(), KeeperError> {
        match self.next_frame().await {
            Ok(Some(FromGuest::Hello(PROTOCOL_VERSION))) => Ok(()),
            Ok(Some(frame)) => Err(KeeperError::Lost(format!("its first word was {frame:?}"))),
            Ok(None) | Err(_) => Err(KeeperError::Lost("the place of the call died".into())),
        }
    }
}

impl Prepared {
    /// Whether nothing of it has died while it waited.
    pub(crate) fn is_whole(&self) -> bool {
        let quiet = |fd: &OwnedFd, what: PollFlags| {
            let mut fds = [PollFd::new(fd, what)];
            matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
        };
        // The kernel hangs up when nobody is left whose calls it would report.
        let interpreter = self.interpreter.as_ref();
        quiet(self.first.pidfd(), PollFlags::IN)
            && interpreter.is_none_or(|listener| quiet(listener.get_ref(), PollFlags::empty()))
    }

    pub(crate) const fn guest(&mut self) -> &mut Guest {
        &mut self.guest
    }

    /// Its guest, and where refused system calls are reported.
    pub(crate) const fn both(&mut self) -> (&mut Guest, &AsyncFd<OwnedFd>) {
        (&mut self.guest, &self.listener)
    }

    /// Waits until its guest listens, and gives it the limits of the session.
    pub(crate) async fn limit_ahead(
        &mut self,
        session: &SessionSandbox,
    ) -> Result<(), KeeperError> {
        self.guest.greet().await?;
        self.given = self.wanted(&session.limits, session, Stay::ForMore);
        self.guest.say(&ToGuest::Limits(self.given.clone())).await
    }

    /// Lets the place hold so much memory, files that it writes among it; its processes have the same limits as before.
    pub(crate) fn may_hold(&self, memory_bytes: u64, session: &SessionSandbox) {
        let limits = Limits {
            memory_bytes: memory_bytes.max(session.limits.memory_bytes),
            ..session.limits
        };
        self.cgroups.limit(&Ceiling::of(&limits));
    }

    /// Brings the place to the limits of one call. What stays for more calls has no limit on the CPU time of its processes
    /// in all, and its resource limits are those that it gets first: they cannot be raised.
    pub(crate) fn limit(
        &mut self,
        limits: &Limits,
        session: &SessionSandbox,
        stay: Stay,
    ) -> Result<(), KeeperError> {
        let before = self.limits.replace(*limits);
        let ceiling = Ceiling::of(limits);
        if Ceiling::of(&before.unwrap_or(session.limits)) != ceiling {
            self.cgroups.limit(&ceiling);
        }
        if before.is_some() || stay == Stay::ForMore {
            return Ok(());
        }
        let mut wanted = self.wanted(limits, session, stay);
        wanted.retain(|limit| !self.given.contains(limit));
        self.guest.say_with_next(&ToGuest::Limits(wanted))
    }

    fn wanted(&self, limits: &Limits, session: &SessionSandbox, stay: Stay) -> Vec<(u8, u64)> {
        let wanted = |resource| stay == Stay::Once || resource != Resource::Cpu;
        for_places(limits, self.cgroups.controlled, session, wanted)
    }

    /// Runs what `order` says.
    pub(crate) async fn run(
        &mut self,
        order: &ToGuest,
        limits: &Limits,
        ending: Ending,
        session: &SessionSandbox,
        io: CallIo,
    ) -> Result<(Ended, Stay), KeeperError> {
        let cell = matches!(order, ToGuest::Cell(_));
        let listener = match &self.interpreter {
            Some(listener) if cell => listener,
            _ => &self.listener,
        };
        let sentinels = Sentinels {
            listener: Some(listener),
            way_out: Some(&self.way_out),
            has_way: self.network.is_some(),
            violations: session.violations.as_ref(),
            honey: session.honey.as_ref(),
        };
        let before = self.cgroups.cpu_us();
        let seen = Run::new(&mut self.guest, sentinels, limits, ending, io)
            .drive(order)
            .await?;
        let stay = if seen.stays() {
            Stay::ForMore
        } else {
            Stay::Once
        };
        let mut ended = seen.into_ended(self.cgroups.memory_limit());
        if let (0, Some(before), Some(after)) = (ended.usage.cpu_us, before, self.cgroups.cpu_us())
        {
            ended.usage.cpu_us = after.saturating_sub(before);
        }
        Ok((ended, stay))
    }

    /// Kills everything in it; returns when everything of a tool in there is dead.
    ///
    /// That the kernel has taken memory and namespaces apart takes it some milliseconds longer. Nobody waits for that where the
    /// kernel says that every process left is on its way out.
    pub(crate) async fn kill(&self) -> Result<(), KeeperError> {
        self.first.kill();
        for _ in 0..LOOKS {
            if self.cgroups.nothing_acts() {
                return Ok(());
            }
            // Whom it reaches may wait for this very processor, and goes on its way out as soon as it has it.
            std::thread::yield_now();
        }
        let mut looks = tokio::time::interval(PAUSE);
        loop {
            tokio::select! {
                biased;
                ended = self.first.ended() => return ended.during("kill the call"),
                _ = looks.tick() => if self.cgroups.nothing_acts() {
                    return Ok(());
                }
            }
        }
    }

    /// Kills everything in it, and adds to how the call ended what was heard of only then: no other is to be charged with it.
    /// What was a violation stays one, whatever becomes of the kill.
    pub(crate) async fn end(
        &self,
        session: &SessionSandbox,
        turn: &Turn,
        ended: Result<Ended, KeeperError>,
    ) -> Result<Ended, KeeperError> {
        turn.after(&ended);
        let killed = self.kill().await;
        let mut ended = ended?;
        let late = killed.and_then(|()| session.opened_now());
        match (late, &session.violations) {
            (Ok(opened), Some(responses)) => add_opened(&mut ended, &opened, responses),
            (Err(error), _) if ended.cause != Cause::Violation => return Err(error),
            _ => {}
        }
        let ended = Ok(ended);
        turn.after(&ended);
        ended
    }

    pub(crate) const fn isolation(&self) -> &Isolation {
        &self.isolation
    }
}

/// The resource limits for each process of a call. Processes are counted by the kernel for the whole user namespace, so that
/// only the cgroup counts those of one call.
fn for_places(
    limits: &Limits,
    controlled: Controlled,
    session: &SessionSandbox,
    wanted: impl Fn(Resource) -> bool,
) -> Vec<(u8, u64)> {
    resource_limits(limits, controlled)
        .into_iter()
        .filter(|(resource, _)| wanted(*resource))
        .filter_map(|(resource, limit)| {
            let value = match resource {
                Resource::Nproc if controlled.processes => {
                    session.limits.processes.saturating_mul(MAX_CALLS)
                }
                _ => limit.current?,
            };
            Some((u8::try_from(resource as u32).ok()?, value))
        })
        .collect()
}

/// The most calls at once whose processes one user namespace holds.
const MAX_CALLS: u64 = 64;

/// What a cell is as an order.
pub(crate) fn order(
    command: &Command,
    variables: &BTreeMap<String, String>,
    stay: Stay,
) -> ToGuest {
    match &command.cell {
        None => ToGuest::Exec(exec(command, variables)),
        Some(cell) => ToGuest::Cell(frames::Cell {
            argv: words(&command.argv),
            env: environment(&command.env, variables),
            echo: cell.echo == Echo::Last,
            stay: stay == Stay::ForMore,
            source: cell.source.clone(),
        }),
    }
}

/// What becomes of an interpreter after its cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stay {
    /// It ends.
    Once,
    /// It waits for the next.
    ForMore,
}

/// A place that a call has. What runs there dies with it.
#[derive(Debug)]
pub struct Place {
    pub(crate) inner: Inner,
    pub(crate) inputs: Vec<InputDigest>,
    pub(crate) limits: Limits,
    pub(crate) way: Option<AskedWay>,
    /// Last: the session is free again when everything of the call is gone.
    pub(crate) turn: Turn,
}

/// Where the call runs.
#[derive(Debug)]
pub(crate) enum Inner {
    /// In a place of its own.
    Own(Box<Prepared>, Rc<SessionSandbox>),
    /// In a context.
    Context(crate::sessions::ContextTurn),
}

impl Place {
    /// The first process of a place of its own, as the host numbers it.
    pub(crate) fn first(&self) -> Option<Pid> {
        match &self.inner {
            Inner::Own(prepared, _) => prepared.first.pid(),
            Inner::Context(_) => None,
        }
    }
}

impl Sandbox for Place {
    async fn ready(&mut self) -> Result<Ready, KeeperError> {
        let isolation = match &self.inner {
            Inner::Own(prepared, _) => prepared.isolation().clone(),
            Inner::Context(context) => context.isolation(),
        };
        Ok(Ready {
            isolation,
            inputs: self.inputs.clone(),
        })
    }

    async fn run(&mut self, command: Command, io: CallIo) -> Result<Ended, KeeperError> {
        match &mut self.inner {
            Inner::Own(prepared, session) => {
                if command.cell.is_some() && prepared.interpreter.is_none() {
                    let why = "this sandbox has no interpreter for a cell";
                    return Err(KeeperError::Spec(why.into()));
                }
                prepared.limit(&self.limits, session, Stay::Once)?;
                prepared.open_way(self.way.as_ref(), Stay::Once).await?;
                let order = order(&command, session.variables(), Stay::Once);
                let ended = prepared
                    .run(&order, &self.limits, Ending::Kill, session, io)
                    .await;
                let ended = ended.map(|(ended, _)| ended);
                // Whatever came of it: from here on everything of the call is dead.
                prepared.end(session, &self.turn, ended).await
            }
            Inner::Context(context) => {
                let way = self.way.as_ref();
                let turn = &self.turn;
                context.run(&command, &self.limits, way, io, turn).await
            }
        }
    }

    /// Files stay in the session.
    async fn collect(self, _: &mut dyn ArtefactSink) -> Result<Vec<Artefact>, KeeperError> {
        Ok(Vec::new())
    }
}

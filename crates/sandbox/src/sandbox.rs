//! One sandbox: waits for it, runs its one program, takes its artefacts, destroys it.

use std::{
    collections::BTreeMap,
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    time::Duration,
};

use casemate_frames::{Decoder, FromGuest, PROTOCOL_VERSION, ToGuest};
use casemate_model::{Artefact, InputDigest, Limits, Responses, Text};
use casemate_ports::{
    ArtefactSink, BadSocket, CallIo, Command, Ended, KeeperError, Ready, Sandbox, WaySockets,
};
use casemate_sys::LandlockStatus;
use tokio::{
    io::{AsyncReadExt as _, Interest, unix::AsyncFd},
    net::UnixStream,
};

use crate::{
    artefacts,
    cgroup::{Cgroups, MemoryLimit},
    construct::Copied,
    denied::add_opened,
    facts::{self, NamespaceLinks},
    gvisor::{self, Platform},
    honey::{Honey, Lookout},
    keeper::During as _,
    process::Process,
    run::{Ending, Run, Sentinels, exec},
    setup::{self, Report},
    watch::watch,
};

/// A sandbox of the `namespace` tier. Everything in it dies when this is dropped.
#[derive(Debug)]
pub struct NamespaceSandbox {
    // First, so that it is dead before its cgroups are removed.
    process: Process,
    cgroups: Cgroups,
    setup: AsyncFd<OwnedFd>,
    guest: Guest,
    names: Vec<Text>,
    limits: Limits,
    /// The userland's variables.
    variables: BTreeMap<String, String>,
    /// The namespaces outside, read while the inside is being made.
    host: NamespaceLinks,
    /// `/workspace/out`, once it is there.
    out: Option<OwnedFd>,
    /// Whether it is to have a way out.
    wants_way_out: bool,
    /// The sockets of its way out, from when they are there until somebody takes them.
    way_out: Option<WaySockets>,
    /// Where seccomp's notifications arrive, once the filter is in force.
    listener: Option<AsyncFd<OwnedFd>>,
    /// What follows violations.
    violations: Option<Responses>,
    /// Its honey files, once it is made.
    honey: Option<Honey>,
    /// gVisor, if it is in there.
    gvisor: Option<Gvisor>,
}

/// gVisor in a sandbox.
#[derive(Debug)]
struct Gvisor {
    platform: Platform,
    /// What it says when it does not start.
    said: OwnedFd,
    /// The inputs, from its start on.
    inputs: Vec<Copied>,
}

/// Why gVisor's kernel does not run.
#[derive(Debug)]
pub(crate) enum NotBooted {
    /// gVisor said itself that it does not start on this platform, and why.
    Said(String),
    /// Something else.
    Failed(KeeperError),
}

impl From<KeeperError> for NotBooted {
    fn from(error: KeeperError) -> Self {
        Self::Failed(error)
    }
}

/// How long gVisor may take to start.
const BOOT_TIME: Duration = Duration::from_secs(20);

/// The guest's end of the control socket: hostile.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) socket: UnixStream,
    pub(crate) decoder: Decoder<FromGuest>,
    pub(crate) buffer: Vec<u8>,
    /// What it is told together with the next message.
    pub(crate) unsaid: Vec<u8>,
}

const READ_BYTES: usize = 32 * 1024;

impl Guest {
    /// The next frame; nothing when the guest has gone.
    ///
    /// Cancel-safe: bytes that were read stay in the decoder.
    pub(crate) async fn next_frame(&mut self) -> io::Result<Option<FromGuest>> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            if self.buffer.is_empty() {
                // Not before it is needed: most sandboxes wait for long.
                self.buffer.resize(READ_BYTES, 0);
            }
            match self.socket.read(&mut self.buffer).await? {
                0 => return Ok(None),
                count => self
                    .decoder
                    .push(self.buffer.get(..count).unwrap_or_default()),
            }
        }
    }
}

impl NamespaceSandbox {
    pub(crate) fn new(
        process: Process,
        cgroups: Cgroups,
        setup: OwnedFd,
        control: OwnedFd,
        names: Vec<Text>,
        limits: Limits,
        variables: BTreeMap<String, String>,
    ) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&setup, true)?;
        let control = StdUnixStream::from(control);
        control.set_nonblocking(true)?;
        let guest = Guest {
            socket: UnixStream::from_std(control)?,
            decoder: Decoder::default(),
            buffer: Vec::new(),
            unsaid: Vec::new(),
        };
        let setup = watch(setup)?;
        let host = NamespaceLinks::of("self");
        Ok(Self {
            process,
            cgroups,
            setup,
            guest,
            names,
            limits,
            variables,
            host,
            out: None,
            wants_way_out: false,
            way_out: None,
            listener: None,
            violations: None,
            honey: None,
            gvisor: None,
        })
    }

    /// The same, but it is lost if its first process does not hand out the sockets of a way out.
    pub(crate) const fn with_way_out(mut self, wants_way_out: bool) -> Self {
        self.wants_way_out = wants_way_out;
        self
    }

    /// The same, in which this follows violations.
    pub(crate) const fn watched_for(mut self, violations: Option<Responses>) -> Self {
        self.violations = violations;
        self
    }

    /// The same, if there is gVisor in it.
    pub(crate) fn with_gvisor(mut self, found: Option<(Platform, OwnedFd)>) -> Self {
        self.gvisor = found.map(|(platform, said)| Gvisor {
            platform,
            said,
            inputs: Vec::new(),
        });
        self
    }

    /// Waits until gVisor's kernel runs, and the guest in it. Nothing untrusted has run there.
    pub(crate) async fn boot(&mut self) -> Result<(), NotBooted> {
        match tokio::time::timeout(BOOT_TIME, self.booted()).await {
            Ok(booted) => booted,
            Err(_) => Err(NotBooted::Failed(KeeperError::Lost(format!(
                "gVisor did not start within {} seconds",
                BOOT_TIME.as_secs()
            )))),
        }
    }

    async fn booted(&mut self) -> Result<(), NotBooted> {
        let mut inputs = None;
        while let Some(report) = self.report().await? {
            if let Report::Built(copied, out, way) = report {
                self.built(out, way)?;
                inputs = Some(copied);
            }
        }
        let dead = || KeeperError::Lost("it died while it was made".into());
        let inputs = inputs.ok_or_else(dead)?;
        let hello = self.hello().await;
        let gvisor = self.gvisor.as_mut().ok_or_else(dead)?;
        gvisor.inputs = inputs;
        hello.map_err(|error| match gvisor.last_words() {
            Some(words) => NotBooted::Said(format!(
                "gVisor did not start with the platform {}: {words}",
                gvisor.platform
            )),
            None => NotBooted::Failed(error),
        })?;
        Ok(self.lay_honey()?)
    }

    /// Takes what a sandbox hands out when its place is made.
    fn built(&mut self, out: OwnedFd, way: Vec<OwnedFd>) -> Result<(), KeeperError> {
        if way.is_empty() == self.wants_way_out {
            return Err(KeeperError::Lost(
                "it has no way out, or one too many".into(),
            ));
        }
        self.out = Some(out);
        if self.wants_way_out {
            let sockets = WaySockets::of_descriptors(way);
            let lost = |error: BadSocket| KeeperError::Lost(error.to_string());
            self.way_out = Some(sockets.map_err(lost)?);
        }
        Ok(())
    }

    /// Watches the honey files, if there are any.
    fn lay_honey(&mut self) -> Result<(), KeeperError> {
        if let Some(responses) = &self.violations {
            let lookout = match self.gvisor {
                Some(_) => Lookout::under_gvisor(),
                None => Lookout::new(),
            };
            let lookout = lookout.during("watch for violations")?;
            let honey = lookout.over(self.process.pid(), responses.honey_files);
            self.honey = Some(honey.during("watch the honey files")?);
        }
        Ok(())
    }

    /// The next report of the first process; nothing when it executed the guest, or died.
    async fn report(&mut self) -> Result<Option<Report>, KeeperError> {
        let receive = |fd: &OwnedFd| setup::receive(fd.as_fd(), self.names.len());
        let report = self.setup.async_io(Interest::READABLE, receive).await;
        match report.during("hear from the sandbox")? {
            Some(Report::Failed(step, source)) => Err(KeeperError::Build { step, source }),
            report => Ok(report),
        }
    }

    /// Waits until every restriction is in force.
    async fn restricted(&mut self) -> Result<(Vec<Copied>, LandlockStatus), KeeperError> {
        let mut inputs = Vec::new();
        loop {
            match self.report().await? {
                Some(Report::Built(copied, out, way)) => {
                    self.built(out, way)?;
                    inputs = copied;
                }
                Some(Report::Restricted(status, listener)) => {
                    let listener = watch(listener).during("watch for denied attempts")?;
                    self.listener = Some(listener);
                    self.lay_honey()?;
                    return Ok((inputs, status));
                }
                Some(Report::Failed(..)) | None => {
                    return Err(KeeperError::Lost("it died while it was made".into()));
                }
            }
        }
    }

    /// Waits until the guest runs, and says what was in its way if it does not.
    async fn hello(&mut self) -> Result<(), KeeperError> {
        match self.guest.next_frame().await {
            Ok(Some(FromGuest::Hello(PROTOCOL_VERSION))) => Ok(()),
            Ok(Some(frame)) => Err(KeeperError::Lost(format!("its first word was {frame:?}"))),
            Ok(None) | Err(_) => {
                self.report().await?;
                Err(KeeperError::Lost("the guest did not start".into()))
            }
        }
    }
}

impl Gvisor {
    /// The last line of what it said, when it is dead.
    fn last_words(&self) -> Option<String> {
        let mut bytes = [0; MAX_LAST_WORDS];
        rustix::io::ioctl_fionbio(&self.said, true).ok()?;
        let count = rustix::io::read(&self.said, &mut bytes).ok()?;
        let said = Text::from(bytes.get(..count)?.trim_ascii().to_vec()).to_string();
        (!said.is_empty()).then_some(said)
    }
}

/// More is not told of why gVisor did not start.
const MAX_LAST_WORDS: usize = 1024;

impl Sandbox for NamespaceSandbox {
    async fn ready(&mut self) -> Result<Ready, KeeperError> {
        let (copied, isolation) = match &mut self.gvisor {
            Some(gvisor) => {
                let copied = std::mem::take(&mut gvisor.inputs);
                let (first, platform) = (self.process.pid(), gvisor.platform);
                let sealed = &["/", "/rootfs", "/rootfs/usr", "/rootfs/workspace/in"];
                let facts = gvisor::measure(first, &self.host, &self.cgroups, platform, sealed);
                (copied, facts)
            }
            None => {
                let (copied, landlock) = self.restricted().await?;
                let first = self.process.pid();
                let sealed = &["/", "/usr", "/workspace/in"];
                let facts = facts::measure(first, &self.host, &self.cgroups, landlock, sealed);
                (copied, facts)
            }
        };
        let isolation = isolation.during("measure the sandbox")?;
        let inputs = self
            .names
            .iter()
            .zip(copied)
            .map(|(name, input)| InputDigest {
                name: name.clone(),
                bytes: input.bytes,
                sha256: input.sha256,
            });
        Ok(Ready {
            isolation,
            inputs: inputs.collect(),
        })
    }

    fn take_way_out(&mut self) -> Option<WaySockets> {
        self.way_out.take()
    }

    async fn run(&mut self, command: Command, io: CallIo) -> Result<Ended, KeeperError> {
        if self.gvisor.is_none() {
            self.hello().await?;
        }
        let listener = self.listener.take();
        if command.cell.is_some() {
            let why = "a sandbox that is used once has no interpreter for a cell: open a session";
            return Err(KeeperError::Spec(why.into()));
        }
        let sentinels = Sentinels {
            listener: listener.as_ref(),
            way_out: None,
            has_way: self.wants_way_out,
            violations: self.violations.as_ref(),
            honey: self.honey.as_ref(),
        };
        let order = ToGuest::Exec(exec(&command, &self.variables));
        let run = Run::new(&mut self.guest, sentinels, &self.limits, Ending::Kill, io);
        let seen = run.drive(&order).await;
        // Whatever came of it: from here on everything in there is dead.
        self.process.kill().during("kill the sandbox")?;
        let limit = match (self.cgroups.memory_limit(), &self.gvisor) {
            (MemoryLimit::Killed, Some(_)) => MemoryLimit::KilledBelowGvisor,
            (limit, _) => limit,
        };
        let mut ended = seen?.into_ended(limit);
        if let (Some(honey), Some(responses)) = (&self.honey, &self.violations) {
            let opened = honey.opened_now().during("look at the honey files")?;
            add_opened(&mut ended, &opened, responses);
        }
        Ok(ended)
    }

    async fn collect(mut self, sink: &mut dyn ArtefactSink) -> Result<Vec<Artefact>, KeeperError> {
        self.process.kill().during("kill the sandbox")?;
        let Some(out) = &self.out else {
            return Ok(Vec::new());
        };
        artefacts::collect(out, self.limits.disk_bytes, sink).map_err(|source| {
            KeeperError::Collect {
                step: "copy /workspace/out".into(),
                source,
            }
        })
    }
}

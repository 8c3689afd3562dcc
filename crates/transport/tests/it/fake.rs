//! A keeper that makes nothing, and remembers what it was asked.

use std::{
    io::Read as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use casemate_model::{
    Artefact, Cause, ContextId, Digest, Exit, InputDigest, Isolation, IsolationTier, SessionId,
    Stream, Text, Usage,
};
use casemate_ports::{
    ArtefactSink, CHANNEL_CAPACITY, CallIo, Chunk, Command, Connection, Control, Ended, Entry,
    EntryKind, Event, FileFault, Gone, KeeperError, Kind, Owner, PlaceSpec, PoolSize, PoolStatus,
    Ready, Sandbox, SessionKeeper, SessionSpec, SessionStatus,
};
use tokio::sync::mpsc;

/// What happened in the fake.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Every request that came, in words.
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) places: AtomicUsize,
    pub(crate) places_dropped: AtomicUsize,
    pub(crate) collected: AtomicUsize,
    /// Output that was taken off its hands.
    pub(crate) events_sent: AtomicUsize,
    pub(crate) controls: Mutex<Vec<Control>>,
    pub(crate) commands: Mutex<Vec<Command>>,
    pub(crate) uploads_whole: AtomicUsize,
    /// Packed workspaces that nobody has any more, after all of them had come.
    pub(crate) packs_let_go: AtomicUsize,
    pub(crate) uploads_cut: AtomicUsize,
    pub(crate) upload_chunks: AtomicUsize,
    pub(crate) connections_ended: AtomicUsize,
    pub(crate) opens_finished: AtomicUsize,
}

impl Seen {
    fn ask(&self, what: impl Into<String>) {
        self.asked.lock().unwrap().push(what.into());
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

pub(crate) struct Fake {
    seen: Arc<Seen>,
}

impl Fake {
    pub(crate) fn new(seen: Arc<Seen>) -> Self {
        Self { seen }
    }
}

pub(crate) struct FakePlace {
    seen: Arc<Seen>,
    inputs: Vec<InputDigest>,
    alive: Alive,
}

/// Counts its end.
struct Alive(Arc<Seen>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.places_dropped.fetch_add(1, SeqCst);
    }
}

pub(crate) fn isolation() -> Isolation {
    Isolation {
        tier: IsolationTier::Namespace,
        controls: Vec::new(),
    }
}

pub(crate) fn status(spec: &SessionSpec) -> SessionStatus {
    SessionStatus {
        id: spec.id,
        owner: spec.owner.clone(),
        gone: Some(Gone::KeeperLost),
        warm: true,
        age_ms: spec.max_ms,
        idle_ms: spec.idle_ms,
        calls: 3,
        contexts: vec![ContextId::new(1, [1; 10])],
    }
}

/// Each error of a keeper, by the name of the tenant that gets it.
pub(crate) fn error(name: &str, session: SessionId) -> Option<KeeperError> {
    Some(match name {
        "unavailable" => KeeperError::Unavailable("x".into()),
        "spec" => KeeperError::Spec("x".into()),
        "no_session" => KeeperError::NoSession(session),
        "gone" => KeeperError::SessionGone {
            session,
            why: Gone::Idle,
        },
        "no_context" => KeeperError::NoContext {
            session,
            context: ContextId::new(9, [9; 10]),
        },
        "quota" => KeeperError::Quota {
            quota: "calls".into(),
            of: "acme".into(),
            limit: 4,
            used: u64::MAX,
        },
        "busy" => KeeperError::Busy(session),
        "file" => KeeperError::File {
            path: Text::from(b"a\xff\0".to_vec()),
            fault: FileFault::NotEmpty,
        },
        "build" => KeeperError::Build {
            step: "clone".into(),
            source: std::io::Error::from_raw_os_error(28),
        },
        "lost" => KeeperError::Lost("x".into()),
        "collect" => KeeperError::Collect {
            step: "copy".into(),
            source: std::io::Error::other("words"),
        },
        _ => return None,
    })
}

pub(crate) const ERRORS: [&str; 11] = [
    "unavailable",
    "spec",
    "no_session",
    "gone",
    "no_context",
    "quota",
    "busy",
    "file",
    "build",
    "lost",
    "collect",
];

fn or_error(owner: &Owner, session: SessionId) -> Result<(), KeeperError> {
    error(&owner.tenant, session).map_or(Ok(()), Err)
}

impl SessionKeeper for Fake {
    type Place = FakePlace;

    async fn stock(&self, owner: Owner, kind: Kind, size: PoolSize) -> Result<(), KeeperError> {
        self.seen.ask(format!("stock {owner:?} {kind:?} {size:?}"));
        Ok(())
    }

    async fn pools(&self) -> Result<Vec<PoolStatus>, KeeperError> {
        self.seen.ask("pools");
        Ok(Vec::new())
    }

    async fn open(&self, spec: SessionSpec) -> Result<SessionStatus, KeeperError> {
        self.seen.ask(format!("open {spec:?}"));
        if spec.owner.tenant == "slow" {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.seen.opens_finished.fetch_add(1, SeqCst);
        or_error(&spec.owner, spec.id)?;
        Ok(status(&spec))
    }

    async fn sessions(&self) -> Result<Vec<SessionStatus>, KeeperError> {
        self.seen.ask("sessions");
        Ok(Vec::new())
    }

    async fn close(&self, session: SessionId, owner: Owner) -> Result<(), KeeperError> {
        self.seen.ask(format!("close {session} {owner:?}"));
        or_error(&owner, session)
    }

    async fn place(&self, spec: PlaceSpec) -> Result<FakePlace, KeeperError> {
        self.seen.ask(format!("place {spec:?}"));
        or_error(&spec.owner, spec.session)?;
        let mut inputs = Vec::new();
        for mut input in spec.inputs {
            let mut content = Vec::new();
            input.file.read_to_end(&mut content).unwrap();
            inputs.push(InputDigest {
                name: input.name,
                bytes: content.len() as u64,
                sha256: Digest::of(&content),
            });
        }
        self.seen.places.fetch_add(1, SeqCst);
        Ok(FakePlace {
            seen: Arc::clone(&self.seen),
            inputs,
            alive: Alive(Arc::clone(&self.seen)),
        })
    }

    async fn open_context(
        &self,
        session: SessionId,
        owner: Owner,
        context: ContextId,
    ) -> Result<(), KeeperError> {
        let asked = format!("open_context {session} {owner:?} {context}");
        self.seen.ask(asked);
        Ok(())
    }

    async fn close_context(
        &self,
        session: SessionId,
        owner: Owner,
        context: ContextId,
    ) -> Result<(), KeeperError> {
        let asked = format!("close_context {session} {owner:?} {context}");
        self.seen.ask(asked);
        Ok(())
    }

    async fn write_file(
        &self,
        session: SessionId,
        owner: Owner,
        path: Text,
        mut content: mpsc::Receiver<Chunk>,
    ) -> Result<InputDigest, KeeperError> {
        self.seen.ask(format!("write {session} {owner:?} {path}"));
        let fault = |fault| KeeperError::File {
            path: path.clone(),
            fault,
        };
        if owner.tenant == "full" {
            return Err(fault(FileFault::NoSpace));
        }
        if owner.tenant == "stuck" {
            // Takes nothing for as long as somebody may still send.
            while !content.is_closed() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let mut whole = Vec::new();
        loop {
            match content.recv().await {
                Some(Chunk::Bytes(bytes)) => {
                    self.seen.upload_chunks.fetch_add(1, SeqCst);
                    whole.extend(bytes);
                }
                Some(Chunk::End) => break,
                None => {
                    self.seen.uploads_cut.fetch_add(1, SeqCst);
                    return Err(fault(FileFault::CutOff));
                }
            }
        }
        self.seen.uploads_whole.fetch_add(1, SeqCst);
        Ok(InputDigest {
            name: path.clone(),
            bytes: whole.len() as u64,
            sha256: Digest::of(&whole),
        })
    }

    async fn read_file(
        &self,
        session: SessionId,
        owner: Owner,
        path: Text,
    ) -> Result<(u64, mpsc::Receiver<Vec<u8>>), KeeperError> {
        self.seen.ask(format!("read {session} {owner:?} {path}"));
        or_error(&owner, session)?;
        let (sender, content) = mpsc::channel(CHANNEL_CAPACITY);
        let seen = Arc::clone(&self.seen);
        tokio::task::spawn_local(async move {
            for number in 0..200_u8 {
                if sender.send(vec![number; 100_000]).await.is_err() {
                    return;
                }
                seen.events_sent.fetch_add(1, SeqCst);
            }
        });
        Ok((20_000_000, content))
    }

    async fn pack(
        &self,
        session: SessionId,
        owner: Owner,
    ) -> Result<(u64, mpsc::Receiver<Chunk>), KeeperError> {
        self.seen.ask(format!("pack {session} {owner:?}"));
        or_error(&owner, session)?;
        let (sender, content) = mpsc::channel(CHANNEL_CAPACITY);
        let seen = Arc::clone(&self.seen);
        let is_cut = owner.agent == "cut";
        tokio::task::spawn_local(async move {
            for number in 0..20_u8 {
                let chunk = Chunk::Bytes(vec![number; 100_000]);
                if sender.send(chunk).await.is_err() {
                    return;
                }
            }
            if !is_cut && sender.send(Chunk::End).await.is_ok() {
                // Nothing else may begin before nobody has it any more.
                sender.closed().await;
                seen.packs_let_go.fetch_add(1, SeqCst);
            }
        });
        Ok((2_000_000, content))
    }

    async fn unpack(
        &self,
        session: SessionId,
        owner: Owner,
        content: mpsc::Receiver<Chunk>,
    ) -> Result<(), KeeperError> {
        let put = self.write_file(session, owner, "packed".into(), content);
        put.await.map(drop)
    }

    async fn list_files(
        &self,
        session: SessionId,
        owner: Owner,
        path: Text,
    ) -> Result<Vec<Entry>, KeeperError> {
        self.seen.ask(format!("list {session} {owner:?} {path}"));
        // The worst directory there can be: every byte is escaped.
        let entry = |_| Entry {
            name: Text::from(vec![1; 255]),
            kind: EntryKind::Link,
            bytes: u64::MAX,
            modified_ms: u64::MAX,
        };
        Ok((0..10_000).map(entry).collect())
    }

    async fn remove_file(
        &self,
        session: SessionId,
        owner: Owner,
        path: Text,
    ) -> Result<(), KeeperError> {
        self.seen.ask(format!("remove {session} {owner:?} {path}"));
        Ok(())
    }

    async fn connect(
        &self,
        session: SessionId,
        owner: Owner,
        port: u16,
    ) -> Result<Connection, KeeperError> {
        self.seen.ask(format!("connect {session} {owner:?} {port}"));
        or_error(&owner, session)?;
        let (to, mut heard) = mpsc::channel::<Vec<u8>>(CHANNEL_CAPACITY);
        let (said, from) = mpsc::channel(CHANNEL_CAPACITY);
        let seen = Arc::clone(&self.seen);
        tokio::task::spawn_local(async move {
            if port == 9 {
                // Reads nothing, says nothing, until the other side hangs up.
                said.closed().await;
            } else {
                // Says everything back, and `bye` when it was told everything.
                while let Some(bytes) = heard.recv().await {
                    if said.send(bytes).await.is_err() {
                        break;
                    }
                }
                let _ = said.send(b"bye".to_vec()).await;
            }
            seen.connections_ended.fetch_add(1, SeqCst);
        });
        Ok(Connection { to, from })
    }
}

impl Sandbox for FakePlace {
    async fn ready(&mut self) -> Result<Ready, KeeperError> {
        Ok(Ready {
            isolation: isolation(),
            inputs: self.inputs.clone(),
        })
    }

    async fn run(&mut self, command: Command, io: CallIo) -> Result<Ended, KeeperError> {
        let words: Vec<_> = command.argv.iter().map(ToString::to_string).collect();
        self.seen.commands.lock().unwrap().push(command);
        let cause = match words.first().map(String::as_str) {
            Some("cat") => cat(io).await,
            Some("flood") => self.flood(io).await,
            Some("wait") => self.wait(io).await,
            Some("deaf") => {
                let CallIo {
                    stdin,
                    control,
                    events,
                } = io;
                drop(stdin);
                let (_, nothing) = mpsc::channel(1);
                self.wait(CallIo {
                    stdin: nothing,
                    control,
                    events,
                })
                .await
            }
            Some("fail") => return Err(KeeperError::Lost("as asked".into())),
            Some("say") => {
                for stream in [Stream::Stdout, Stream::Stderr, Stream::Results] {
                    let large = vec![b'x'; 150_000];
                    let _ = io.events.send(Event::Output(stream, large)).await;
                }
                Cause::Completed
            }
            _ => Cause::Completed,
        };
        Ok(ended(cause))
    }

    async fn collect(self, _sink: &mut dyn ArtefactSink) -> Result<Vec<Artefact>, KeeperError> {
        self.seen.collected.fetch_add(1, SeqCst);
        drop(self.alive);
        Ok(Vec::new())
    }
}

impl FakePlace {
    /// Writes for ever, until somebody stops it.
    async fn flood(&self, mut io: CallIo) -> Cause {
        loop {
            tokio::select! {
                control = io.control.recv() => {
                    self.seen.controls.lock().unwrap().extend(control);
                    return Cause::Cancelled;
                }
                sent = io.events.send(Event::Output(Stream::Stdout, vec![0; 4096])) => {
                    if sent.is_err() {
                        return Cause::Cancelled;
                    }
                    self.seen.events_sent.fetch_add(1, SeqCst);
                }
            }
        }
    }

    /// Reads nothing, until it is stopped.
    async fn wait(&self, mut io: CallIo) -> Cause {
        loop {
            let control = io.control.recv().await;
            self.seen.controls.lock().unwrap().extend(control);
            match control {
                None | Some(Control::Cancel) => return Cause::Cancelled,
                Some(Control::Interrupt(_)) => return Cause::Completed,
                Some(_) => {}
            }
        }
    }
}

async fn cat(mut io: CallIo) -> Cause {
    loop {
        let bytes = tokio::select! {
            biased;
            control = io.control.recv() => match control {
                None | Some(Control::Cancel) => return Cause::Cancelled,
                Some(_) => continue,
            },
            bytes = io.stdin.recv() => bytes,
        };
        let Some(bytes) = bytes else {
            return Cause::Completed;
        };
        let said = io.events.send(Event::Output(Stream::Stdout, bytes)).await;
        if said.is_err() {
            return Cause::Cancelled;
        }
    }
}

pub(crate) fn ended(cause: Cause) -> Ended {
    Ended {
        cause,
        exit: Some(Exit::Signal(9)),
        usage: Usage {
            wall_ms: 1,
            cpu_us: 2,
            memory_peak_bytes: 3,
        },
        stdout_bytes: 4,
        stderr_bytes: 5,
        results_bytes: 6,
        output_truncated: true,
        denied: Vec::new(),
        violations: Vec::new(),
    }
}

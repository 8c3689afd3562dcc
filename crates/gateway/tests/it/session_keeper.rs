//! A keeper of sessions that runs nothing, and notes what it is asked to do.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    sync::{Arc, Mutex},
};

use casemate_model::{
    Artefact, Cause, ContextId, Digest, Exit, InputDigest, Isolation, SessionId, Stream, Text,
    Violation, ViolationKind,
};
use casemate_ports::{
    ArtefactSink, CallIo, Chunk, Command, Connection, Control, Ended, Entry, EntryKind, Event,
    FileFault, Gone, KeeperError, Kind, Owner, PlaceSpec, PoolSize, PoolStatus, Ready, Sandbox,
    SessionKeeper, SessionSpec, SessionStatus,
};
use casemate_store::{SessionRecord, SessionStore as _, SqliteStore};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    fake::{Script, ended},
    house::{self, WhenAsked},
};

/// What was asked of the keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Open(SessionId),
    Place(SessionId, Option<ContextId>),
    Run(SessionId, String),
    Ended(SessionId, String),
    OpenContext(SessionId, ContextId),
    CloseContext(SessionId, ContextId),
    Close(SessionId),
    Stock(Owner),
    /// Something with files or ports.
    Files(SessionId, &'static str),
}

#[derive(Debug)]
struct Kept {
    spec: SessionSpec,
    gone: Option<Gone>,
    contexts: BTreeSet<ContextId>,
    files: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[derive(Debug, Default)]
struct State {
    sessions: BTreeMap<SessionId, Kept>,
    steps: Vec<Step>,
    /// What the next `open` answers.
    refuses: Option<fn() -> KeeperError>,
    /// Where the name of each session that is opened is taken by another one.
    takes_names: Option<Arc<SqliteStore>>,
    running: usize,
    most_running: usize,
    /// Whether interpreters start only when they are released.
    starts_slowly: bool,
    writes_slowly: bool,
}

/// The keeper. Clones are the same one.
///
/// Programs, by their words or the source of a cell: `true`; `false`; `write N` writes N bytes; `wait` runs until [`FakeSessions::release`].
#[derive(Clone)]
pub(crate) struct FakeSessions {
    state: Arc<Mutex<State>>,
    isolation: Isolation,
    held: Arc<Semaphore>,
    when_asked: WhenAsked,
}

impl fmt::Debug for FakeSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeSessions")
    }
}

impl FakeSessions {
    /// Whatever is asked of it is noticed.
    pub(crate) fn noticed(when_asked: &WhenAsked) -> Self {
        Self {
            when_asked: Arc::clone(when_asked),
            state: Arc::default(),
            isolation: Script::default().isolation,
            held: Arc::new(Semaphore::new(0)),
        }
    }

    pub(crate) fn steps(&self) -> Vec<Step> {
        self.state.lock().unwrap().steps.clone()
    }

    pub(crate) fn runs(&self) -> usize {
        let steps = self.steps();
        steps
            .iter()
            .filter(|step| matches!(step, Step::Run(..)))
            .count()
    }

    pub(crate) fn opened(&self) -> usize {
        let steps = self.steps();
        steps
            .iter()
            .filter(|step| matches!(step, Step::Open(_)))
            .count()
    }

    /// Sessions that are alive.
    pub(crate) fn alive(&self) -> Vec<SessionId> {
        let state = self.state.lock().unwrap();
        let alive = state
            .sessions
            .iter()
            .filter(|(_, kept)| kept.gone.is_none());
        alive.map(|(id, _)| *id).collect()
    }

    pub(crate) fn most_running(&self) -> usize {
        self.state.lock().unwrap().most_running
    }

    pub(crate) fn running(&self) -> usize {
        self.state.lock().unwrap().running
    }

    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let state = self.state.lock().unwrap();
        state.sessions.values().map(|kept| kept.spec.kind).collect()
    }

    /// After how long without use each session that was opened ends, the shortest first.
    pub(crate) fn idle_ms(&self) -> Vec<u64> {
        let state = self.state.lock().unwrap();
        let sessions = state.sessions.values();
        let mut idle_ms: Vec<_> = sessions.map(|kept| kept.spec.idle_ms).collect();
        idle_ms.sort_unstable();
        idle_ms
    }

    /// Lets so many waiting programs end.
    pub(crate) fn release(&self, programs: usize) {
        self.held.add_permits(programs);
    }

    /// From now on interpreters start when they are released, as `wait` ends.
    pub(crate) fn start_slowly(&self) {
        self.state.lock().unwrap().starts_slowly = true;
    }

    /// From now on a file that has come whole is in its place when it is released, as `wait` ends.
    #[allow(dead_code, reason = "the tests of the interface use it")]
    pub(crate) fn write_slowly(&self) {
        self.state.lock().unwrap().writes_slowly = true;
    }

    /// Another keeper takes this one's place.
    pub(crate) fn lose_all(&self) {
        self.state.lock().unwrap().sessions.clear();
    }

    pub(crate) fn end(&self, session: SessionId, why: Gone) {
        let mut state = self.state.lock().unwrap();
        state.sessions.get_mut(&session).unwrap().gone = Some(why);
    }

    pub(crate) fn kill_context(&self, session: SessionId, context: ContextId) {
        let mut state = self.state.lock().unwrap();
        let kept = state.sessions.get_mut(&session).unwrap();
        assert!(kept.contexts.remove(&context));
    }

    pub(crate) fn refuse_open(&self, refuses: Option<fn() -> KeeperError>) {
        self.state.lock().unwrap().refuses = refuses;
    }

    /// From now on another session has the name of each that is opened, in this store.
    pub(crate) fn take_names(&self, store: Option<Arc<SqliteStore>>) {
        self.state.lock().unwrap().takes_names = store;
    }

    fn note(&self, step: Step) {
        house::step(&self.when_asked);
        self.state.lock().unwrap().steps.push(step);
    }

    fn with<T>(
        &self,
        session: SessionId,
        owner: &Owner,
        of: impl FnOnce(&mut Kept) -> T,
    ) -> Result<T, KeeperError> {
        let mut state = self.state.lock().unwrap();
        match state.sessions.get_mut(&session) {
            Some(kept) if kept.spec.owner == *owner => match kept.gone {
                Some(why) => Err(KeeperError::SessionGone { session, why }),
                None => Ok(of(kept)),
            },
            _ => Err(KeeperError::NoSession(session)),
        }
    }
}

fn of_another(id: SessionId) -> SessionRecord {
    SessionRecord {
        id,
        tenant: "another".into(),
        thread: None,
        image: "host".into(),
        profile: Digest::of(b""),
        created_at_ms: 0,
        used_at_ms: 0,
        paused: None,
        end: None,
    }
}

/// A file in the form in which this keeper packs it: two lengths, its path and its content.
fn packed((path, content): (Vec<u8>, Vec<u8>)) -> Vec<u8> {
    let lengths = [path.len() as u64, content.len() as u64].map(u64::to_be_bytes);
    [lengths.concat(), path, content].concat()
}

fn unpacked(mut bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut files = Vec::new();
    while !bytes.is_empty() {
        let length = |at: usize| {
            let length = u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
            usize::try_from(length).unwrap()
        };
        let (path, content) = (length(0), length(8));
        let rest = &bytes[16..];
        files.push((rest[..path].to_vec(), rest[path..path + content].to_vec()));
        bytes = &rest[path + content..];
    }
    files
}

fn file_error(path: Text, fault: FileFault) -> KeeperError {
    KeeperError::File { path, fault }
}

impl SessionKeeper for FakeSessions {
    type Place = FakePlace;

    async fn stock(&self, owner: Owner, _: Kind, _: PoolSize) -> Result<(), KeeperError> {
        self.note(Step::Stock(owner));
        Ok(())
    }

    async fn pools(&self) -> Result<Vec<PoolStatus>, KeeperError> {
        Ok(Vec::new())
    }

    async fn open(&self, spec: SessionSpec) -> Result<SessionStatus, KeeperError> {
        // Somebody else's turn: a real one takes its time.
        tokio::task::yield_now().await;
        let takes_names = self.state.lock().unwrap().takes_names.clone();
        if let Some(store) = takes_names {
            store.add_session(&of_another(spec.id)).await.unwrap();
        }
        house::step(&self.when_asked);
        let mut state = self.state.lock().unwrap();
        if let Some(refuses) = state.refuses {
            return Err(refuses());
        }
        state.steps.push(Step::Open(spec.id));
        let status = status(spec.id, &spec.owner, None, &BTreeSet::new());
        let kept = Kept {
            spec: spec.clone(),
            gone: None,
            contexts: BTreeSet::new(),
            files: BTreeMap::new(),
        };
        let before = state.sessions.insert(spec.id, kept);
        let may_be = before.is_none_or(|before| spec.resumes && before.gone.is_some());
        assert!(may_be, "an id twice");
        Ok(status)
    }

    async fn sessions(&self) -> Result<Vec<SessionStatus>, KeeperError> {
        let state = self.state.lock().unwrap();
        let sessions = state.sessions.iter();
        Ok(sessions
            .map(|(id, kept)| status(*id, &kept.spec.owner, kept.gone, &kept.contexts))
            .collect())
    }

    async fn close(&self, session: SessionId, owner: Owner) -> Result<(), KeeperError> {
        self.note(Step::Close(session));
        self.with(session, &owner, |kept| kept.gone = Some(Gone::Destroyed))
    }

    async fn place(&self, spec: PlaceSpec) -> Result<FakePlace, KeeperError> {
        let context = spec.context;
        let known = self.with(spec.session, &spec.owner, |kept| {
            context.is_none_or(|context| kept.contexts.contains(&context))
        })?;
        if let Some(context) = context
            && !known
        {
            let session = spec.session;
            return Err(KeeperError::NoContext { session, context });
        }
        self.note(Step::Place(spec.session, context));
        Ok(FakePlace {
            keeper: self.clone(),
            spec,
        })
    }

    async fn open_context(
        &self,
        session: SessionId,
        owner: Owner,
        context: ContextId,
    ) -> Result<(), KeeperError> {
        self.with(session, &owner, |kept| kept.contexts.insert(context))?;
        self.note(Step::OpenContext(session, context));
        if self.state.lock().unwrap().starts_slowly {
            self.held.acquire().await.unwrap().forget();
        }
        Ok(())
    }

    async fn close_context(
        &self,
        session: SessionId,
        owner: Owner,
        context: ContextId,
    ) -> Result<(), KeeperError> {
        self.note(Step::CloseContext(session, context));
        match self.with(session, &owner, |kept| kept.contexts.remove(&context))? {
            true => Ok(()),
            false => Err(KeeperError::NoContext { session, context }),
        }
    }

    async fn write_file(
        &self,
        session: SessionId,
        owner: Owner,
        path: Text,
        mut content: mpsc::Receiver<Chunk>,
    ) -> Result<InputDigest, KeeperError> {
        self.note(Step::Files(session, "write"));
        let mut all = Vec::new();
        loop {
            match content.recv().await {
                Some(Chunk::Bytes(bytes)) => all.extend(bytes),
                Some(Chunk::End) => break,
                None => return Err(file_error(path, FileFault::CutOff)),
            }
        }
        if self.state.lock().unwrap().writes_slowly {
            self.note(Step::Files(session, "came"));
            self.held.acquire().await.unwrap().forget();
        }
        let digest = InputDigest {
            name: path.clone(),
            bytes: all.len() as u64,
            sha256: Digest::of(&all),
        };
        self.with(session, &owner, |kept| {
            kept.files.insert(path.as_bytes().to_vec(), all)
        })?;
        Ok(digest)
    }

    async fn pack(
        &self,
        session: SessionId,
        owner: Owner,
    ) -> Result<(u64, mpsc::Receiver<Chunk>), KeeperError> {
        self.note(Step::Files(session, "pack"));
        if self.state.lock().unwrap().running > 0 {
            return Err(KeeperError::Busy(session));
        }
        let files = self.with(session, &owner, |kept| kept.files.clone())?;
        let bytes: Vec<u8> = files.into_iter().flat_map(packed).collect();
        let (sender, content) = mpsc::channel(1);
        let size = bytes.len() as u64;
        let keeper = self.clone();
        tokio::spawn(async move {
            for piece in bytes.chunks(1_000) {
                if sender.send(Chunk::Bytes(piece.to_vec())).await.is_err() {
                    return;
                }
            }
            // A session that ends meanwhile takes its files along.
            if keeper.with(session, &owner, |_| ()).is_ok() {
                let _ = sender.send(Chunk::End).await;
            }
        });
        Ok((size, content))
    }

    async fn unpack(
        &self,
        session: SessionId,
        owner: Owner,
        mut content: mpsc::Receiver<Chunk>,
    ) -> Result<(), KeeperError> {
        self.note(Step::Files(session, "unpack"));
        let mut all = Vec::new();
        loop {
            match content.recv().await {
                Some(Chunk::Bytes(bytes)) => all.extend(bytes),
                Some(Chunk::End) => break,
                None => return Err(file_error(Text::EMPTY, FileFault::CutOff)),
            }
        }
        self.with(session, &owner, |kept| kept.files.extend(unpacked(&all)))
    }

    async fn read_file(
        &self,
        session: SessionId,
        owner: Owner,
        path: Text,
    ) -> Result<(u64, mpsc::Receiver<Vec<u8>>), KeeperError> {
        self.note(Step::Files(session, "read"));
        let found = self.with(session, &owner, |kept| {
            kept.files.get(path.as_bytes()).cloned()
        })?;
        let content = found.ok_or_else(|| file_error(path, FileFault::NotFound))?;
        let (sender, receiver) = mpsc::channel(1);
        let bytes = content.len() as u64;
        sender.try_send(content).unwrap();
        Ok((bytes, receiver))
    }

    async fn list_files(
        &self,
        session: SessionId,
        owner: Owner,
        path: Text,
    ) -> Result<Vec<Entry>, KeeperError> {
        self.note(Step::Files(session, "list"));
        self.with(session, &owner, |kept| {
            entries(&kept.files, path.as_bytes())
        })
    }

    async fn remove_file(
        &self,
        session: SessionId,
        owner: Owner,
        path: Text,
    ) -> Result<(), KeeperError> {
        self.note(Step::Files(session, "remove"));
        let removed = self.with(session, &owner, |kept| kept.files.remove(path.as_bytes()))?;
        removed
            .map(drop)
            .ok_or_else(|| file_error(path, FileFault::NotFound))
    }

    async fn connect(
        &self,
        session: SessionId,
        owner: Owner,
        port: u16,
    ) -> Result<Connection, KeeperError> {
        self.note(Step::Files(session, "connect"));
        self.with(session, &owner, |_| ())?;
        let (to, heard) = mpsc::channel(1);
        if port != SPEAKS_HTTP {
            return Ok(Connection { to, from: heard });
        }
        let (says, from) = mpsc::channel(1);
        tokio::spawn(answer_with_head(heard, says));
        Ok(Connection { to, from })
    }
}

/// At this port is a program that answers with the head of what it is asked; at others is one that says back what it hears.
pub(crate) const SPEAKS_HTTP: u16 = 8_000;

async fn answer_with_head(mut heard: mpsc::Receiver<Vec<u8>>, says: mpsc::Sender<Vec<u8>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Some(bytes) = heard.recv().await else {
            return;
        };
        head.extend(bytes);
    }
    let length = head.len();
    let start = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    let _ = says.send([start.as_bytes(), &head].concat()).await;
}

fn status(
    id: SessionId,
    owner: &Owner,
    gone: Option<Gone>,
    contexts: &BTreeSet<ContextId>,
) -> SessionStatus {
    SessionStatus {
        id,
        owner: owner.clone(),
        gone,
        warm: true,
        age_ms: 1,
        idle_ms: 1,
        calls: 0,
        contexts: contexts.iter().copied().collect(),
    }
}

/// A place of [`FakeSessions`].
#[derive(Debug)]
pub(crate) struct FakePlace {
    keeper: FakeSessions,
    spec: PlaceSpec,
}

/// Counts a program while it runs, also when nobody waits for its end.
struct Running<'k>(&'k FakeSessions);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().running -= 1;
    }
}

impl Sandbox for FakePlace {
    async fn ready(&mut self) -> Result<Ready, KeeperError> {
        house::step(&self.keeper.when_asked);
        self.keeper
            .with(self.spec.session, &self.spec.owner, |_| ())?;
        let inputs = self.spec.inputs.iter_mut().map(|input| {
            let mut content = Vec::new();
            io::Read::read_to_end(&mut input.file, &mut content).unwrap();
            InputDigest {
                name: input.name.clone(),
                bytes: content.len() as u64,
                sha256: Digest::of(&content),
            }
        });
        Ok(Ready {
            inputs: inputs.collect(),
            isolation: self.keeper.isolation.clone(),
        })
    }

    async fn run(&mut self, command: Command, mut io: CallIo) -> Result<Ended, KeeperError> {
        let session = self.spec.session;
        let words: Vec<_> = command.argv.iter().map(ToString::to_string).collect();
        let line = words.join(" ");
        self.keeper.note(Step::Run(session, line.clone()));
        let _running = {
            let mut state = self.keeper.state.lock().unwrap();
            state.running += 1;
            state.most_running = state.most_running.max(state.running);
            Running(&self.keeper)
        };
        let mut answer = ended(Cause::Completed, Some(Exit::Code(0)));
        // What came as `python3 -c` has it is in the source.
        let words = match &command.cell {
            Some(cell) if line == "-c" => {
                let source = String::from_utf8_lossy(&cell.source);
                source.split(' ').map(str::to_owned).collect()
            }
            _ => words,
        };
        match words.first().map(String::as_str) {
            Some("wait") => tokio::select! {
                permit = self.keeper.held.acquire() => permit.unwrap().forget(),
                _ = io.control.recv() => answer.cause = Cause::Cancelled,
                () = io.events.closed() => answer.cause = Cause::Cancelled,
            },
            Some("violate") => {
                self.keeper.end(session, Gone::Violation);
                answer.cause = Cause::Violation;
                answer.exit = None;
                answer.violations.push(Violation {
                    kind: ViolationKind::SystemCall,
                    what: "mount".into(),
                    arguments: vec!["0x1".into()],
                    process: Some("secret-name".into()),
                    pid: Some(7),
                    after_ms: 12,
                    count: 1,
                });
                self.keeper.note(Step::Ended(session, line));
                return Ok(answer);
            }
            // Looks at a directory, as watches do.
            Some("python3") if line.contains("inotify") => {
                let first = Event::Output(Stream::Stdout, b"{}\n".to_vec());
                let _ = io.events.send(first).await;
                tokio::select! {
                    _ = io.control.recv() => answer.cause = Cause::Cancelled,
                    () = io.events.closed() => answer.cause = Cause::Cancelled,
                }
            }
            // Takes a file, as the scripts for those outside of a workspace do.
            Some("sh") if line.contains("mktemp") => loop {
                tokio::select! {
                    biased;
                    _ = io.control.recv() => {
                        answer.cause = Cause::Cancelled;
                        break;
                    }
                    bytes = io.stdin.recv() => if bytes.is_none() {
                        self.keeper.note(Step::Files(session, "took"));
                        break;
                    },
                }
            },
            // Gives back what it reads, and says what else it is told.
            Some("parrot") => loop {
                let said = tokio::select! {
                    bytes = io.stdin.recv() => match bytes {
                        Some(bytes) => bytes,
                        None => break,
                    },
                    control = io.control.recv() => match control {
                        Some(control @ (Control::Deliver(_) | Control::Resize(_))) => {
                            format!("{control:?}").into_bytes()
                        }
                        _ => {
                            answer.cause = Cause::Cancelled;
                            break;
                        }
                    },
                };
                let _ = io.events.send(Event::Output(Stream::Stdout, said)).await;
            },
            Some("false") => answer.exit = Some(Exit::Code(1)),
            Some("write") => {
                let bytes = words[1].parse().unwrap();
                let event = Event::Output(Stream::Stdout, vec![b'x'; bytes]);
                if io.events.send(event).await.is_err() {
                    answer.cause = Cause::Cancelled;
                }
            }
            // An archive of the workspace.
            Some(_) if line.contains("-cf -") => {
                let event = Event::Output(Stream::Stdout, vec![b'x'; 60]);
                drop(io.events.send(event).await);
            }
            _ => tokio::task::yield_now().await,
        }
        self.keeper.note(Step::Ended(session, line));
        self.keeper.with(session, &self.spec.owner, |_| ())?;
        Ok(answer)
    }

    async fn collect(self, _: &mut dyn ArtefactSink) -> Result<Vec<Artefact>, KeeperError> {
        Ok(Vec::new())
    }
}

/// What is in a directory of these files.
fn entries(files: &BTreeMap<Vec<u8>, Vec<u8>>, directory: &[u8]) -> Vec<Entry> {
    let mut found = BTreeMap::new();
    for (path, content) in files {
        let inner = match directory {
            b"" => Some(&path[..]),
            _ => path
                .strip_prefix(directory)
                .and_then(|rest| rest.strip_prefix(b"/")),
        };
        let Some(inner) = inner else { continue };
        let mut parts = inner.splitn(2, |byte| *byte == b'/');
        let name = Text::from(parts.next().unwrap().to_vec());
        let (kind, bytes) = match parts.next() {
            Some(_) => (EntryKind::Directory, 0),
            None => (EntryKind::File, content.len() as u64),
        };
        let entry = Entry {
            name,
            kind,
            bytes,
            modified_ms: 1,
        };
        found.insert(entry.name.as_bytes().to_vec(), entry);
    }
    found.into_values().collect()
}

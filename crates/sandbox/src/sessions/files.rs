//! Files and ports of a session, through a place in it: with the rights of its programs, and no others.

use std::rc::Rc;

use casemate_frames::{
    self as frames, DirectoryEntry, FileAction, FileRequest, FromGuest, MAX_ENTRIES,
    MAX_PATH_BYTES, ToGuest, Waiting,
};
use casemate_model::{Hasher, InputDigest, Text};
use casemate_ports::{
    CHANNEL_CAPACITY, Chunk, Connection, Entry, EntryKind, FileFault, KeeperError,
};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::Turn;
use crate::{
    place::{Namespace, Network, Prepared, Stay, Wanted},
    run::attend,
    session::SessionSandbox,
};

/// A place in which nothing of a tool runs.
const fn without_way(network: Network<'_>) -> Wanted<'_> {
    Wanted {
        waiting: Waiting::Nothing,
        network,
    }
}

/// The longest listing: every entry with the longest name.
const MAX_LISTING_BYTES: usize = MAX_ENTRIES * (255 + 21);

/// A place in which something is done with a file.
pub(super) struct Desk {
    prepared: Prepared,
    path: Text,
}

impl Desk {
    pub(super) async fn open(
        sandbox: &SessionSandbox,
        action: FileAction,
        path: Text,
    ) -> Result<Self, KeeperError> {
        check(&path, action)?;
        let (mut prepared, _) = sandbox
            .prepare(without_way(Network::Session), Vec::new())
            .await?;
        prepared.limit(&sandbox.limits, sandbox, Stay::Once)?;
        let request = FileRequest {
            action,
            path: path.as_bytes().to_vec(),
        };
        prepared.guest().say(&ToGuest::File(request)).await?;
        Ok(Self { prepared, path })
    }

    /// Lets what is done here bring so much in, in memory.
    pub(super) fn may_hold(&self, memory_bytes: u64, sandbox: &SessionSandbox) {
        self.prepared.may_hold(memory_bytes, sandbox);
    }

    /// The next word; a failure becomes an error.
    pub(super) async fn hear(&mut self) -> Result<FromGuest, KeeperError> {
        match self.prepared.guest().next_frame().await {
            Ok(Some(FromGuest::FileFailed(errno))) => Err(self.fault(fault_of(errno))),
            Ok(Some(word)) => Ok(word),
            Ok(None) | Err(_) => Err(KeeperError::Lost("the place of a file died".into())),
        }
    }

    /// Hands on what is for its standard input, to the end, and waits until it is done.
    pub(super) async fn pour(
        &mut self,
        mut content: mpsc::Receiver<Chunk>,
        mut see: impl FnMut(&[u8]),
    ) -> Result<(), KeeperError> {
        match self.hear().await? {
            FromGuest::Started => {}
            _ => return Err(self.unexpected()),
        }
        loop {
            match content.recv().await {
                Some(Chunk::Bytes(chunk)) => {
                    for piece in chunk.chunks(frames::MAX_CHUNK_BYTES) {
                        see(piece);
                        let piece = ToGuest::Stdin(piece.to_vec());
                        self.prepared.guest().say(&piece).await?;
                        match self.hear().await? {
                            FromGuest::StdinTaken => {}
                            _ => return Err(self.unexpected()),
                        }
                    }
                }
                Some(Chunk::End) => break,
                // The place dies with what it made of it.
                None => return Err(self.fault(FileFault::CutOff)),
            }
        }
        self.prepared.guest().say(&ToGuest::StdinClosed).await?;
        match self.hear().await? {
            FromGuest::Exited(_) => Ok(()),
            _ => Err(self.unexpected()),
        }
    }

    fn fault(&self, fault: FileFault) -> KeeperError {
        KeeperError::File {
            path: self.path.clone(),
            fault,
        }
    }

    pub(super) fn unexpected(&self) -> KeeperError {
        KeeperError::Lost(format!("`{}`: what came is not the protocol", self.path))
    }
}

/// A path that is relative and has no parts that are not names.
fn check(path: &Text, action: FileAction) -> Result<(), KeeperError> {
    let bytes = path.as_bytes();
    let whole = matches!(
        action,
        FileAction::List | FileAction::Pack | FileAction::Unpack
    );
    let root = bytes.is_empty() && whole;
    let good = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && part.len() <= 255;
    let fits = bytes.len() <= MAX_PATH_BYTES && !bytes.contains(&0);
    if root || (fits && bytes.split(|byte| *byte == b'/').all(good)) {
        return Ok(());
    }
    Err(KeeperError::File {
        path: path.clone(),
        fault: FileFault::BadPath,
    })
}

fn fault_of(errno: u32) -> FileFault {
    match Errno::from_raw_os_error(i32::try_from(errno).unwrap_or(0)) {
        Errno::NOENT => FileFault::NotFound,
        Errno::ISDIR => FileFault::IsDirectory,
        Errno::NOTDIR => FileFault::NotDirectory,
        Errno::NOTSUP | Errno::NXIO => FileFault::NotRegular,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => FileFault::Denied,
        Errno::FBIG => FileFault::TooLarge,
        Errno::NOSPC | Errno::DQUOT | Errno::OVERFLOW => FileFault::NoSpace,
        Errno::NOTEMPTY => FileFault::NotEmpty,
        // Out of the workspace, or too many links.
        Errno::XDEV | Errno::LOOP | Errno::NAMETOOLONG | Errno::INVAL => FileFault::BadPath,
        _ => FileFault::Failed,
    }
}

pub(super) async fn write(
    sandbox: &SessionSandbox,
    path: Text,
    content: mpsc::Receiver<Chunk>,
) -> Result<InputDigest, KeeperError> {
    let mut desk = Desk::open(sandbox, FileAction::Write, path).await?;
    let (mut hasher, mut bytes) = (Hasher::default(), 0);
    let seen = |piece: &[u8]| {
        hasher.update(piece);
        bytes += piece.len() as u64;
    };
    // Cut off, its file has no name yet.
    desk.pour(content, seen).await?;
    Ok(InputDigest {
        name: desk.path,
        bytes,
        sha256: hasher.finish(),
    })
}

pub(super) async fn read(
    sandbox: Rc<SessionSandbox>,
    turn: Turn,
    path: Text,
) -> Result<(u64, mpsc::Receiver<Vec<u8>>), KeeperError> {
    let mut desk = Desk::open(&sandbox, FileAction::Read, path).await?;
    let bytes = match desk.hear().await? {
        FromGuest::FileSize(bytes) => bytes,
        _ => return Err(desk.unexpected()),
    };
    let (sender, receiver) = mpsc::channel(CHANNEL_CAPACITY);
    tokio::task::spawn_local(async move {
        let mut left = bytes;
        while let Ok(FromGuest::Stdout(chunk)) = desk.hear().await {
            let Some(rest) = left.checked_sub(chunk.len() as u64) else {
                break;
            };
            left = rest;
            if sender.send(chunk).await.is_err() {
                break;
            }
        }
        drop((desk, turn, sandbox));
    });
    Ok((bytes, receiver))
}

pub(super) async fn list(sandbox: &SessionSandbox, path: Text) -> Result<Vec<Entry>, KeeperError> {
    let mut desk = Desk::open(sandbox, FileAction::List, path).await?;
    let mut bytes = Vec::new();
    loop {
        match desk.hear().await? {
            FromGuest::Stdout(chunk) if bytes.len() + chunk.len() <= MAX_LISTING_BYTES => {
                bytes.extend(chunk);
            }
            FromGuest::Exited(_) => break,
            _ => return Err(desk.unexpected()),
        }
    }
    let entries = DirectoryEntry::decode(&bytes).map_err(|_| desk.unexpected())?;
    let mut entries: Vec<_> = entries.into_iter().map(entry).collect();
    entries.sort_by(|one, other| one.name.as_bytes().cmp(other.name.as_bytes()));
    Ok(entries)
}

fn entry(entry: DirectoryEntry) -> Entry {
    Entry {
        name: entry.name.into(),
        kind: match entry.kind {
            frames::EntryKind::File => EntryKind::File,
            frames::EntryKind::Directory => EntryKind::Directory,
            frames::EntryKind::Link => EntryKind::Link,
            frames::EntryKind::Other => EntryKind::Other,
        },
        bytes: entry.bytes,
        modified_ms: entry.modified_ms,
    }
}

pub(super) async fn remove(sandbox: &SessionSandbox, path: Text) -> Result<(), KeeperError> {
    let mut desk = Desk::open(sandbox, FileAction::Remove, path).await?;
    match desk.hear().await? {
        FromGuest::Exited(_) => Ok(()),
        _ => Err(desk.unexpected()),
    }
}

/// Connects to a port in the network of another place, or in that of the session.
pub(super) async fn connect(
    sandbox: Rc<SessionSandbox>,
    turn: Turn,
    port: u16,
    namespace: Option<Rc<Namespace>>,
) -> Result<Connection, KeeperError> {
    let network = match &namespace {
        Some(namespace) => Network::Joined(&namespace.fd),
        None => Network::Session,
    };
    let (mut prepared, _) = sandbox.prepare(without_way(network), Vec::new()).await?;
    prepared.limit(&sandbox.limits, &sandbox, Stay::Once)?;
    let (guest, listener) = prepared.both();
    guest.say(&ToGuest::Connect(port)).await?;
    // The guest connects under the same filter as everybody, which asks first.
    let word = tokio::select! {
        word = guest.next_frame() => word,
        () = attend(listener) => Ok(None),
    };
    match word {
        Ok(Some(FromGuest::Started)) => {}
        Ok(Some(FromGuest::ExecFailed(_))) => {
            return Err(KeeperError::Spec(format!("nothing listens on port {port}")));
        }
        _ => return Err(KeeperError::Lost("the place of a connection died".into())),
    }
    let (to, to_program) = mpsc::channel(CHANNEL_CAPACITY);
    let (from_program, from) = mpsc::channel(CHANNEL_CAPACITY);
    tokio::task::spawn_local(async move {
        relay(&mut prepared, to_program, from_program).await;
        drop((prepared, turn, sandbox));
    });
    Ok(Connection { to, from })
}

/// Passes bytes on in both directions until one side has had enough.
async fn relay(
    prepared: &mut Prepared,
    mut to_program: mpsc::Receiver<Vec<u8>>,
    from_program: mpsc::Sender<Vec<u8>>,
) {
    let (mut waiting, mut open) = (Vec::new(), true);
    let mut taken = true;
    loop {
        if taken && !waiting.is_empty() {
            let rest = waiting.split_off(waiting.len().min(frames::MAX_CHUNK_BYTES));
            let piece = std::mem::replace(&mut waiting, rest);
            if prepared.guest().say(&ToGuest::Stdin(piece)).await.is_err() {
                return;
            }
            taken = false;
        }
        tokio::select! {
            bytes = to_program.recv(), if open && waiting.is_empty() && taken => match bytes {
                Some(bytes) => waiting = bytes,
                None => {
                    open = false;
                    if prepared.guest().say(&ToGuest::StdinClosed).await.is_err() {
                        return;
                    }
                }
            },
            word = prepared.guest().next_frame() => match word {
                Ok(Some(FromGuest::StdinTaken)) => taken = true,
                Ok(Some(FromGuest::Stdout(bytes))) => {
                    if from_program.send(bytes).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            () = from_program.closed() => return,
        }
    }
}

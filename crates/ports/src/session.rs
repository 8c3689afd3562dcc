//! Sandboxes that last: sessions, the places of their calls, their files.

use std::{fmt, future::Future};

use casemate_model::{ContextId, Digest, InputDigest, Limits, Responses, SessionId, Text};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::{InputFile, KeeperError, Sandbox, Way, WayPorts};

/// Whose a session is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// The tenant.
    pub tenant: String,
    /// The agent.
    pub agent: String,
}

/// What a sandbox's userland is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageRef {
    /// The host's own.
    Host,
    /// A stored image on the host's userland.
    Stored(Digest),
}

/// What a whole session, agent or tenant may use at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Memory of all processes and of all files in sandboxes, in bytes.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub processes: u64,
    /// CPU, in thousandths of one core.
    pub cpu_milli: u64,
    /// Calls that run at once.
    pub calls: u64,
}

/// The quotas above those of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quotas {
    /// Of one session.
    pub session: Quota,
    /// Of all sessions of the agent.
    pub agent: Quota,
    /// Of all sessions of the tenant.
    pub tenant: Quota,
}

/// What makes two unused sandboxes interchangeable: a pool is of one owner and one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    /// The userland.
    pub image: ImageRef,
    /// The digest of the profile.
    pub profile: Digest,
    /// Whether it has a warm Python interpreter.
    pub python: bool,
    /// The most that one call may ask for. The session's disk is `disk_bytes` and `disk_files`.
    pub limits: Limits,
    /// The quotas.
    pub quotas: Quotas,
    /// The ports of its calls' ways out, if they may have any: each call then has a network of its own.
    pub way: Option<WayPorts>,
    /// What follows violations; without it nothing is one, and there are no honey files.
    pub violations: Option<Responses>,
}

/// How many complete, unused sandboxes of a kind stand ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolSize {
    /// At rest.
    pub min: u32,
    /// At most; it grows towards this while sandboxes are taken faster than they are made.
    pub max: u32,
    /// After so long without a take, in milliseconds, it shrinks to `min`.
    pub idle_ms: u64,
}

/// How a pool stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Whose.
    pub owner: Owner,
    /// Of which kind.
    pub kind: Kind,
    /// Its size.
    pub size: PoolSize,
    /// Sandboxes that are ready.
    pub ready: u32,
    /// Sandboxes that are being made.
    pub making: u32,
    /// Sandboxes taken from it so far.
    pub taken: u64,
    /// Sandboxes made for a caller who had to wait, because it was empty.
    pub cold: u64,
}

/// A session to open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionSpec {
    /// Its name.
    pub id: SessionId,
    /// Whose it is.
    pub owner: Owner,
    /// Of which kind.
    pub kind: Kind,
    /// It ends after so long without a call, in milliseconds.
    pub idle_ms: u64,
    /// It ends when it is so old, in milliseconds.
    pub max_ms: u64,
    /// Whether it had a sandbox before, was destroyed, and comes back under the same name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumes: bool,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gone {
    /// It was destroyed on demand.
    Destroyed,
    /// Nobody used it for its idle time.
    Idle,
    /// Its time was over.
    Expired,
    /// Its sandbox died.
    Lost,
    /// The keeper that had it is gone, and took everything along.
    KeeperLost,
    /// Something in it did what no ordinary program does.
    Violation,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Destroyed => "it was destroyed",
            Self::Idle => "it was idle for too long",
            Self::Expired => "its time was over",
            Self::Lost => "its sandbox died",
            Self::KeeperLost => "its keeper ended",
            Self::Violation => "a program in it broke the rules of sandboxes: it was destroyed",
        })
    }
}

/// How a session stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// Which.
    pub id: SessionId,
    /// Whose.
    pub owner: Owner,
    /// Why it is over, if it is.
    pub gone: Option<Gone>,
    /// Whether its sandbox stood ready when it was opened.
    pub warm: bool,
    /// How old it is, in milliseconds.
    pub age_ms: u64,
    /// For how long nobody has used it, in milliseconds; 0 while a call runs.
    pub idle_ms: u64,
    /// Calls that run now.
    pub calls: u64,
    /// Its contexts.
    pub contexts: Vec<ContextId>,
}

/// A place in a session for one call: fresh process, mount and IPC namespaces.
#[derive(Debug)]
pub struct PlaceSpec {
    /// In which session.
    pub session: SessionId,
    /// Whose the session must be: any other owner is told that there is no such session.
    pub owner: Owner,
    /// What the call may use.
    pub limits: Limits,
    /// Files that will be in `/workspace/in`, read-only, for this call.
    pub inputs: Vec<InputFile>,
    /// The stateful interpreter to run in, in place of a fresh process.
    pub context: Option<ContextId>,
    /// Its way out, if it has one.
    pub way: Option<Way>,
}

/// What is wrong with a file of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFault {
    /// The path is empty, absolute, has a `..`, a NUL or too many bytes, or leads out of the workspace.
    BadPath,
    /// Nothing is there.
    NotFound,
    /// It is a directory.
    IsDirectory,
    /// A part of the path is not a directory.
    NotDirectory,
    /// It is neither a regular file nor a directory.
    NotRegular,
    /// The sandbox's user may not.
    Denied,
    /// A limit on the size of one file.
    TooLarge,
    /// The disk quota, of bytes or of files.
    NoSpace,
    /// The directory is not empty.
    NotEmpty,
    /// The upload was cut off; nothing of it is there.
    CutOff,
    /// Anything else.
    Failed,
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadPath => "not a path in the workspace: it must be relative, without `..` and NUL, and at most 4095 bytes",
            Self::NotFound => "no such file",
            Self::IsDirectory => "it is a directory",
            Self::NotDirectory => "a part of the path is not a directory",
            Self::NotRegular => "it is not a regular file",
            Self::Denied => "permission denied",
            Self::TooLarge => "the limit on the size of a file is reached",
            Self::NoSpace => "the disk quota of the session is reached",
            Self::NotEmpty => "the directory is not empty",
            Self::CutOff => "the upload was cut off; nothing of it was kept",
            Self::Failed => "it cannot be used",
        })
    }
}

/// What something in a workspace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, socket or pipe.
    Other,
}

/// Something in a directory of a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: Text,
    /// What it is.
    pub kind: EntryKind,
    /// Its size in bytes.
    pub bytes: u64,
    /// When its content last changed, in milliseconds since 1970.
    pub modified_ms: u64,
}

/// A piece of an upload.
#[derive(Clone, PartialEq, Eq)]
pub enum Chunk {
    /// The next bytes.
    Bytes(Vec<u8>),
    /// All of it has come. A channel that closes without this was cut off, and nothing is kept.
    End,
}

/// Both directions of a connection to a port of a session.
#[derive(Debug)]
pub struct Connection {
    /// Bytes for the program; closing it ends the direction.
    pub to: mpsc::Sender<Vec<u8>>,
    /// Bytes from the program; closed at their end. Dropping it hangs up.
    pub from: mpsc::Receiver<Vec<u8>>,
}

/// Keeps sessions. Every method may be called at any time, from several tasks at once.
pub trait SessionKeeper {
    /// A place for one call. Dropping it kills what runs there.
    type Place: Sandbox;

    /// Says how many unused sandboxes of a kind stand ready from now on. A pool of size 0 is removed.
    fn stock(
        &self,
        owner: Owner,
        kind: Kind,
        size: PoolSize,
    ) -> impl Future<Output = Result<(), KeeperError>>;

    /// How the pools stand.
    fn pools(&self) -> impl Future<Output = Result<Vec<PoolStatus>, KeeperError>>;

    /// Opens a session in a sandbox out of its pool; makes one when the pool is empty or there is none.
    fn open(&self, spec: SessionSpec) -> impl Future<Output = Result<SessionStatus, KeeperError>>;

    /// Every session that is alive, and those that ended not too long ago.
    fn sessions(&self) -> impl Future<Output = Result<Vec<SessionStatus>, KeeperError>>;

    /// Destroys a session with everything in it. An `owner` that it is not of is told that there is none.
    fn close(
        &self,
        session: SessionId,
        owner: Owner,
    ) -> impl Future<Output = Result<(), KeeperError>>;

    /// Makes a place for one call. `Sandbox::collect` of a place returns nothing: files stay in the session.
    fn place(&self, spec: PlaceSpec) -> impl Future<Output = Result<Self::Place, KeeperError>>;

    /// Starts a stateful Python interpreter.
    fn open_context(
        &self,
        session: SessionId,
        owner: Owner,
        context: ContextId,
    ) -> impl Future<Output = Result<(), KeeperError>>;

    /// Ends a stateful interpreter.
    fn close_context(
        &self,
        session: SessionId,
        owner: Owner,
        context: ContextId,
    ) -> impl Future<Output = Result<(), KeeperError>>;

    /// Writes a file below `/workspace`, with the rights of the session's programs; directories on the way
    /// are made. It appears whole, with its old content until then, or not at all.
    fn write_file(
        &self,
        session: SessionId,
        owner: Owner,
        path: Text,
        content: mpsc::Receiver<Chunk>,
    ) -> impl Future<Output = Result<InputDigest, KeeperError>>;

    /// Reads a regular file below `/workspace`, with the rights of the session's programs: its size, and its
    /// content, which ends early if somebody shortens the file meanwhile.
    fn read_file(
        &self,
        session: SessionId,
        owner: Owner,
        path: Text,
    ) -> impl Future<Output = Result<(u64, mpsc::Receiver<Vec<u8>>), KeeperError>>;

    /// Lists a directory below `/workspace`; the empty path is `/workspace` itself. At most 10 000 entries.
    fn list_files(
        &self,
        session: SessionId,
        owner: Owner,
        path: Text,
    ) -> impl Future<Output = Result<Vec<Entry>, KeeperError>>;

    /// Removes a file, a link or an empty directory below `/workspace`.
    fn remove_file(
        &self,
        session: SessionId,
        owner: Owner,
        path: Text,
    ) -> impl Future<Output = Result<(), KeeperError>>;

    /// The whole workspace of a session as one stream: its length, and its content, which is whole only if it ends with
    /// [`Chunk::End`]. Refused while anything goes on in the session, and nothing else begins in it before the
    /// receiver is dropped.
    fn pack(
        &self,
        session: SessionId,
        owner: Owner,
    ) -> impl Future<Output = Result<(u64, mpsc::Receiver<Chunk>), KeeperError>>;

    /// Puts such a stream into the workspace of a session in which nothing was done yet. When it fails the session is to be closed.
    fn unpack(
        &self,
        session: SessionId,
        owner: Owner,
        content: mpsc::Receiver<Chunk>,
    ) -> impl Future<Output = Result<(), KeeperError>>;

    /// Connects to a port on which a program of the session listens on its loopback.
    fn connect(
        &self,
        session: SessionId,
        owner: Owner,
        port: u16,
    ) -> impl Future<Output = Result<Connection, KeeperError>>;
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::End => f.write_str("End"),
        }
    }
}

//! What is behind a pool.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::Fault;

/// The session that a request names, in the pool that its path names. Each function is one life of a call in the gateway, or one
/// recorded access to a session.
///
/// Dropping a future of [`Plane::execute`] cancels the execution, unless it waits for a person.
pub trait Plane: Send + Sync {
    /// What a file's content comes in.
    type Content: Send;

    /// Runs something: until it has ended, or, if the request says so, by itself.
    fn execute(&self, run: Run) -> impl Future<Output = Result<Execution, Fault>> + Send;

    /// How an execution stands.
    fn execution(&self, id: String) -> impl Future<Output = Result<Execution, Fault>> + Send;

    /// What is in a directory; the empty path is the one that all are in.
    fn list(&self, directory: String) -> impl Future<Output = Result<Vec<Item>, Fault>> + Send;

    /// A file.
    fn read(&self, path: String) -> impl Future<Output = Result<Self::Content, Fault>> + Send;

    /// Writes a file: whole, or not at all. Gives its size.
    fn write(
        &self,
        path: String,
        pieces: mpsc::Receiver<Piece>,
    ) -> impl Future<Output = Result<u64, Fault>> + Send;

    /// Removes a file.
    fn remove(&self, path: String) -> impl Future<Output = Result<(), Fault>> + Send;

    /// The session.
    fn session(&self) -> impl Future<Output = Result<Session, Fault>> + Send;

    /// Ends the session, with everything in it.
    fn end(&self) -> impl Future<Output = Result<(), Fault>> + Send;

    /// The sessions of the pool.
    fn sessions(&self) -> impl Future<Output = Result<Vec<Session>, Fault>> + Send;

    /// The time, in milliseconds since 1970.
    fn now_ms(&self) -> u64;
}

/// A piece of an upload.
#[derive(Debug)]
pub enum Piece {
    /// The next bytes.
    Bytes(Bytes),
    /// All of it has come. One that closes without this was cut off.
    End,
}

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// Python, in the interpreter of the session.
    Python,
    /// A command of a shell.
    Shell,
}

/// Something to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// By what.
    pub runs: Runs,
    /// The source.
    pub code: String,
    /// How long it may take at most, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Whether nobody waits for it.
    pub alone: bool,
}

/// How far an execution has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits: for its turn, or for a person.
    NotStarted,
    /// It runs.
    Running,
    /// It did what it was to do.
    Succeeded,
    /// It did not.
    Failed,
    /// It was taken back.
    Canceled,
}

impl State {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "NotStarted",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Canceled => "Canceled",
        }
    }
}

/// An execution.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Its name.
    pub id: String,
    /// By what it runs, if that is known.
    pub runs: Option<Runs>,
    /// How far it has come.
    pub state: State,
    /// What came of it.
    pub ended: Option<Ended>,
    /// Why it did not do what it was to do, beside what its program says.
    pub fault: Option<Fault>,
}

/// What came of an execution.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// What it wrote.
    pub stdout: String,
    /// What it wrote beside that.
    pub stderr: String,
    /// What its interpreter shows, as notebooks have it.
    pub results: Vec<Value>,
    /// With what its program exited, as a shell says it.
    pub exit_code: i32,
    /// How long it ran.
    pub took_ms: u64,
}

/// A file or a directory.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Its size, in bytes.
    pub bytes: u64,
    /// When it last changed, in milliseconds since 1970.
    pub modified_ms: u64,
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its name, as requests have it.
    pub identifier: String,
    /// When it began, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it was last used.
    pub used_ms: u64,
    /// When it ends if nobody uses it.
    pub ends_ms: u64,
    /// The name of its sandbox.
    pub tag: String,
}

impl Session {
    pub(crate) fn json(&self) -> Value {
        json!({
            "identifier": self.identifier,
            "createdAt": time(self.created_ms),
            "lastAccessedAt": time(self.used_ms),
            "expireAt": time(self.ends_ms),
            "etag": self.tag,
        })
    }
}

/// A time, as the protocol has it (RFC 3339).
pub(crate) fn time(ms: u64) -> String {
    let time = i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.unwrap_or(Timestamp::MAX).to_string()
}

//! What is behind the tools.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What one caller may do in one conversation. Each function is one life of a call in the gateway, or one recorded access to a session.
///
/// Dropping a future of [`Plane::run`] cancels the call, unless it waits for a person.
pub trait Plane: Send + Sync + 'static {
    /// What the profile in force permits the caller, now.
    fn offers(&self) -> Offers;

    /// Runs something, until it has ended or waits for a person.
    fn run(&self, run: Run) -> impl Future<Output = Result<Done, Refusal>> + Send;

    /// Calls a tool of a server that the profile connects; nothing, if it has no such tool.
    fn call_server(
        &self,
        tool: String,
        arguments: Map<String, Value>,
    ) -> impl Future<Output = Option<Result<Done, Refusal>>> + Send;

    /// How a call stands, after at most so many milliseconds.
    fn result(
        &self,
        decision: String,
        wait_ms: u64,
    ) -> impl Future<Output = Result<Done, Refusal>> + Send;

    /// Opens a session, and says how it is called.
    fn open(&self) -> impl Future<Output = Result<String, Refusal>> + Send;

    /// Reads a file, if it has at most so many bytes.
    fn read(
        &self,
        session: Option<String>,
        path: String,
        most: u64,
    ) -> impl Future<Output = Result<File, Refusal>> + Send;

    /// Writes a file: whole, or not at all.
    fn write(
        &self,
        session: Option<String>,
        path: String,
        content: Vec<u8>,
    ) -> impl Future<Output = Result<Written, Refusal>> + Send;

    /// Lists a directory.
    fn list(
        &self,
        session: Option<String>,
        path: String,
    ) -> impl Future<Output = Result<Listed, Refusal>> + Send;
}

/// What the profile in force permits a caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Offers {
    /// Python, and what it can do.
    pub python: Option<Effects>,
    /// A shell, and what it can do.
    pub shell: Option<Effects>,
    /// What lasts from one call to the next.
    pub conversation: Conversation,
    /// Tools of servers that the profile connects: what was pinned of each, and its name here.
    pub connected: Vec<Connected>,
}

/// A tool of a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Connected {
    /// Its name here.
    pub name: String,
    /// What its server says of it, as it was pinned.
    pub descriptor: Value,
}

/// What a tool can do to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effects {
    /// It changes nothing.
    pub read_only: bool,
    /// It can undo or overwrite.
    pub destructive: bool,
    /// It reaches what is not in its sandbox.
    pub open_world: bool,
}

/// What lasts from one call to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversation {
    /// The files and variables of this conversation.
    Kept,
    /// Those of a session that each call has to name.
    Named,
    /// Nothing: the profile gives each call a sandbox of its own.
    Fresh,
}

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// Python in the interpreter of the conversation.
    Python,
    /// Python in an interpreter of its own.
    FreshPython,
    /// A script of a shell.
    Shell,
}

/// Something to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// By what.
    pub runs: Runs,
    /// The source.
    pub code: String,
    /// The session, if the conversation does not say it.
    pub session: Option<String>,
    /// How long it may take, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Under which name it runs once.
    pub key: Option<String>,
}

/// How a call stands.
#[derive(Clone, Debug)]
pub enum Done {
    /// It has ended.
    Ended(Box<Ended>),
    /// It waits for a person: nothing has run.
    Held {
        /// Its name.
        decision: String,
    },
    /// It has not ended.
    Runs {
        /// Its name.
        decision: String,
    },
}

/// A call that has ended, in the words of the gateway's own answer.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Ended {
    /// Its name.
    pub decision: String,
    /// Whether it succeeded.
    pub status: Option<String>,
    /// Why it stopped.
    pub cause: Option<String>,
    /// With what it exited.
    pub exit_code: Option<u8>,
    /// What ended it.
    pub signal: Option<u8>,
    /// What it wrote: text, or base64 in an object.
    #[serde(default)]
    pub stdout: Value,
    /// As `stdout`.
    #[serde(default)]
    pub stderr: Value,
    /// How much it wrote.
    #[serde(default)]
    pub stdout_bytes: u64,
    /// As `stdout_bytes`.
    #[serde(default)]
    pub stderr_bytes: u64,
    /// Whether there was more output than it may have.
    #[serde(default)]
    pub output_truncated: bool,
    /// What its interpreter shows, as notebooks have it.
    #[serde(default)]
    pub results: Vec<Value>,
    /// Where it ran.
    pub session: Option<String>,
    /// What went wrong after it.
    pub error: Option<String>,
}

/// Why something was not done, in the words of the gateway's own problems.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub code: String,
    /// What is the matter.
    #[serde(default)]
    pub detail: String,
    /// What can be done.
    pub hint: Option<String>,
    /// What was decided.
    pub decision: Option<String>,
}

/// A file.
#[derive(Clone, Debug)]
pub struct File {
    /// What is on record of its reading.
    pub decision: String,
    /// What is in it.
    pub content: Vec<u8>,
}

/// A file that was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// What is on record of it.
    pub decision: String,
    /// How large it is.
    pub bytes: u64,
    /// Its digest.
    pub sha256: String,
}

/// A directory.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What is on record of its reading.
    pub decision: String,
    /// What is in it: objects with `name`, `kind`, `bytes` and `modified_ms`.
    pub entries: Vec<Value>,
}

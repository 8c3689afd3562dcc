//! The keeper: makes sandboxes, runs one program in each, destroys them.

use std::{
    collections::BTreeMap,
    fs::File,
    future::Future,
    io::{self, Seek as _, Write as _},
};

use casemate_model::{
    Artefact, Cause, ContextId, DeniedAttempt, Exit, InputDigest, Isolation, Limits, Responses,
    SandboxId, SessionId, Stream, Text, Usage, Violation,
};
use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::{
    WayOut, WaySockets, io_error,
    session::{FileFault, Gone},
};

/// How many items may wait in a channel of [`CallIo`].
pub const CHANNEL_CAPACITY: usize = 16;

/// What a sandbox is made from.
#[derive(Debug)]
pub struct SandboxSpec {
    /// Its name.
    pub id: SandboxId,
    /// What the program in it may use.
    pub limits: Limits,
    /// Files that will be in `/workspace/in`, read-only.
    pub inputs: Vec<InputFile>,
    /// Its way out, if it is to have one.
    pub way_out: Option<WayOut>,
    /// What follows violations; without it nothing is one, and there are no honey files.
    pub violations: Option<Responses>,
}

/// A file to copy into a sandbox.
#[derive(Debug)]
pub struct InputFile {
    /// Its name in `/workspace/in`: one component, not `.` or `..`, no NUL, at most 255 bytes.
    pub name: Text,
    /// The file, open for reading at its start.
    pub file: File,
}

impl InputFile {
    /// A file in memory.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn in_memory(name: Text, content: &[u8]) -> io::Result<Self> {
        let mut file = File::from(memfd_create("casemate-input", MemfdFlags::CLOEXEC)?);
        file.write_all(content)?;
        file.rewind()?;
        Ok(Self { name, file })
    }
}

/// What is known of a sandbox when it is complete and has run nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// What it enforces, measured.
    pub isolation: Isolation,
    /// The inputs, hashed as the sandbox holds them.
    pub inputs: Vec<InputDigest>,
}

/// The program to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The command and its arguments; the command is looked up in the sandbox's `PATH`. With a cell,
    /// what the cell finds in `sys.argv`.
    pub argv: Vec<Text>,
    /// Variables beside the sandbox's own `PATH`, `HOME`, `USER`, `LANG`, `TERM` and `TMPDIR`.
    pub env: BTreeMap<String, Text>,
    /// Python source for the session's interpreter, in place of executing `argv`.
    pub cell: Option<Cell>,
    /// Run it on a terminal of this size; standard error is then standard output.
    pub terminal: Option<TerminalSize>,
}

/// Python source that a session's interpreter runs.
#[derive(Clone, PartialEq, Eq)]
pub struct Cell {
    /// The source, UTF-8.
    pub source: Vec<u8>,
    /// Whether the value of a last expression is a result, as in a notebook.
    pub echo: Echo,
}

impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Code is not for logs.
        f.debug_struct("Cell")
            .field("bytes", &self.source.len())
            .finish_non_exhaustive()
    }
}

/// What becomes of the value of a cell's last expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Echo {
    /// It is a result, as in a notebook.
    Last,
    /// It is dropped, as in a script.
    Nothing,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// The streams between a caller and a running program.
#[derive(Debug)]
pub struct CallIo {
    /// Bytes for its standard input; closing the channel ends it.
    pub stdin: mpsc::Receiver<Vec<u8>>,
    /// What the caller wants of it. Closing the channel means that the caller went away.
    pub control: mpsc::Receiver<Control>,
    /// What it causes. Closing the channel means that the caller went away.
    pub events: mpsc::Sender<Event>,
}

/// What a caller wants of a running program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Ask it to stop: the signal now, and death after a grace period of two seconds.
    Interrupt(Signal),
    /// Kill it now.
    Cancel,
    /// Give it this signal (1 to 64) and go on; on a terminal, to whatever is in the foreground.
    Deliver(u8),
    /// Its terminal has this size now.
    Resize(TerminalSize),
}

/// A signal that a caller may send to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// As Ctrl-C does.
    Interrupt,
    /// As a service manager does.
    Terminate,
}

/// What a running program causes.
#[derive(Debug)]
pub enum Event {
    /// It wrote these bytes.
    Output(Stream, Vec<u8>),
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Why it stopped.
    pub cause: Cause,
    /// How it ended, if anybody saw it.
    pub exit: Option<Exit>,
    /// What it used.
    pub usage: Usage,
    /// Bytes it wrote to standard output, given back or not.
    pub stdout_bytes: u64,
    /// Bytes it wrote to standard error, given back or not.
    pub stderr_bytes: u64,
    /// Bytes of results of an interpreter, given back or not.
    pub results_bytes: u64,
    /// Whether output beyond the limit was dropped.
    pub output_truncated: bool,
    /// What it tried and was refused.
    pub denied: Vec<DeniedAttempt>,
    /// What it did that no ordinary program does.
    #[serde(default)]
    pub violations: Vec<Violation>,
}

/// Where artefacts go.
pub trait ArtefactSink {
    /// Takes one regular file: its path below `/workspace/out`, whether its owner may execute it, and
    /// its content. Returns why the file was not taken, if it was not; the content is hashed either way.
    ///
    /// # Errors
    /// When the sink cannot take any more files at all.
    fn file(
        &mut self,
        path: &Text,
        executable: bool,
        content: &mut dyn io::Read,
    ) -> io::Result<Option<String>>;
}

/// Makes sandboxes.
pub trait Keeper {
    /// What it makes.
    type Sandbox: Sandbox;

    /// Starts to make a sandbox; [`Sandbox::ready`] waits for it.
    fn create(&self, spec: SandboxSpec)
    -> impl Future<Output = Result<Self::Sandbox, KeeperError>>;
}

/// A sandbox: belongs to one call, is destroyed after it, and dies when it is dropped.
pub trait Sandbox {
    /// Waits until the sandbox is complete.
    fn ready(&mut self) -> impl Future<Output = Result<Ready, KeeperError>>;

    /// The sockets of the sandbox's way out, once: whoever connects to them is in this sandbox. Nothing before
    /// [`Sandbox::ready`], or when the sandbox was made without one.
    fn take_way_out(&mut self) -> Option<WaySockets> {
        None
    }

    /// Runs `command` until it has ended and every process in the sandbox is dead.
    ///
    /// When the caller goes away the program is killed and the cause is `cancelled`.
    fn run(
        &mut self,
        command: Command,
        io: CallIo,
    ) -> impl Future<Output = Result<Ended, KeeperError>>;

    /// Gives the files in `/workspace/out` to `sink` and destroys the sandbox.
    ///
    /// Only regular files are given; links, devices, sockets and pipes are listed as skipped. Nothing in
    /// the sandbox is alive any more, so nothing can change under the copy.
    fn collect(
        self,
        sink: &mut dyn ArtefactSink,
    ) -> impl Future<Output = Result<Vec<Artefact>, KeeperError>>;
}

/// What went wrong with a sandbox, by step.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeeperError {
    /// The keeper does not answer, or the connection to it broke. What was asked may have been done.
    #[error("the keeper is not available: {0}")]
    Unavailable(String),
    /// A demand that no sandbox can meet, such as an input name with a slash.
    #[error("{0}")]
    Spec(String),
    /// There is no such session, or it is not this caller's.
    #[error("there is no session {0}")]
    NoSession(SessionId),
    /// The session is over; its files are gone.
    #[error("the session {session} is gone: {why}")]
    SessionGone {
        /// Which.
        session: SessionId,
        /// Why it ended.
        why: Gone,
    },
    /// Something goes on in the session, or something that must be alone there.
    #[error("something goes on in the session {0}: wait for its calls, or cancel them")]
    Busy(SessionId),
    /// There is no such context in the session, or it died.
    #[error("there is no context {context} in the session {session}")]
    NoContext {
        /// In which session.
        session: SessionId,
        /// Which.
        context: ContextId,
    },
    /// A quota of the keeper's is used up.
    #[error("the quota `{quota}` of {of} is used up: {used} of {limit}")]
    Quota {
        /// Which quota, such as `calls`.
        quota: String,
        /// Whose: the id of a session, the name of an agent or of a tenant.
        of: String,
        /// How much is allowed.
        limit: u64,
        /// How much is in use.
        used: u64,
    },
    /// Something is wrong with a file of a session.
    #[error("`{path}`: {fault}")]
    File {
        /// Its path, as it was named.
        path: Text,
        /// What is wrong.
        fault: FileFault,
    },
    /// A step of making the sandbox failed.
    #[error("cannot make the sandbox: {step}")]
    Build {
        /// The step and what it was done to.
        step: String,
        /// The system's answer.
        #[source]
        #[serde(with = "io_error")]
        source: io::Error,
    },
    /// The guest broke the protocol or died.
    #[error("the sandbox was lost: {0}")]
    Lost(String),
    /// The artefacts could not be taken out.
    #[error("cannot take artefacts out of the sandbox: {step}")]
    Collect {
        /// The step and what it was done to.
        step: String,
        /// The system's answer.
        #[source]
        #[serde(with = "io_error")]
        source: io::Error,
    },
}

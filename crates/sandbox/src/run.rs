//! One program in a sandbox, from its command to its end: one loop, everything bounded.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use casemate_frames::{Exec, Exited, FromGuest, MAX_CHUNK_BYTES, Message as _, ToGuest, Window};
use casemate_model::{Cause, Exit, Limits, Responses, Stream, Text, Usage};
use casemate_ports::{CallIo, Command, Control, Ended, Event, KeeperError, Signal, TerminalSize};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use tokio::{
    io::{AsyncWriteExt as _, Interest, unix::AsyncFd},
    time::{Instant, sleep_until},
};

use crate::{
    cgroup::MemoryLimit,
    denied::{Denied, Verdict},
    honey::Honey,
    sandbox::Guest,
};

/// How long a program may live after it was asked to stop.
const GRACE: Duration = Duration::from_secs(2);

/// SIGINT, as a number.
const INTERRUPT: u8 = 2;

/// What every program finds in its environment.
pub(crate) const BASE_ENV: &[(&str, &str)] = &[
    ("HOME", "/home/user"),
    ("LANG", "C.UTF-8"),
    (
        "PATH",
        "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:/run/bin",
    ),
    ("TERM", "dumb"),
    ("TMPDIR", "/tmp"),
    ("USER", "user"),
];

/// Where attempts of a program that are refused are seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sentinels<'a> {
    /// Refused system calls.
    pub(crate) listener: Option<&'a AsyncFd<OwnedFd>>,
    /// Connections to the call's way out, where there is nothing behind it.
    pub(crate) way_out: Option<&'a AsyncFd<OwnedFd>>,
    /// Whether there is a way out by made-up addresses.
    pub(crate) has_way: bool,
    /// What follows violations, if anything is one.
    pub(crate) violations: Option<&'a Responses>,
    /// Honey files, where there are any.
    pub(crate) honey: Option<&'a Honey>,
}

/// What happens to a program whose time is over, or whose caller has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is killed.
    Kill,
    /// It is interrupted, so that what it knows can be kept; and killed when that does not help.
    Interrupt,
}

/// A running program.
pub(crate) struct Run<'a> {
    guest: &'a mut Guest,
    sentinels: Sentinels<'a>,
    ending: Ending,
    /// Nobody hears it any more.
    unheard: bool,
    io: CallIo,
    started: Instant,
    deadline: Instant,
    output_left: u64,
    /// The guest takes one chunk of standard input at a time.
    stdin: StdinState,
    seen: Seen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StdinState {
    Wanted,
    Busy,
    Closed,
}

/// What the keeper saw of a program.
#[derive(Debug)]
pub(crate) struct Seen {
    cause: Cause,
    exit: Option<Exit>,
    usage: Usage,
    stdout_bytes: u64,
    stderr_bytes: u64,
    results_bytes: u64,
    output_truncated: bool,
    /// An interpreter that ended its cell waits for the next.
    stays: bool,
    denied: Denied,
}

/// What happened next.
enum Step {
    Guest(io::Result<Option<FromGuest>>),
    Stdin(Option<Vec<u8>>),
    Control(Option<Control>),
    Denied(io::Result<Verdict>),
    CallerGone,
    Deadline,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        guest: &'a mut Guest,
        sentinels: Sentinels<'a>,
        limits: &Limits,
        ending: Ending,
        io: CallIo,
    ) -> Self {
        let started = Instant::now();
        Self {
            guest,
            sentinels,
            ending,
            unheard: false,
            io,
            started,
            deadline: started + Duration::from_millis(limits.wall_ms),
            output_left: limits.output_bytes,
            stdin: StdinState::Wanted,
            seen: Seen {
                cause: Cause::Completed,
                exit: None,
                usage: Usage::default(),
                stdout_bytes: 0,
                stderr_bytes: 0,
                results_bytes: 0,
                output_truncated: false,
                stays: false,
                denied: Denied::new(sentinels.has_way, sentinels.violations, started),
            },
        }
    }

    /// Runs what `order` says until it ended or has to be killed; the caller kills whatever is left.
    pub(crate) async fn drive(mut self, order: &ToGuest) -> Result<Seen, KeeperError> {
        self.tell(order).await.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => KeeperError::Spec(error.to_string()),
            _ => KeeperError::Lost(format!("it does not take the command: {error}")),
        })?;
        self.seen.cause = self.until_cause().await;
        // The end may have been heard of first.
        if let Some(listener) = self.sentinels.listener.map(AsyncFd::get_ref) {
            let denied = &mut self.seen.denied;
            let verdict = denied.handle_waiting(listener.as_fd(), || asks(listener));
            let verdict = verdict.map_err(|source| KeeperError::Build {
                step: "look at what was refused".into(),
                source,
            })?;
            if verdict == Verdict::Kill {
                self.seen.cause = Cause::Violation;
            }
        }
        if let Some(honey) = self.sentinels.honey {
            let opened = honey.opened_now().map_err(|source| KeeperError::Build {
                step: "look at the honey files".into(),
                source,
            })?;
            if self.seen.denied.opened(&opened) == Verdict::Kill {
                self.seen.cause = Cause::Violation;
            }
        }
        let elapsed = self.started.elapsed();
        self.seen.usage.wall_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        Ok(self.seen)
    }

    async fn until_cause(&mut self) -> Cause {
        loop {
            let step = self.next().await;
            if let Some(cause) = self.apply(step).await {
                return cause;
            }
        }
    }

    async fn next(&mut self) -> Step {
        let wants_stdin = self.stdin == StdinState::Wanted;
        let Self {
            guest,
            sentinels,
            unheard,
            io,
            deadline,
            seen,
            ..
        } = self;
        tokio::select! {
            biased;
            () = sleep_until(*deadline) => Step::Deadline,
            control = io.control.recv(), if !*unheard => Step::Control(control),
            () = io.events.closed(), if !*unheard => Step::CallerGone,
            result = watch(*sentinels, &mut seen.denied) => Step::Denied(result),
            frame = guest.next_frame() => Step::Guest(frame),
            chunk = io.stdin.recv(), if wants_stdin => Step::Stdin(chunk),
        }
    }

    async fn apply(&mut self, step: Step) -> Option<Cause> {
        match step {
            Step::Guest(Ok(Some(frame))) => self.hear(frame).await,
            Step::Guest(Ok(None) | Err(_)) | Step::Denied(Err(_)) => Some(Cause::SandboxLost),
            Step::Denied(Ok(verdict)) => {
                // Nothing that it says from here on is heard.
                (verdict == Verdict::Kill).then_some(Cause::Violation)
            }
            // It was asked to stop, and did not.
            Step::Deadline if self.seen.cause != Cause::Completed => Some(self.seen.cause),
            Step::Deadline => self.stop(Cause::TimedOut).await,
            Step::CallerGone | Step::Control(None | Some(Control::Cancel)) => {
                self.unheard = true;
                self.stop(Cause::Cancelled).await
            }
            Step::Control(Some(Control::Interrupt(signal))) => {
                self.seen.cause = Cause::Cancelled;
                self.deadline = self.deadline.min(Instant::now() + GRACE);
                let number = match signal {
                    Signal::Interrupt => rustix::process::Signal::INT,
                    Signal::Terminate => rustix::process::Signal::TERM,
                };
                let number = u8::try_from(number.as_raw()).unwrap_or(15);
                self.tell_or_lose(&ToGuest::Signal(number)).await
            }
            Step::Control(Some(Control::Deliver(number))) => {
                self.tell_or_lose(&ToGuest::Signal(number)).await
            }
            Step::Control(Some(Control::Resize(size))) => {
                self.tell_or_lose(&ToGuest::Resize(window(size))).await
            }
            Step::Stdin(Some(mut chunk)) => {
                chunk.truncate(MAX_CHUNK_BYTES);
                self.stdin = StdinState::Busy;
                self.tell_or_lose(&ToGuest::Stdin(chunk)).await
            }
            Step::Stdin(None) => {
                self.stdin = StdinState::Closed;
                self.tell_or_lose(&ToGuest::StdinClosed).await
            }
        }
    }

    /// Stops the program in the way that it is to be stopped.
    async fn stop(&mut self, cause: Cause) -> Option<Cause> {
        match self.ending {
            Ending::Kill => Some(cause),
            Ending::Interrupt => {
                self.seen.cause = cause;
                self.deadline = Instant::now() + GRACE;
                self.tell_or_lose(&ToGuest::Signal(INTERRUPT)).await
            }
        }
    }

    async fn hear(&mut self, frame: FromGuest) -> Option<Cause> {
        match frame {
            FromGuest::Started => None,
            FromGuest::StdinTaken if self.stdin == StdinState::Busy => {
                self.stdin = StdinState::Wanted;
                None
            }
            FromGuest::Stdout(bytes) => self.output(Stream::Stdout, bytes).await,
            FromGuest::Stderr(bytes) => self.output(Stream::Stderr, bytes).await,
            FromGuest::Results(bytes) => self.output(Stream::Results, bytes).await,
            FromGuest::Exited(exited) => {
                self.ended(exited);
                // Cancelled, if it was asked to stop and did.
                Some(self.seen.cause)
            }
            FromGuest::ExecFailed(failure) => {
                let missing = i32::try_from(failure.errno) == Ok(Errno::NOENT.raw_os_error());
                self.seen.exit = Some(Exit::Code(if missing { 127 } else { 126 }));
                Some(Cause::NotExecutable)
            }
            FromGuest::CellEnded(code) => {
                self.seen.exit = Some(Exit::Code(code));
                self.seen.stays = true;
                Some(self.seen.cause)
            }
            FromGuest::Hello(_)
            | FromGuest::StdinTaken
            | FromGuest::FileSize(_)
            | FromGuest::FileFailed(_) => Some(Cause::SandboxLost),
        }
    }

    fn ended(&mut self, exited: Exited) {
        self.seen.exit = match (exited.code, exited.signal) {
            (Some(code), _) => Some(Exit::Code(code)),
            (None, signal) => signal.map(Exit::Signal),
        };
        self.seen.usage.cpu_us = exited.cpu_us;
        self.seen.usage.memory_peak_bytes = exited.memory_peak_bytes;
    }

    /// Hands output on, up to the limit. A consumer that stalls stops the program, never the clock.
    async fn output(&mut self, stream: Stream, mut bytes: Vec<u8>) -> Option<Cause> {
        let len = bytes.len() as u64;
        match stream {
            Stream::Stdout => self.seen.stdout_bytes += len,
            Stream::Stderr => self.seen.stderr_bytes += len,
            Stream::Results => self.seen.results_bytes += len,
        }
        if len > self.output_left {
            self.seen.output_truncated = true;
            bytes.truncate(usize::try_from(self.output_left).unwrap_or(usize::MAX));
        }
        if bytes.is_empty() || self.unheard {
            return None;
        }
        self.output_left -= bytes.len() as u64;
        let mut event = Some(Event::Output(stream, bytes));
        loop {
            let Self {
                sentinels,
                io,
                deadline,
                seen,
                ..
            } = self;
            let step = tokio::select! {
                biased;
                () = sleep_until(*deadline) => Step::Deadline,
                control = io.control.recv() => Step::Control(control),
                result = watch(*sentinels, &mut seen.denied) => Step::Denied(result),
                permit = io.events.reserve() => match (permit, event.take()) {
                    (Ok(permit), Some(event)) => {
                        permit.send(event);
                        return None;
                    }
                    _ => Step::CallerGone,
                },
            };
            if let Some(cause) = Box::pin(self.apply(step)).await {
                return Some(cause);
            }
        }
    }

    /// A guest that has gone, because its program ended, hears nothing: what it said before decides.
    async fn tell_or_lose(&mut self, message: &ToGuest) -> Option<Cause> {
        match self.tell(message).await {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Some(Cause::SandboxLost),
            _ => None,
        }
    }

    async fn tell(&mut self, message: &ToGuest) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.guest.unsaid);
        message.encode(&mut bytes)?;
        // A guest that does not read is a guest that is lost: its program has no part in it.
        match tokio::time::timeout(GRACE, self.guest.socket.write_all(&bytes)).await {
            Ok(result) => result,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Sees to one attempt that is refused. Waits for ever when there is nobody who could make one.
async fn watch(sentinels: Sentinels<'_>, denied: &mut Denied) -> io::Result<Verdict> {
    let refused = async {
        let Some(way_out) = sentinels.way_out else {
            return std::future::pending().await;
        };
        let accept = |listener: &OwnedFd| Ok(rustix::net::accept(listener)?);
        way_out.async_io(Interest::READABLE, accept).await
    };
    let opened = async {
        match sentinels.honey {
            Some(honey) => honey.opened().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        result = answer(sentinels.listener, denied) => result,
        opened = opened => Ok(denied.opened(&opened?)),
        connection = refused => {
            // There is nothing behind it: no profile allows a destination yet.
            drop(connection?);
            denied.count("egress", WAY_OUT.to_owned());
            Ok(Verdict::GoOn)
        }
    }
}

/// Where programs find their way out.
const WAY_OUT: &str = "/run/egress/proxy.sock";

/// Answers refused calls for as long as it is polled, and forgets them: for a place in which nothing of a tool runs.
pub(crate) async fn attend(listener: &AsyncFd<OwnedFd>) {
    let mut forgotten = Denied::default();
    while answer(Some(listener), &mut forgotten).await.is_ok() {}
    std::future::pending().await
}

/// Answers one refused call. Waits for ever when there is nobody left whom the filter holds.
async fn answer(listener: Option<&AsyncFd<OwnedFd>>, denied: &mut Denied) -> io::Result<Verdict> {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    // However many ask, the clock must tick.
    tokio::task::coop::consume_budget().await;
    let mut ready = listener.ready(Interest::READABLE).await?;
    if ready.ready().is_read_closed() {
        return std::future::pending().await;
    }
    let verdict = denied.handle(listener.get_ref().as_fd())?;
    // The kernel tells once of all that ask together.
    if !asks(listener.get_ref())? {
        ready.clear_ready();
    }
    Ok(verdict)
}

/// Whether a refused call waits for its answer now.
fn asks(listener: &OwnedFd) -> io::Result<bool> {
    loop {
        let mut fds = [PollFd::new(listener, PollFlags::IN)];
        match poll(&mut fds, Some(&Timespec::default())) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            // Its end (HUP) is not a question.
            Ok(_) => return Ok(fds.iter().any(|fd| fd.revents().contains(PollFlags::IN))),
        }
    }
}

const fn window(size: TerminalSize) -> Window {
    Window {
        rows: size.rows,
        columns: size.columns,
    }
}

/// What executes `command` in a userland with these variables.
pub(crate) fn exec(command: &Command, userland: &BTreeMap<String, String>) -> Exec {
    Exec {
        argv: words(&command.argv),
        env: environment(&command.env, userland),
        terminal: command.terminal.map(window),
    }
}

/// Words as bytes.
pub(crate) fn words(words: &[Text]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// The base environment with that of the userland, and what the caller declared in place of both.
pub(crate) fn environment(
    declared: &BTreeMap<String, Text>,
    userland: &BTreeMap<String, String>,
) -> Vec<Vec<u8>> {
    let base = BASE_ENV.iter().copied();
    let base = base.filter(|(name, _)| !userland.contains_key(*name));
    let userland = userland
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let base = base
        .chain(userland)
        .filter(|(name, _)| !declared.contains_key(*name));
    let base = base.map(|(name, value)| format!("{name}={value}").into_bytes());
    let declared = declared
        .iter()
        .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    base.chain(declared).collect()
}

impl Seen {
    /// Whether what ran waits for more.
    pub(crate) const fn stays(&self) -> bool {
        self.stays
    }

    /// What it comes to, knowing what the memory limit did.
    pub(crate) fn into_ended(self, limit: MemoryLimit) -> Ended {
        let killed = match limit {
            MemoryLimit::Held => false,
            MemoryLimit::Killed => matches!(self.exit, None | Some(Exit::Signal(9))),
            MemoryLimit::KilledBelowGvisor => self.exit != Some(Exit::Code(0)),
        };
        let memory = killed && matches!(self.cause, Cause::Completed | Cause::SandboxLost);
        let (denied, violations) = self.denied.into_lists();
        Ended {
            cause: if memory {
                Cause::MemoryExceeded
            } else {
                self.cause
            },
            exit: self.exit,
            usage: self.usage,
            stdout_bytes: self.stdout_bytes,
            stderr_bytes: self.stderr_bytes,
            results_bytes: self.results_bytes,
            output_truncated: self.output_truncated,
            denied,
            violations,
        }
    }
}

#[cfg(test)]
mod tests;

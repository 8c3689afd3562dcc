//! One program of an attempt, from its command to its end, with a caller who behaves as the attempt says.

use std::{fmt, future::Future, time::Duration};

use casemate_model::{Cause, DeniedAttempt, Exit, Limits, Stream, Text, one_line};
use casemate_ports::{
    CHANNEL_CAPACITY, CallIo, Command, Control, Ended, Event, KeeperError, Sandbox, Signal,
};
use tokio::{sync::mpsc, time::Instant};

use super::attempt::Caller;

/// How much longer than its wall clock a call may take before its keeper is said to hang.
const PATIENCE: Duration = Duration::from_secs(15);

const CHUNK_BYTES: u64 = 64 * 1024;

/// What a program prints when its caller shall act.
const CUE: &[u8] = b"READY\n";

/// What was seen of a program.
#[derive(Debug)]
pub(super) struct Observed {
    /// How it ended, in the catalogue's words: `exit 0`, `signal 9`, `not_executable 127`, `timed_out`,
    /// `refused` and so on.
    pub(super) ending: String,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) denied: Vec<DeniedAttempt>,
    pub(super) output_truncated: bool,
    pub(super) elapsed_ms: u128,
}

impl Observed {
    /// Of a program that never ran.
    pub(super) fn refused(why: &str) -> Self {
        Self {
            ending: "refused".into(),
            stdout: Vec::new(),
            stderr: why.into(),
            denied: Vec::new(),
            output_truncated: false,
            elapsed_ms: 0,
        }
    }

    pub(super) fn streams(&self) -> [(Stream, &[u8]); 2] {
        [
            (Stream::Stdout, &self.stdout),
            (Stream::Stderr, &self.stderr),
        ]
    }
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "it ended with `{}` after {} ms",
            self.ending, self.elapsed_ms
        )?;
        for (stream, bytes) in self.streams() {
            // The end says more than the beginning.
            const SHOWN: usize = 1000;
            let shown = bytes
                .get(bytes.len().saturating_sub(SHOWN)..)
                .unwrap_or_default();
            write!(f, "; {stream}: \"{}\"", Text::from(shown.to_vec()))?;
        }
        for DeniedAttempt { kind, what, count } in self.denied.iter().take(16) {
            write!(f, "; denied {kind} {what} {count} times")?;
        }
        Ok(())
    }
}

/// A program, and what its caller does.
pub(super) struct Script {
    pub(super) command: Command,
    pub(super) limits: Limits,
    pub(super) stdin_bytes: u64,
    pub(super) caller: Option<Caller>,
}

/// Runs a program in `sandbox`.
pub(super) async fn drive<S: Sandbox>(sandbox: &mut S, script: Script) -> Observed {
    let started = Instant::now();
    let (stdin, stdin_end) = mpsc::channel(CHANNEL_CAPACITY);
    let (control, control_end) = mpsc::channel(CHANNEL_CAPACITY);
    let (events_end, events) = mpsc::channel(CHANNEL_CAPACITY);
    let io = CallIo {
        stdin: stdin_end,
        control: control_end,
        events: events_end,
    };
    let output = Output {
        events,
        control,
        caller: script.caller,
        stdout: Vec::new(),
        stderr: Vec::new(),
    };
    let patience = Duration::from_millis(script.limits.wall_ms) + PATIENCE;
    let run = in_time(patience, sandbox.run(script.command, io));
    let feed = feed(stdin, script.stdin_bytes);
    let (ended, (stdout, stderr), ()) = tokio::join!(run, output.hear(), feed);
    let (ending, denied, output_truncated) = match ended {
        Ok(ended) => (word(&ended), ended.denied, ended.output_truncated),
        Err(ending) => (ending, Vec::new(), false),
    };
    Observed {
        ending,
        stdout,
        stderr,
        denied,
        output_truncated,
        elapsed_ms: started.elapsed().as_millis(),
    }
}

async fn in_time(
    patience: Duration,
    run: impl Future<Output = Result<Ended, KeeperError>>,
) -> Result<Ended, String> {
    match tokio::time::timeout(patience, run).await {
        Ok(Ok(ended)) => Ok(ended),
        Ok(Err(KeeperError::Spec(_))) => Err("refused".into()),
        Ok(Err(error)) => Err(one_line(&error)),
        Err(_) => Err("never".into()),
    }
}

fn word(ended: &Ended) -> String {
    match (ended.cause, ended.exit) {
        (Cause::Completed, Some(Exit::Code(code))) => format!("exit {code}"),
        (Cause::Completed, Some(Exit::Signal(signal))) => format!("signal {signal}"),
        (Cause::NotExecutable, Some(Exit::Code(code))) => format!("not_executable {code}"),
        (cause, _) => cause.as_str().to_owned(),
    }
}

/// Offers so many bytes; stops when nobody wants them any more.
async fn feed(stdin: mpsc::Sender<Vec<u8>>, bytes: u64) {
    let mut left = bytes;
    while left > 0 {
        let count = left.min(CHUNK_BYTES);
        let chunk = vec![b'x'; usize::try_from(count).unwrap_or_default()];
        if stdin.send(chunk).await.is_err() {
            return;
        }
        left -= count;
    }
}

/// The caller's side: takes what comes, and acts once on the cue.
struct Output {
    events: mpsc::Receiver<Event>,
    control: mpsc::Sender<Control>,
    caller: Option<Caller>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Output {
    async fn hear(mut self) -> (Vec<u8>, Vec<u8>) {
        while let Some(Event::Output(stream, bytes)) = self.events.recv().await {
            match stream {
                Stream::Stdout => self.stdout.extend(bytes),
                Stream::Stderr => self.stderr.extend(bytes),
                Stream::Results => {}
            }
            if !self.stdout.windows(CUE.len()).any(|window| window == CUE) {
                continue;
            }
            // Whoever does not hear it has ended already.
            let _ = match self.caller.take() {
                None => Ok(()),
                Some(Caller::Interrupts) => {
                    self.control
                        .send(Control::Interrupt(Signal::Interrupt))
                        .await
                }
                Some(Caller::Terminates) => {
                    self.control
                        .send(Control::Interrupt(Signal::Terminate))
                        .await
                }
                Some(Caller::Cancels) => self.control.send(Control::Cancel).await,
                Some(Caller::Leaves) => break,
            };
        }
        (self.stdout, self.stderr)
    }
}

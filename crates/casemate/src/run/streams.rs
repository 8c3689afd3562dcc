//! The program's standard streams, which are ours.
//!
//! Reading and writing them may block for ever, so each has a thread of its own: the clock of the call, and
//! signals, never wait for them. Threads start only when the sandbox has been made.

use std::{
    io::{self, IsTerminal as _, Read as _},
    os::fd::{AsFd, BorrowedFd},
    thread,
};

use casemate_model::Stream;
use casemate_ports::Event;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{FileType, fstat, major, minor},
    io::{Errno, write},
    process::getpgrp,
    termios::tcgetpgrp,
};
use tokio::sync::{mpsc, oneshot};

/// How much of standard input is read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// What became of the program's output.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Standard output, if it was collected.
    pub(crate) stdout: Vec<u8>,
    /// Standard error, if it was collected.
    pub(crate) stderr: Vec<u8>,
    /// Why it could not be passed on, if it could not.
    pub(crate) error: Option<io::Error>,
}

/// Where output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// To our own streams, as it comes.
    Ours,
    /// To memory.
    Memory,
}

/// Passes output on until there is no more. When it cannot be passed on, `events` is closed, which cancels
/// the program.
///
/// # Errors
/// When there is no thread for it.
pub(crate) fn pass_on(
    events: mpsc::Receiver<Event>,
    to: Destination,
) -> io::Result<oneshot::Receiver<Written>> {
    let (done, written) = oneshot::channel();
    thread::Builder::new()
        .name("output".into())
        .spawn(move || {
            // If nobody waits for it any more, nobody needs it.
            drop(done.send(write_all(events, to)));
        })?;
    Ok(written)
}

fn write_all(mut events: mpsc::Receiver<Event>, to: Destination) -> Written {
    let mut written = Written::default();
    while let Some(Event::Output(stream, bytes)) = events.blocking_recv() {
        match (to, stream) {
            (Destination::Memory, Stream::Stdout) => written.stdout.extend(bytes),
            (Destination::Memory, Stream::Stderr) => written.stderr.extend(bytes),
            // Only a session's interpreter has any.
            (_, Stream::Results) => {}
            (Destination::Ours, stream) => {
                if let Err(error) = write_stream(stream, &bytes) {
                    written.error = Some(error);
                    break;
                }
            }
        }
    }
    written
}

/// Writes to one of our streams.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_stream(stream: Stream, bytes: &[u8]) -> io::Result<()> {
    match stream {
        Stream::Stdout => write_fd(io::stdout().as_fd(), bytes),
        Stream::Stderr => write_fd(io::stderr().as_fd(), bytes),
        Stream::Results => Ok(()),
    }
}

fn write_fd(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match write(fd, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            // Whoever shares the stream with us may have made it non-blocking.
            Err(Errno::AGAIN) => wait(fd, PollFlags::OUT)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn wait(fd: BorrowedFd<'_>, until: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::from_borrowed_fd(fd, until)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Feeds our standard input to the program, if there is anything to feed.
///
/// # Errors
/// When there is no thread for it.
pub(crate) fn feed(stdin: mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    if !is_readable() {
        return Ok(());
    }
    thread::Builder::new().name("input".into()).spawn(move || {
        let mut input = io::stdin().lock();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let chunk = match input.read(&mut buffer) {
                Ok(count) => buffer.get(..count).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match wait(input.as_fd(), PollFlags::IN) {
                        Ok(()) => continue,
                        Err(_) => return,
                    }
                }
                Err(_) => return,
            };
            if chunk.is_empty() || stdin.blocking_send(chunk.to_vec()).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// Whether standard input can have anything to say: it is not `/dev/null`, nor a terminal that belongs to
/// somebody else, reading from which would stop us.
fn is_readable() -> bool {
    let stdin = io::stdin();
    let Ok(stat) = fstat(&stdin) else {
        return false;
    };
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if is_device && (major(stat.st_rdev), minor(stat.st_rdev)) == NULL_DEVICE {
        return false;
    }
    !stdin.is_terminal() || tcgetpgrp(&stdin).is_ok_and(|foreground| foreground == getpgrp())
}

/// The number of `/dev/null` (null(4)).
const NULL_DEVICE: (u32, u32) = (1, 3);

//! The interpreter that waits in a place: a copy of the session's warm one, which runs one cell and ends, or stays for
//! more. It is hostile from its first cell on.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use casemate_frames::{Cell, Decoder, Exited, FromGuest, Message as _, ToGuest};
use rustix::{
    io::Errno,
    net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
    pipe::{PipeFlags, pipe_with},
    process::Pid,
};

use crate::{dying, keeper::write_all, program::Streams};

/// Our side of an interpreter.
pub(crate) struct Interpreter {
    socket: OwnedFd,
    /// Where its parent, the warm interpreter, writes how it ended.
    exit: OwnedFd,
    decoder: Decoder<FromGuest>,
    /// Its number in this pid namespace.
    pid: Pid,
    /// Our ends of its streams, until it runs something.
    streams: Option<Streams>,
    open: bool,
    busy: bool,
    /// Whether it stays after a cell.
    stay: bool,
    /// The exit code that it announced.
    announced: Option<u8>,
    /// It was killed after it had announced its end.
    killed: bool,
    /// It is stopped until the next cell.
    frozen: bool,
    /// Its parent is gone, and will not say how it ended.
    orphaned: bool,
}

/// What an end is taken for that nobody saw.
const KILLED: u8 = 9;

/// How the parent says that it ended: status of wait(2), CPU time in microseconds, largest resident memory in bytes.
const EXIT_BYTES: usize = 20;

impl Interpreter {
    /// Gives the interpreter its streams and waits until it is restricted.
    pub(crate) fn greet(socket: OwnedFd, exit: OwnedFd) -> io::Result<Self> {
        let (stdin_read, stdin) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stdout, stdout_write) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, stderr_write) = pipe_with(PipeFlags::CLOEXEC)?;
        let fds = [
            stdin_read.as_fd(),
            stdout_write.as_fd(),
            stderr_write.as_fd(),
        ];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(
            &socket,
            &[IoSlice::new(b"S")],
            &mut control,
            SendFlags::NOSIGNAL,
        )?;
        for fd in [&stdin, &stdout, &stderr] {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        let mut interpreter = Self {
            socket,
            exit,
            decoder: Decoder::default(),
            pid: rustix::process::getpid(),
            streams: Some(Streams {
                stdin: Some(stdin),
                stdout: Some(stdout),
                stderr: Some(stderr),
            }),
            open: true,
            busy: false,
            stay: false,
            announced: None,
            killed: false,
            frozen: false,
            orphaned: false,
        };
        // Its first word is its pid here.
        loop {
            match interpreter.decoder.next_frame()? {
                Some(FromGuest::Hello(pid)) => {
                    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
                    let pid = pid.filter(|pid| *pid != interpreter.pid);
                    interpreter.pid = pid.ok_or(io::ErrorKind::InvalidData)?;
                    return Ok(interpreter);
                }
                Some(_) => return Err(io::ErrorKind::InvalidData.into()),
                None if interpreter.read()? => {}
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    pub(crate) const fn pid(&self) -> Pid {
        self.pid
    }

    pub(crate) const fn is_busy(&self) -> bool {
        self.busy
    }

    /// Our ends of its streams; nothing when they were taken before.
    pub(crate) const fn take_streams(&mut self) -> Option<Streams> {
        self.streams.take()
    }

    /// Lets it run a cell.
    pub(crate) fn start(&mut self, cell: Cell) -> io::Result<()> {
        if self.frozen {
            dying::thaw(self.pid);
            self.frozen = false;
        }
        self.stay = cell.stay;
        let mut bytes = Vec::new();
        ToGuest::Cell(cell).encode(&mut bytes)?;
        self.busy = true;
        write_all(self.socket.as_fd(), &bytes)
    }

    /// Sees to it that nothing of the cell that ended runs on, be it the interpreter itself, which may have said so too early.
    /// False if that took to kill it.
    pub(crate) fn freeze(&mut self) -> bool {
        self.frozen = dying::freeze(self.pid);
        if !self.frozen {
            casemate_sys::signal_everyone();
        }
        self.frozen
    }

    /// What it wrote next, if all of that is here: output, results, or the end of a cell.
    pub(crate) fn next(&mut self) -> io::Result<Option<FromGuest>> {
        loop {
            match self.decoder.next_frame()? {
                Some(FromGuest::CellEnded(code)) if self.busy && self.stay => {
                    self.busy = false;
                    return Ok(Some(FromGuest::CellEnded(code)));
                }
                // Its parent knows better, if that is still there.
                Some(FromGuest::CellEnded(code)) if self.busy => self.announced = Some(code),
                Some(
                    said @ (FromGuest::Stdout(_) | FromGuest::Stderr(_) | FromGuest::Results(_)),
                ) => return Ok(Some(said)),
                Some(_) => return Err(io::ErrorKind::InvalidData.into()),
                None => return Ok(None),
            }
        }
    }

    /// Its socket, while it is open.
    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.open.then(|| self.socket.as_fd())
    }

    /// Where its parent says how it ended, while it can.
    pub(crate) fn exit(&self) -> Option<BorrowedFd<'_>> {
        (!self.orphaned).then(|| self.exit.as_fd())
    }

    /// Reads what is there into the decoder; false at its end.
    pub(crate) fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let buffers = &mut [IoSliceMut::new(&mut buffer)];
        // Without room for descriptors: any that it sends are closed by the kernel.
        let mut none = rustix::net::RecvAncillaryBuffer::default();
        match rustix::net::recvmsg(&self.socket, buffers, &mut none, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) if received.bytes == 0 => {
                self.open = false;
                Ok(false)
            }
            Ok(received) => {
                self.decoder
                    .push(buffer.get(..received.bytes).unwrap_or_default());
                Ok(true)
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(true),
            Err(Errno::CONNRESET) => {
                self.open = false;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// How it ended, if it announced its end, nothing of its call is left but itself, and it can do nothing any more: the
    /// kernel takes its memory apart, which takes longer than many a call.
    pub(crate) fn ends(&mut self) -> Option<Exited> {
        let code = self.announced.filter(|_| !self.stay)?;
        if self.killed || !dying::is_alone(self.pid) {
            return None;
        }
        let used = dying::used(self.pid);
        self.killed = true;
        casemate_sys::signal_everyone();
        dying::cannot_act(self.pid).then_some(Exited {
            code: Some(code),
            signal: None,
            cpu_us: used.cpu_us,
            memory_peak_bytes: used.memory_peak_bytes,
        })
    }

    /// How it ended, as its parent saw it, or as it announced when the parent is gone. Nothing while it has not ended.
    pub(crate) fn ended(&mut self) -> io::Result<Option<Exited>> {
        if self.orphaned {
            let silent = Exited {
                code: self.announced,
                signal: self.announced.is_none().then_some(KILLED),
                cpu_us: 0,
                memory_peak_bytes: 0,
            };
            return Ok((!self.open).then_some(silent));
        }
        let mut record = [0; EXIT_BYTES];
        if rustix::io::read(&self.exit, &mut record)? != EXIT_BYTES {
            self.orphaned = true;
            return self.ended();
        }
        let status = record
            .first_chunk()
            .map_or(0, |bytes| i32::from_le_bytes(*bytes));
        let number = |from: usize| {
            let bytes = record.get(from..).and_then(|rest| rest.first_chunk());
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let byte = |value: i32| u8::try_from(value & 0xff).unwrap_or(u8::MAX);
        // wait(2): the signal in the low 7 bits, else the exit code in the next byte.
        let (code, signal) = match byte(status & 0x7f) {
            0 => (Some(byte(status >> 8)), None),
            KILLED if self.killed => (self.announced, None),
            signal => (None, Some(signal)),
        };
        Ok(Some(Exited {
            code,
            signal,
            cpu_us: number(4),
            memory_peak_bytes: number(12),
        }))
    }
}

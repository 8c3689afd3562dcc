//! One program's streams, signals and end, between it and the keeper.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use casemate_frames::{
    Decoder, Exec, ExecFailure, Exited, FromGuest, MAX_CHUNK_BYTES, Message as _, PROTOCOL_VERSION,
    ToGuest,
};
use casemate_sys::{ChildExit, SignalEvents, set_no_dump, signal_everyone, signal_group, wait_any};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::Pid,
};

use crate::{
    program::{self, Program},
    stdin::Stdin,
};

/// Serves the control socket on standard input until the program has ended.
pub(crate) fn serve() -> io::Result<()> {
    set_no_dump()?;
    let control = io::stdin();
    let mut keeper = Keeper {
        socket: control.as_fd(),
        decoder: Decoder::default(),
    };
    keeper.send(&FromGuest::Hello(PROTOCOL_VERSION))?;
    let exec = loop {
        match keeper.decoder.next_frame()? {
            Some(ToGuest::Exec(exec)) => break exec,
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
            None => keeper.read()?,
        }
    };
    run(keeper, exec)
}

fn run(keeper: Keeper<'_>, exec: Exec) -> io::Result<()> {
    let children = SignalEvents::of_children()?;
    let program = match program::start(exec)? {
        Ok(program) => program,
        Err(errno) => {
            let errno = errno.raw_os_error().unsigned_abs();
            return keeper.send(&FromGuest::ExecFailed(ExecFailure { errno }));
        }
    };
    keeper.send(&FromGuest::Started)?;
    let Program {
        pid,
        stdin,
        stdout,
        stderr,
    } = program;
    let relay = Relay {
        keeper,
        children,
        pid,
        stdin: Stdin::new(stdin),
        stdout: Some(stdout),
        stderr: Some(stderr),
        ended: None,
        childless: false,
    };
    relay.run()
}

struct Keeper<'a> {
    socket: BorrowedFd<'a>,
    decoder: Decoder<ToGuest>,
}

impl Keeper<'_> {
    fn send(&self, message: &FromGuest) -> io::Result<()> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes)?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match rustix::io::write(self.socket, rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads what is there into the decoder. The keeper's end is ours too.
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match rustix::io::read(self.socket, &mut buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.decoder.push(buffer.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

struct Relay<'a> {
    keeper: Keeper<'a>,
    children: SignalEvents,
    pid: Pid,
    stdin: Stdin,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    ended: Option<Exited>,
    childless: bool,
}

/// Which descriptors are ready.
#[derive(Default)]
struct Ready {
    control: bool,
    children: bool,
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl Relay<'_> {
    fn run(mut self) -> io::Result<()> {
        loop {
            self.obey()?;
            if let (Some(exited), true, None, None) =
                (self.ended, self.childless, &self.stdout, &self.stderr)
            {
                return self.keeper.send(&FromGuest::Exited(exited));
            }
            let ready = self.wait()?;
            if ready.control {
                self.keeper.read()?;
            }
            if ready.stdin && self.stdin.write() {
                self.keeper.send(&FromGuest::StdinTaken)?;
            }
            if ready.stdout {
                self.stdout = relay_chunk(&self.keeper, self.stdout.take(), FromGuest::Stdout)?;
            }
            if ready.stderr {
                self.stderr = relay_chunk(&self.keeper, self.stderr.take(), FromGuest::Stderr)?;
            }
            if ready.children {
                self.reap()?;
            }
        }
    }

    fn wait(&self) -> io::Result<Ready> {
        let mut ready = Ready::default();
        let mut fds = vec![
            (
                &mut ready.control,
                PollFd::from_borrowed_fd(self.keeper.socket, PollFlags::IN),
            ),
            (
                &mut ready.children,
                PollFd::new(&self.children, PollFlags::IN),
            ),
        ];
        if let Some(pipe) = self.stdin.waiting() {
            fds.push((
                &mut ready.stdin,
                PollFd::from_borrowed_fd(pipe, PollFlags::OUT),
            ));
        }
        if let Some(pipe) = &self.stdout {
            fds.push((&mut ready.stdout, PollFd::new(pipe, PollFlags::IN)));
        }
        if let Some(pipe) = &self.stderr {
            fds.push((&mut ready.stderr, PollFd::new(pipe, PollFlags::IN)));
        }
        let (flags, mut polled): (Vec<_>, Vec<_>) = fds.into_iter().unzip();
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for (flag, fd) in flags.into_iter().zip(&polled) {
            *flag = !fd.revents().is_empty();
        }
        Ok(ready)
    }

    fn obey(&mut self) -> io::Result<()> {
        while let Some(message) = self.keeper.decoder.next_frame()? {
            match message {
                ToGuest::Stdin(chunk) => {
                    if self.stdin.put(chunk) {
                        self.keeper.send(&FromGuest::StdinTaken)?;
                    }
                }
                ToGuest::StdinClosed => self.stdin.close(),
                ToGuest::Signal(signal) => signal_group(self.pid, signal),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(())
    }

    /// Takes every child that ended. The end of the program is the end of everything it started.
    fn reap(&mut self) -> io::Result<()> {
        self.children.clear()?;
        loop {
            match wait_any() {
                Ok(None) => return Ok(()),
                Ok(Some(child)) if child.pid == self.pid => {
                    let (code, signal) = match child.exit {
                        ChildExit::Code(code) => (Some(code), None),
                        ChildExit::Signal(signal) => (None, Some(signal)),
                    };
                    self.ended = Some(Exited {
                        code,
                        signal,
                        cpu_us: child.cpu_us,
                        memory_peak_bytes: child.memory_peak_bytes,
                    });
                    signal_everyone();
                }
                Ok(Some(_)) => {}
                Err(error) if Errno::from_io_error(&error) == Some(Errno::CHILD) => {
                    self.childless = true;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Relays one chunk; gives the pipe back unless it ended.
fn relay_chunk(
    keeper: &Keeper<'_>,
    pipe: Option<OwnedFd>,
    message: impl FnOnce(Vec<u8>) -> FromGuest,
) -> io::Result<Option<OwnedFd>> {
    let Some(pipe) = pipe else { return Ok(None) };
    let mut buffer = vec![0; MAX_CHUNK_BYTES];
    match rustix::io::read(&pipe, &mut buffer) {
        Ok(0) => return Ok(None),
        Ok(count) => {
            buffer.truncate(count);
            keeper.send(&message(buffer))?;
        }
        Err(Errno::AGAIN | Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Some(pipe))
}

//! One program's streams, signals and end, between it and the keeper.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use casemate_frames::{
    Cell, Exec, ExecFailure, Exited, FromGuest, MAX_CHUNK_BYTES, PROTOCOL_VERSION, ToGuest, Window,
};
use casemate_sys::{ChildExit, SignalEvents, set_no_dump, signal_everyone, signal_group, wait_any};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{Pid, Signal},
};

use crate::{
    dying,
    interpreter::Interpreter,
    keeper::{self, Keeper},
    program::{self, Program, Streams},
    stdin::Stdin,
    terminal::Terminal,
};

/// Serves the control socket on standard input until the program has ended: a sandbox that is used once.
pub(crate) fn serve() -> io::Result<()> {
    set_no_dump()?;
    let mut keeper = Keeper::new(keeper::on_stdin()?);
    keeper.send(&FromGuest::Hello(PROTOCOL_VERSION))?;
    match keeper.wait()? {
        ToGuest::Exec(exec) => run_program(keeper, exec),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Runs a program to its end.
pub(crate) fn run_program(keeper: Keeper, exec: Exec) -> io::Result<()> {
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
        streams,
        terminal,
    } = program;
    Relay::new(keeper, children, streams, Task::Program { pid, terminal }).run()
}

/// Lets the interpreter run cells, to its end.
pub(crate) fn run_cell(keeper: Keeper, mut interpreter: Interpreter, cell: Cell) -> io::Result<()> {
    let children = SignalEvents::of_children()?;
    let streams = interpreter.take_streams().ok_or(io::ErrorKind::NotFound)?;
    keeper.send(&FromGuest::Started)?;
    interpreter.start(cell)?;
    Relay::new(keeper, children, streams, Task::Interpreter(interpreter)).run()
}

/// What runs.
enum Task {
    /// A child of ours.
    Program {
        pid: Pid,
        terminal: Option<Terminal>,
    },
    /// A child of the warm interpreter.
    Interpreter(Interpreter),
}

struct Relay {
    keeper: Keeper,
    children: SignalEvents,
    task: Task,
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
    said: bool,
    exit: bool,
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl Relay {
    fn new(keeper: Keeper, children: SignalEvents, streams: Streams, task: Task) -> Self {
        Self {
            keeper,
            children,
            stdin: Stdin::new(
                streams.stdin,
                matches!(
                    task,
                    Task::Program {
                        terminal: Some(_),
                        ..
                    }
                ),
            ),
            stdout: streams.stdout,
            stderr: streams.stderr,
            task,
            ended: None,
            childless: false,
        }
    }

    fn run(mut self) -> io::Result<()> {
        loop {
            self.obey()?;
            if let (Some(exited), true) = (self.ended, self.is_over()) {
                return self.keeper.send(&FromGuest::Exited(exited));
            }
            let ready = self.wait()?;
            if ready.control {
                self.keeper.read()?;
            }
            if ready.stdin && self.stdin.write() {
                self.keeper.send(&FromGuest::StdinTaken)?;
            }
            // Before its streams: what it says itself comes before what its children write, or it waits.
            if ready.said {
                self.hear()?;
                if let Some(exited) = self.quick_end()? {
                    return self.keeper.send(&FromGuest::Exited(exited));
                }
            }
            if ready.stdout {
                self.stdout = relay_chunk(&self.keeper, self.stdout.take(), FromGuest::Stdout)?;
            }
            if ready.stderr {
                self.stderr = relay_chunk(&self.keeper, self.stderr.take(), FromGuest::Stderr)?;
            }
            if ready.exit || self.is_orphan_dead() {
                self.bury()?;
            }
            if ready.children {
                self.reap()?;
            }
        }
    }

    /// Whether the interpreter has ended without anybody to say so.
    fn is_orphan_dead(&self) -> bool {
        let Task::Interpreter(interpreter) = &self.task else {
            return false;
        };
        self.ended.is_none() && interpreter.exit().is_none() && interpreter.socket().is_none()
    }

    /// Whether everything in here is dead, and all that was said is passed on.
    fn is_over(&self) -> bool {
        let silent = match &self.task {
            Task::Program { .. } => true,
            Task::Interpreter(interpreter) => interpreter.socket().is_none(),
        };
        silent && self.childless && self.stdout.is_none() && self.stderr.is_none()
    }

    fn wait(&self) -> io::Result<Ready> {
        let mut ready = Ready::default();
        let borrowed = PollFd::from_borrowed_fd;
        let mut fds = vec![
            (
                &mut ready.control,
                borrowed(self.keeper.socket(), PollFlags::IN),
            ),
            (
                &mut ready.children,
                PollFd::new(&self.children, PollFlags::IN),
            ),
        ];
        if let Task::Interpreter(interpreter) = &self.task {
            if let Some(socket) = interpreter.socket() {
                fds.push((&mut ready.said, borrowed(socket, PollFlags::IN)));
            }
            if let Some(exit) = interpreter.exit().filter(|_| self.ended.is_none()) {
                fds.push((&mut ready.exit, borrowed(exit, PollFlags::IN)));
            }
        }
        if let Some(pipe) = self.stdin.waiting() {
            fds.push((&mut ready.stdin, borrowed(pipe, PollFlags::OUT)));
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
        while let Some(message) = self.keeper.next()? {
            match message {
                ToGuest::Stdin(chunk) => {
                    if self.stdin.put(chunk) {
                        self.keeper.send(&FromGuest::StdinTaken)?;
                    }
                }
                ToGuest::StdinClosed => self.stdin.close(),
                ToGuest::Signal(signal) => self.signal(signal),
                ToGuest::Resize(window) => self.resize(window),
                ToGuest::Cell(cell) => match &mut self.task {
                    Task::Interpreter(interpreter) if !interpreter.is_busy() => {
                        // One that has died meanwhile is buried in its turn.
                        drop(interpreter.start(cell));
                    }
                    _ => return Err(io::ErrorKind::InvalidData.into()),
                },
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(())
    }

    fn signal(&self, signal: u8) {
        let group = match &self.task {
            Task::Program { pid, terminal } => terminal
                .as_ref()
                .and_then(Terminal::foreground)
                .unwrap_or(*pid),
            Task::Interpreter(interpreter) => interpreter.pid(),
        };
        signal_group(group, signal);
    }

    fn resize(&self, window: Window) {
        if let Task::Program {
            terminal: Some(terminal),
            ..
        } = &self.task
        {
            // A terminal whose program has gone needs no size.
            drop(terminal.resize(window));
        }
    }

    /// Passes on what the interpreter said.
    fn hear(&mut self) -> io::Result<()> {
        let Task::Interpreter(interpreter) = &mut self.task else {
            return Ok(());
        };
        interpreter.read()?;
        while let Some(said) = interpreter.next()? {
            if matches!(said, FromGuest::CellEnded(_)) {
                if !interpreter.freeze() {
                    // Its end is told when it is seen.
                    continue;
                }
                // What its children wrote before its end belongs to it.
                for (pipe, message) in [
                    (
                        &mut self.stdout,
                        FromGuest::Stdout as fn(Vec<u8>) -> FromGuest,
                    ),
                    (&mut self.stderr, FromGuest::Stderr),
                ] {
                    drain(&self.keeper, pipe, message)?;
                }
            }
            self.keeper.send(&said)?;
        }
        Ok(())
    }

    /// The end of an interpreter that announced it, when nothing is left that could act. All that was said is passed on.
    fn quick_end(&mut self) -> io::Result<Option<Exited>> {
        let Task::Interpreter(interpreter) = &mut self.task else {
            return Ok(None);
        };
        let Some(exited) = interpreter.ends() else {
            return Ok(None);
        };
        drain(&self.keeper, &mut self.stdout, FromGuest::Stdout)?;
        drain(&self.keeper, &mut self.stderr, FromGuest::Stderr)?;
        Ok(Some(exited))
    }

    /// Notes the end of the interpreter, which is the end of everything that it started.
    fn bury(&mut self) -> io::Result<()> {
        let Task::Interpreter(interpreter) = &mut self.task else {
            return Ok(());
        };
        if self.ended.is_none()
            && let Some(ended) = interpreter.ended()?
        {
            signal_everyone();
            self.ended = Some(ended);
            self.reap()?;
        }
        Ok(())
    }

    /// Takes every child that ended. The end of the program is the end of everything it started.
    fn reap(&mut self) -> io::Result<()> {
        self.children.clear()?;
        let program = match &self.task {
            Task::Program { pid, .. } => Some(*pid),
            Task::Interpreter(_) => None,
        };
        loop {
            match wait_any() {
                Ok(None) => return Ok(()),
                Ok(Some(child)) if Some(child.pid) == program => {
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
                    // An interpreter that still runs may start children yet, whose orphans are ours.
                    self.childless = self.ended.is_some();
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Kills the interpreter that is not needed after all. When this comes back, it can do nothing any more: whatever runs in the
/// place then is alone.
pub(crate) fn dismiss(interpreter: &Interpreter) -> io::Result<()> {
    signal_group(
        interpreter.pid(),
        u8::try_from(Signal::KILL.as_raw()).unwrap_or(9),
    );
    match dying::wait(interpreter.pid()) {
        true => Ok(()),
        false => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Relays everything that is in a pipe now.
fn drain(
    keeper: &Keeper,
    pipe: &mut Option<OwnedFd>,
    message: impl Fn(Vec<u8>) -> FromGuest,
) -> io::Result<()> {
    while let Some(fd) = pipe {
        if !has_bytes(rustix::fd::AsFd::as_fd(fd))? {
            return Ok(());
        }
        *pipe = relay_chunk(keeper, pipe.take(), &message)?;
    }
    Ok(())
}

fn has_bytes(pipe: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(rustix::io::ioctl_fionread(pipe)? > 0)
}

/// Relays one chunk; gives the pipe back unless it ended.
fn relay_chunk(
    keeper: &Keeper,
    pipe: Option<OwnedFd>,
    message: impl FnOnce(Vec<u8>) -> FromGuest,
) -> io::Result<Option<OwnedFd>> {
    let Some(pipe) = pipe else { return Ok(None) };
    let mut buffer = vec![0; MAX_CHUNK_BYTES];
    match rustix::io::read(&pipe, &mut buffer) {
        // A terminal nobody has open any more says EIO.
        Ok(0) | Err(Errno::IO) => return Ok(None),
        Ok(count) => {
            buffer.truncate(count);
            keeper.send(&message(buffer))?;
        }
        Err(Errno::AGAIN | Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Some(pipe))
}

//! Starting the program.

use std::{ffi::CString, io, os::fd::OwnedFd};

use casemate_frames::{Exec, Window};
use casemate_sys::{exec_path, exit_now, fork_process, reset_signals};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    process::Pid,
};

use crate::terminal::Terminal;

/// A program that runs.
pub(crate) struct Program {
    pub(crate) pid: Pid,
    pub(crate) streams: Streams,
    pub(crate) terminal: Option<Terminal>,
}

/// Our ends of a program's streams. They do not block.
pub(crate) struct Streams {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

/// Executes `exec` in a child with fresh streams, session and signals, or says why it cannot be executed.
pub(crate) fn start(exec: Exec) -> io::Result<Result<Program, Errno>> {
    let (Ok(argv), Ok(env)) = (strings(exec.argv), strings(exec.env)) else {
        return Ok(Err(Errno::INVAL));
    };
    let paths = candidates(&argv, &env);
    let (theirs, streams, terminal) = match exec.terminal {
        None => pipes()?,
        Some(window) => match on_terminal(window) {
            Ok(all) => all,
            Err(error) => return Ok(Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))),
        },
    };
    let (failure, failure_write) = pipe_with(PipeFlags::CLOEXEC)?;
    let Some(pid) = fork_process()? else {
        let error = become_program(&theirs, terminal.is_some(), || execute(&paths, &argv, &env));
        let errno = error.raw_os_error().unwrap_or(0).to_le_bytes();
        let _ = rustix::io::write(&failure_write, &errno);
        exit_now(127)
    };
    drop((theirs, failure_write));
    let mut errno = [0; 4];
    // Nothing comes, and the end, when the program was executed: the pipe closes with the old image.
    if rustix::io::read(&failure, &mut errno)? != 0 {
        return Ok(Err(Errno::from_raw_os_error(i32::from_le_bytes(errno))));
    }
    Ok(Ok(Program {
        pid,
        streams,
        terminal,
    }))
}

/// The program's ends of its streams: input, output, errors.
type Ends = [OwnedFd; 3];

fn pipes() -> io::Result<(Ends, Streams, Option<Terminal>)> {
    let (stdin_read, stdin) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stdout, stdout_write) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, stderr_write) = pipe_with(PipeFlags::CLOEXEC)?;
    for fd in [&stdin, &stdout, &stderr] {
        rustix::io::ioctl_fionbio(fd, true)?;
    }
    let streams = Streams {
        stdin: Some(stdin),
        stdout: Some(stdout),
        stderr: Some(stderr),
    };
    Ok(([stdin_read, stdout_write, stderr_write], streams, None))
}

fn on_terminal(window: Window) -> io::Result<(Ends, Streams, Option<Terminal>)> {
    let (terminal, slave) = Terminal::new(window)?;
    let streams = Streams {
        stdin: Some(terminal.master.try_clone()?),
        stdout: Some(terminal.master.try_clone()?),
        stderr: None,
    };
    let ends = [slave.try_clone()?, slave.try_clone()?, slave];
    Ok((ends, streams, Some(terminal)))
}

fn become_program(
    [stdin, stdout, stderr]: &Ends,
    on_terminal: bool,
    execute: impl FnOnce() -> io::Error,
) -> io::Error {
    let prepare = || -> io::Result<()> {
        rustix::stdio::dup2_stdin(stdin)?;
        rustix::stdio::dup2_stdout(stdout)?;
        rustix::stdio::dup2_stderr(stderr)?;
        rustix::process::setsid()?;
        if on_terminal {
            rustix::process::ioctl_tiocsctty(stdin)?;
        }
        reset_signals();
        // The kernel should choose the program before the guest when memory runs out.
        let oom = rustix::fs::open(
            "/proc/self/oom_score_adj",
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let _ = oom.and_then(|file| rustix::io::write(file, b"1000"));
        Ok(())
    };
    prepare().err().unwrap_or_else(execute)
}

/// Tries each path in turn, as a shell does: what cannot be executed wins over what is not there.
fn execute(paths: &[CString], argv: &[CString], env: &[CString]) -> io::Error {
    let mut worst = io::Error::from(Errno::NOENT);
    for path in paths {
        let error = exec_path(path, argv, env);
        match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NOTDIR) => {}
            Some(Errno::ACCESS) => worst = error,
            _ => return error,
        }
    }
    worst
}

/// Where the command may be: itself if it has a slash, else in each directory of `PATH`.
fn candidates(argv: &[CString], env: &[CString]) -> Vec<CString> {
    let Some(command) = argv.first().map(|command| command.to_bytes()) else {
        return Vec::new();
    };
    if command.is_empty() {
        return Vec::new();
    }
    if command.contains(&b'/') {
        return argv.first().cloned().into_iter().collect();
    }
    let path = env
        .iter()
        .find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
    path.unwrap_or(b"/usr/bin")
        .split(|byte| *byte == b':')
        .filter(|directory| !directory.is_empty())
        .filter_map(|directory| CString::new([directory, b"/", command].concat()).ok())
        .collect()
}

fn strings(items: Vec<Vec<u8>>) -> Result<Vec<CString>, std::ffi::NulError> {
    items.into_iter().map(CString::new).collect()
}

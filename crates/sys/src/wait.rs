//! Children that ended.

use std::{io, mem};

use rustix::process::Pid;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildExit {
    /// With this exit code.
    Code(u8),
    /// By this signal.
    Signal(u8),
}

/// A child that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitedChild {
    /// Which.
    pub pid: Pid,
    /// How.
    pub exit: ChildExit,
    /// CPU time of it and of the children it waited for, in microseconds.
    pub cpu_us: u64,
    /// The largest resident memory of one of them, in bytes.
    pub memory_peak_bytes: u64,
}

/// Takes one child that has ended, if there is one.
///
/// # Errors
/// `ECHILD` when there are no children at all.
pub fn wait_any() -> io::Result<Option<WaitedChild>> {
    let mut status = 0;
    // SAFETY: a `rusage` of zeros is a valid value.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    // SAFETY: both pointers are to writable values of the right type.
    let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    let Some(pid) = Pid::from_raw(pid) else {
        return Ok(None);
    };
    let byte = |value: libc::c_int| u8::try_from(value).unwrap_or(u8::MAX);
    let exit = if libc::WIFSIGNALED(status) {
        ChildExit::Signal(byte(libc::WTERMSIG(status)))
    } else {
        ChildExit::Code(byte(libc::WEXITSTATUS(status)))
    };
    let us = |time: libc::timeval| {
        let (seconds, rest) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_usec));
        seconds
            .unwrap_or(0)
            .saturating_mul(1_000_000)
            .saturating_add(rest.unwrap_or(0))
    };
    Ok(Some(WaitedChild {
        pid,
        exit,
        cpu_us: us(usage.ru_utime).saturating_add(us(usage.ru_stime)),
        memory_peak_bytes: u64::try_from(usage.ru_maxrss)
            .unwrap_or(0)
            .saturating_mul(1024),
    }))
}

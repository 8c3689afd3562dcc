//! A new network namespace with its loopback interface.
//!
//! To make one takes the kernel longer than everything else of a sandbox, so that a process of its own makes it
//! while the mounts are made.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
};

use rustix::{
    net::{AddressFamily, SocketType, socket},
    pipe::{PipeFlags, pipe_with},
    process::{WaitId, WaitIdOptions, waitid},
};

use crate::{Forked, Namespaces, clone_process, exit_now};

/// A network namespace in the making. The process that makes it is killed with this value.
#[derive(Debug)]
pub struct PendingNetwork {
    process: OwnedFd,
    result: OwnedFd,
    /// The maker lives until this is closed.
    hold: Option<OwnedFd>,
}

impl PendingNetwork {
    /// Starts to make a network namespace with `lo` up and nothing else, owned by the user namespace of this
    /// process, which must have one thread.
    ///
    /// # Errors
    /// As [`clone_process`].
    pub fn start() -> io::Result<Self> {
        let (result, result_write) = pipe_with(PipeFlags::CLOEXEC)?;
        let (hold_read, hold) = pipe_with(PipeFlags::CLOEXEC)?;
        match clone_process(Namespaces::NONE, None)? {
            Forked::Parent(_, process) => Ok(Self {
                process,
                result,
                hold: Some(hold),
            }),
            Forked::Child => {
                drop(hold);
                let errno = make()
                    .err()
                    .map_or(0, |error| error.raw_os_error().unwrap_or(-1));
                let _ = rustix::io::write(&result_write, &errno.to_le_bytes());
                // Nothing comes: it ends when the other end is closed.
                let _ = rustix::io::read(&hold_read, &mut [0; 1]);
                exit_now(0)
            }
        }
    }

    /// Waits for the namespace and enters it.
    ///
    /// # Errors
    /// What the maker met, or the kernel's answer.
    pub fn enter(mut self) -> io::Result<()> {
        let mut errno = [0; 4];
        if rustix::io::read(&self.result, &mut errno)? != errno.len() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match i32::from_le_bytes(errno) {
            0 => {}
            errno => return Err(io::Error::from_raw_os_error(errno)),
        }
        enter_network(self.process.as_fd())?;
        self.hold = None;
        Ok(())
    }
}

impl Drop for PendingNetwork {
    fn drop(&mut self) {
        self.hold = None;
        let _ = waitid(WaitId::PidFd(self.process.as_fd()), WaitIdOptions::EXITED);
    }
}

fn make() -> io::Result<()> {
    // SAFETY: unsharing the network namespace changes nothing that Rust or libc rely on.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    bring_loopback_up()
}

/// Enters the network of `namespace`: a namespace, or a process's pidfd.
///
/// # Errors
/// The kernel's answer.
pub fn enter_network(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: entering a network namespace changes nothing that Rust or libc rely on.
    if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Brings the loopback interface of this network namespace up.
///
/// # Errors
/// The kernel's answer.
pub fn bring_loopback_up() -> io::Result<()> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: an `ifreq` of zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    #[expect(clippy::cast_possible_truncation, reason = "the flags have 16 bits")]
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    request.ifr_ifru.ifru_flags = flags;
    // SAFETY: `request` is a valid `ifreq` that outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

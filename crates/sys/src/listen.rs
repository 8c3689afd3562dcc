//! Sockets that whoever started this process listens on already, as systemd hands them over (`sd_listen_fds`).

use std::{
    env, io,
    os::fd::{FromRawFd as _, OwnedFd},
    process,
    sync::atomic::{AtomicBool, Ordering},
};

/// The first of them.
const FIRST: i32 = 3;
/// More than anybody hands over.
const MOST: i32 = 16;

/// Takes the sockets that were handed to this process, in their order; none if there are none, or they were for another process.
/// They are there once: who asks again gets none. They close when a file is executed.
///
/// # Errors
/// When what the environment says is not so: nothing is taken then.
pub fn take_listening_sockets() -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let number = |name: &str| env::var(name).ok()?.parse::<i32>().ok();
    if number("LISTEN_PID").map(i64::from) != Some(i64::from(process::id())) {
        return Ok(Vec::new());
    }
    let count = number("LISTEN_FDS").unwrap_or(0);
    if !(0..=MOST).contains(&count) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    for fd in FIRST..FIRST + count {
        // SAFETY: looks at a number, and changes a flag of what it names if it names something.
        let set = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        if set < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let take = |fd| {
        // SAFETY: it is open, as was just seen. It was open when this process was executed, for `LISTEN_PID` names this
        // process: nothing that was opened here has its number, and so nobody here owns it. It is taken once.
        unsafe { OwnedFd::from_raw_fd(fd) }
    };
    Ok((FIRST..FIRST + count).map(take).collect())
}

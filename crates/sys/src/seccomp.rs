//! Seccomp filters and their notifications (`seccomp(2)`, `seccomp_unotify(2)`).

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use rustix::process::Pid;

/// One instruction of classic BPF: operation, jump if true, jump if false, operand.
pub type Instruction = (u16, u8, u8, u32);

/// A system call that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Names this notification in the answer.
    pub id: u64,
    /// The thread that called, if it is visible from here.
    pub pid: Option<Pid>,
    /// The number of the system call.
    pub number: u32,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// What a waiting system call is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotificationReply {
    /// It fails with this error number.
    Refuse(i32),
    /// The kernel does what it would have done. Only for calls whose answer does not protect anything:
    /// their arguments may have changed since they were looked at.
    Continue,
}

/// Installs `program` for this thread and everything it starts, and returns the descriptor on which its
/// notifications arrive. `no_new_privs` must be set.
///
/// # Errors
/// `EINVAL` when the program is too long or not valid; else the kernel's answer.
pub fn install_filter(program: &[Instruction]) -> io::Result<OwnedFd> {
    // Whoever was heard is held until it is answered: no signal but the one that kills takes it out of its call.
    let held =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let fd = match install(program, held) {
        // Linux before 5.19 does not have it.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            install(program, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?
        }
        installed => installed?,
    };
    // SAFETY: the kernel has just given this descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Installs `program`, none of whose answers is a notification, for this thread and everything it starts.
/// `no_new_privs` must be set.
///
/// # Errors
/// As [`install_filter`].
pub fn install_silent_filter(program: &[Instruction]) -> io::Result<()> {
    install(program, 0).map(drop)
}

/// What the kernel answers: a descriptor, if one was asked for.
fn install(program: &[Instruction], flags: libc::c_ulong) -> io::Result<RawFd> {
    let instructions: Vec<libc::sock_filter> = program
        .iter()
        .map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k })
        .collect();
    let len = u16::try_from(instructions.len())
        .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let filter = libc::sock_fprog {
        len,
        filter: instructions.as_ptr().cast_mut(),
    };
    // SAFETY: `filter` describes instructions that outlive the call; the kernel does not write there.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const filter,
        )
    };
    match i32::try_from(answer) {
        Ok(answer) if answer >= 0 => Ok(answer),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes the next notification.
///
/// # Errors
/// `ENOENT` when the caller is gone already: go on with the next; else the kernel's answer.
pub fn receive_notification(listener: BorrowedFd<'_>) -> io::Result<Notification> {
    // SAFETY: a `seccomp_notif` of zeros is a valid value, and the kernel demands one.
    let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: `raw` is a writable `seccomp_notif`.
    let result =
        unsafe { libc::ioctl(listener.as_raw_fd(), SECCOMP_IOCTL_NOTIF_RECV, &raw mut raw) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Notification {
        id: raw.id,
        pid: i32::try_from(raw.pid).ok().and_then(Pid::from_raw),
        number: raw.data.nr.unsigned_abs(),
        arguments: raw.data.args,
    })
}

/// Answers the notification `id`.
///
/// # Errors
/// `ENOENT` when the caller is gone; else the kernel's answer.
pub fn reply_to_notification(
    listener: BorrowedFd<'_>,
    id: u64,
    reply: NotificationReply,
) -> io::Result<()> {
    let (error, flags) = match reply {
        NotificationReply::Refuse(errno) => (-errno.abs(), 0),
        NotificationReply::Continue => (0, SECCOMP_USER_NOTIF_FLAG_CONTINUE),
    };
    let raw = libc::seccomp_notif_resp {
        id,
        val: 0,
        error,
        flags,
    };
    // SAFETY: `raw` is a valid `seccomp_notif_resp`.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            SECCOMP_IOCTL_NOTIF_SEND,
            &raw const raw,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

// linux/seccomp.h; the same on x86-64, AArch64 and RISC-V.
const SECCOMP_IOCTL_NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const SECCOMP_IOCTL_NOTIF_SEND: libc::c_ulong = 0xc018_2101;
const SECCOMP_USER_NOTIF_FLAG_CONTINUE: u32 = 1;

#[cfg(test)]
mod tests {
    use std::{os::fd::AsFd as _, sync::mpsc, thread, time::Duration};

    use super::*;

    extern "C" fn nothing(_: libc::c_int) {}

    /// R209: a signal does not take the caller out of a call that was heard of: it waits for its answer.
    #[test]
    fn a_signal_does_not_end_the_wait_for_an_answer() {
        let watched = u32::try_from(libc::SYS_getpriority).unwrap();
        let program = [
            (0x20, 0, 0, 0),
            (0x15, 0, 1, watched),
            (0x06, 0, 0, 0x7fc0_0000),
            (0x06, 0, 0, 0x7fff_0000),
        ];
        // SAFETY: a `sigaction` of zeros is a valid value.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = nothing as *const () as usize;
        // SAFETY: `action` is valid, and its handler does nothing.
        let set =
            unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
        assert_eq!(set, 0);
        let (sender, made) = mpsc::channel();
        let caller = thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            sender.send(install_filter(&program).unwrap()).unwrap();
            // SAFETY: the call touches no memory.
            let result = unsafe { libc::syscall(libc::SYS_getpriority, 0, 0) };
            (result, io::Error::last_os_error().raw_os_error())
        });
        let listener = made.recv().unwrap();
        let heard = receive_notification(listener.as_fd()).unwrap();
        let thread = heard.pid.unwrap().as_raw_nonzero().get();
        let process = std::process::id();
        // SAFETY: it is a thread of this process, which has a handler.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR1) };
        assert_eq!(sent, 0);
        // Long enough for one that is taken out to be gone.
        thread::sleep(Duration::from_millis(50));
        let refused = NotificationReply::Refuse(libc::EACCES);
        let answered = reply_to_notification(listener.as_fd(), heard.id, refused);
        assert_eq!(caller.join().unwrap(), (-1, Some(libc::EACCES)));
        answered.unwrap();
    }
}

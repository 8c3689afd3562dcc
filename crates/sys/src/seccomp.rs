//! Seccomp filters and their notifications (`seccomp(2)`, `seccomp_unotify(2)`).

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
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
    // SAFETY: `filter` describes `instructions`, which outlives the call; the kernel does not write there.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const filter,
        )
    };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just given this descriptor to us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
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

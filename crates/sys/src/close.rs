//! Closing what the kernel is slow to close.

use std::{
    mem::ManuallyDrop,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    ptr,
};

use crate::{clone::close_range, exec::exit_now};

/// More than the few calls of the process need.
const STACK_BYTES: usize = 16 << 10;

/// A descriptor that is closed in a process of its own, for which nobody waits. The last close of an inotify descriptor waits until no
/// processor looks at its watches any more: ten milliseconds, and far more where there is much to do.
///
/// The process is reaped when this one has ended, so this is for what a process has one of. Where there can be no process, it is closed
/// here.
#[derive(Debug)]
pub struct SlowFd(ManuallyDrop<OwnedFd>);

impl From<OwnedFd> for SlowFd {
    fn from(fd: OwnedFd) -> Self {
        Self(ManuallyDrop::new(fd))
    }
}

impl AsFd for SlowFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for SlowFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Drop for SlowFd {
    fn drop(&mut self) {
        let mut stack = vec![0_u128; STACK_BYTES / size_of::<u128>()];
        let fd = self.as_raw_fd().unsigned_abs() as usize;
        let top = stack.as_mut_ptr_range().end.cast();
        let flags = libc::CLONE_VM | libc::CLONE_VFORK;
        // SAFETY: the process runs `close_all`, which makes system calls and nothing else, on a stack of its own that is aligned and
        // grows downwards from its end. With CLONE_VFORK this thread goes on when the process has given up its memory, which is
        // before its descriptors are closed. A handler of a signal that runs there may run at any time here, too.
        unsafe {
            libc::clone(close_all, top, flags, ptr::without_provenance_mut(fd));
        }
        // SAFETY: it is not used after this.
        unsafe {
            ManuallyDrop::drop(&mut self.0);
        }
    }
}

/// What the process does: it lets go of all that others may wait for, and of the one that is slow last.
extern "C" fn close_all(slow: *mut libc::c_void) -> libc::c_int {
    let slow = u32::try_from(slow.addr()).unwrap_or_default();
    if slow > 0 {
        let _ = close_range(0, slow - 1);
    }
    let _ = close_range(slow.saturating_add(1), u32::MAX);
    exit_now(0)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read as _, Write as _};

    use super::*;

    /// It is closed, and nothing else: neither here nor, for who waits for its end, there.
    #[test]
    fn one_is_closed_and_the_others_stay() {
        let (mut ended, slow) = io::pipe().unwrap();
        let (mut other, mut kept) = io::pipe().unwrap();
        drop(SlowFd::from(OwnedFd::from(slow)));
        assert_eq!(ended.read(&mut [0]).unwrap(), 0);
        kept.write_all(b"x").unwrap();
        assert_eq!(other.read(&mut [0]).unwrap(), 1);
        drop(kept);
        assert_eq!(other.read(&mut [0]).unwrap(), 0);
    }
}

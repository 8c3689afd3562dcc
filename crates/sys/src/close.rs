//! Closing what the kernel is slow to close.

use std::{
    mem::ManuallyDrop,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
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

/// What the process is told: which of its descriptors is slow, and which one ends when the owner has closed its own.
struct Told {
    slow: u32,
    closed: u32,
}

impl Drop for SlowFd {
    fn drop(&mut self) {
        let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        if let Ok((closed, _owner)) = &pipe {
            let told = Told {
                slow: self.as_raw_fd().unsigned_abs(),
                closed: closed.as_raw_fd().unsigned_abs(),
            };
            // Kept for good: the process may need them for longer than anybody here knows.
            let told: *mut Told = Box::leak(Box::new(told));
            let stack = Vec::leak(vec![0_u128; STACK_BYTES / size_of::<u128>()]);
            let top = stack.as_mut_ptr_range().end.cast();
            // SAFETY: the process runs `close_all`, which reads what it is told and makes system calls that cannot fail, on a stack of
            // its own that is aligned and grows downwards from its end; neither is ever freed. Its descriptors are copies.
            unsafe {
                libc::clone(close_all, top, libc::CLONE_VM, told.cast());
            }
        }
        // SAFETY: it is not used after this.
        unsafe {
            ManuallyDrop::drop(&mut self.0);
        }
        // This ends the wait of the process, which now closes the descriptor as the last.
        drop(pipe);
    }
}

/// What the process does: it lets go of all that others may wait for, waits until its owner has closed what is slow, and ends.
extern "C" fn close_all(told: *mut libc::c_void) -> libc::c_int {
    // SAFETY: it is what `drop` has leaked, and nobody writes to it.
    let told = unsafe { &*told.cast::<Told>() };
    let (low, high) = (told.slow.min(told.closed), told.slow.max(told.closed));
    for (first, after) in [(0, low), (low + 1, high), (high + 1, u32::MAX)] {
        if first < after {
            let _ = close_range(first, after - 1);
        }
    }
    let mut byte = 0_u8;
    // SAFETY: one byte is written to `byte` at most.
    unsafe {
        libc::syscall(libc::SYS_read, told.closed, &raw mut byte, 1);
    }
    exit_now(0)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read as _, Write as _};

    use super::*;

    /// It is closed, and nothing else, neither here nor, for who waits for its end, there; and the process that did it ended well.
    #[test]
    fn a_process_closes_one_and_the_others_stay() {
        let (mut ended, slow) = io::pipe().unwrap();
        let (mut other, mut kept) = io::pipe().unwrap();
        drop(SlowFd::from(OwnedFd::from(slow)));
        assert_eq!(ended.read(&mut [0]).unwrap(), 0);
        kept.write_all(b"x").unwrap();
        assert_eq!(other.read(&mut [0]).unwrap(), 1);
        drop(kept);
        assert_eq!(other.read(&mut [0]).unwrap(), 0);
        let mut status = -1;
        // SAFETY: the status is written to a variable that lives. Only children that tell nobody of their end are waited for.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WCLONE) };
        assert!(pid > 0);
        assert_eq!(status, 0);
    }
}

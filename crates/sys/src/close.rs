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
        // Kept for good: the process may use its stack for longer than this.
        let stack = Vec::leak(vec![0_u128; STACK_BYTES / size_of::<u128>()]);
        let pair = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        if let Ok((gone, _here)) = pair.as_ref() {
            let both = [self.as_raw_fd(), gone.as_raw_fd()].map(i32::unsigned_abs);
            let both = (both[0] as usize) << 32 | both[1] as usize;
            let top = stack.as_mut_ptr_range().end.cast();
            let arg = ptr::without_provenance_mut(both);
            // SAFETY: the process runs `close_all`, which makes system calls that cannot fail and nothing else, on a stack of its own
            // that is aligned, grows downwards from its end, and is never freed. It has descriptors of its own.
            unsafe {
                libc::clone(close_all, top, libc::CLONE_VM, arg);
            }
        }
        // SAFETY: it is not used after this.
        unsafe {
            ManuallyDrop::drop(&mut self.0);
        }
        // Now the pipe ends, and with it the process, which closes the descriptor last.
        drop(pair);
    }
}

/// What the process does: it lets go of all that others may wait for, waits until the other one has closed what is slow, and ends.
extern "C" fn close_all(both: *mut libc::c_void) -> libc::c_int {
    let both = both.addr() as u64;
    let half = |half: u64| u32::try_from(half & u64::from(u32::MAX)).unwrap_or_default();
    let (slow, gone) = (half(both >> 32), half(both));
    let (low, high) = (slow.min(gone), slow.max(gone));
    if low > 0 {
        let _ = close_range(0, low - 1);
    }
    if high - low > 1 {
        let _ = close_range(low + 1, high - 1);
    }
    let _ = close_range(high.saturating_add(1), u32::MAX);
    let mut byte = 0_u8;
    // SAFETY: one byte is written to `byte` at most.
    unsafe {
        libc::syscall(libc::SYS_read, gone, &raw mut byte, 1);
    }
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

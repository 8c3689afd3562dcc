//! The memory of another process.

use std::io;

use rustix::process::Pid;

/// Reads up to `buffer.len()` bytes at `address` of the process `pid`; returns how many were read.
///
/// What is read belongs to that process, which can change it at any time: use it to report, never to allow.
///
/// # Errors
/// When this process may not look into that one, or the address is not mapped.
pub fn read_process_memory(pid: Pid, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let address = usize::try_from(address).map_err(io::Error::other)?;
    let remote = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address),
        iov_len: buffer.len(),
    };
    // SAFETY: `local` describes `buffer`, which is ours and writable; the kernel checks `remote`.
    let read = unsafe {
        libc::process_vm_readv(
            pid.as_raw_nonzero().get(),
            &raw const local,
            1,
            &raw const remote,
            1,
            0,
        )
    };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

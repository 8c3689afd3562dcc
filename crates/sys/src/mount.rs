//! Attributes of mounts.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// Attributes to set on a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountAttributes {
    /// Nothing can be written.
    pub read_only: bool,
    /// Nothing can be executed.
    pub no_exec: bool,
    /// Device files do not work.
    pub no_devices: bool,
}

const MOUNT_ATTR_RDONLY: u64 = 1;
const MOUNT_ATTR_NOSUID: u64 = 2;
const MOUNT_ATTR_NODEV: u64 = 4;
const MOUNT_ATTR_NOEXEC: u64 = 8;

/// Sets `attributes`, and always `nosuid`, on the mount at `fd` and on every mount below it; what is not
/// named stays as it was (Linux 5.12).
///
/// # Errors
/// The kernel's answer.
pub fn set_mount_attributes(fd: BorrowedFd<'_>, attributes: MountAttributes) -> io::Result<()> {
    let flag = |wanted, bit| if wanted { bit } else { 0 };
    let request = libc::mount_attr {
        attr_set: MOUNT_ATTR_NOSUID
            | flag(attributes.read_only, MOUNT_ATTR_RDONLY)
            | flag(attributes.no_exec, MOUNT_ATTR_NOEXEC)
            | flag(attributes.no_devices, MOUNT_ATTR_NODEV),
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: `request` is a valid `mount_attr` of the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const request,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

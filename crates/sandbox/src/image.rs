//! The guest's executable, in memory that nobody can change.

use std::{io, os::fd::OwnedFd};

use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    io::Errno,
};

/// Its bytes.
pub(crate) static GUEST: &[u8] = include_bytes!(env!("CASEMATE_GUEST"));

/// A file with the guest that nobody can write to.
pub(crate) fn sealed() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match memfd_create(c"casemate-guest", flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 every such file was executable.
        Err(Errno::INVAL) => memfd_create(c"casemate-guest", flags)?,
        result => result?,
    };
    let mut rest = GUEST;
    while !rest.is_empty() {
        let count = rustix::io::write(&file, rest)?;
        rest = rest.get(count..).unwrap_or_default();
    }
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(&file, seals)?;
    Ok(file)
}

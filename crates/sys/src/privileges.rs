//! Giving up privileges for good.

use std::io;

use rustix::{
    process::DumpableBehavior,
    thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets},
};

/// Gives up every capability and every way to get one back: bounding, ambient, permitted, effective and
/// inheritable sets are empty, root's special treatment is locked off, and `no_new_privs` is set.
///
/// # Errors
/// The kernel's answer.
pub fn drop_capabilities() -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    rustix::thread::set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )?;
    drop_sets()
}

/// The same on a kernel that has neither ambient capabilities nor secure bits, for a user who is not root: bounding,
/// permitted, effective and inheritable sets are empty, and `no_new_privs` is set.
///
/// # Errors
/// The kernel's answer.
pub fn drop_capabilities_of_user() -> io::Result<()> {
    match rustix::thread::clear_ambient_capability_set() {
        // It does not know them.
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    drop_sets()
}

fn drop_sets() -> io::Result<()> {
    for capability in 0..64 {
        // SAFETY: PR_CAPBSET_DROP takes a number and touches no memory of ours.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::EINVAL) => break,
                error => return Err(error),
            }
        }
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

/// Keeps only `capabilities`, and passes them on to whatever this process executes.
///
/// # Errors
/// The kernel's answer.
pub fn keep_capabilities(capabilities: CapabilitySet) -> io::Result<()> {
    let sets = CapabilitySets {
        effective: capabilities,
        permitted: capabilities,
        inheritable: capabilities,
    };
    rustix::thread::set_capabilities(None, sets)?;
    for capability in capabilities.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)?;
    }
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

/// Makes this process unreadable for others of the same user: no ptrace, no `/proc/PID/mem`, no core dump.
/// Executing a file undoes it.
///
/// # Errors
/// The kernel's answer.
pub fn set_no_dump() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(
        DumpableBehavior::NotDumpable,
    )?)
}

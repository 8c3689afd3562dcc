//! What the process of identity may do.

use casemate_sys::{
    LandlockRule, LandlockScope, LandlockStatus, drop_capabilities, install_filter,
    keep_capabilities, restrict_files,
};
use rustix::thread::CapabilitySet;

use crate::{RestrictError, seccomp};

/// Takes every capability, every file but those of `files`, and every system call from this process and its threads, but for what it
/// takes to keep credentials and to fetch tokens. It must have one thread.
///
/// # Errors
/// Names the layer that could not be put in force.
pub fn restrict_identity(files: &[LandlockRule<'_>]) -> Result<LandlockStatus, RestrictError> {
    let during = |step| move |source| RestrictError { step, source };
    // Whoever is nobody has none, and may not lower what could be got: `no_new_privs` sees to it that none is.
    drop_capabilities()
        .or_else(|_| keep_capabilities(CapabilitySet::empty()))
        .map_err(during("drop capabilities"))?;
    let scope = LandlockScope::SocketsAndSignals;
    let landlock = restrict_files(files, scope).map_err(during("restrict files"))?;
    let listener = install_filter(seccomp::IDENTITY).map_err(during("restrict system calls"))?;
    // Nobody is asked about anything: a test sees to it that no call of the table waits for an answer.
    drop(listener);
    Ok(landlock)
}

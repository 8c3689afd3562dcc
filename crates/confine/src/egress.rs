//! What the process of egress may do.

use casemate_sys::{
    LandlockScope, LandlockStatus, drop_capabilities, install_filter, restrict_files,
};

use crate::{RestrictError, seccomp};

/// Takes every capability, every file and every system call from this process, but for what it takes to serve connections.
/// What is open stays so. It must have one thread.
///
/// # Errors
/// Names the layer that could not be put in force.
pub fn restrict_egress() -> Result<LandlockStatus, RestrictError> {
    let during = |step| move |source| RestrictError { step, source };
    drop_capabilities().map_err(during("drop capabilities"))?;
    let scope = LandlockScope::SocketsAndSignals;
    let landlock = restrict_files(&[], scope).map_err(during("restrict files"))?;
    let listener = install_filter(seccomp::EGRESS).map_err(during("restrict system calls"))?;
    // Nobody is asked about anything: a test sees to it that no call of the table waits for an answer.
    drop(listener);
    Ok(landlock)
}

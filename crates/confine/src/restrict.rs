//! Giving up every privilege, for good.

use std::{error::Error, fmt, io, os::fd::OwnedFd};

use casemate_sys::{
    LandlockScope, LandlockStatus, drop_capabilities, drop_capabilities_of_user, install_filter,
    install_silent_filter, restrict_files,
};

use crate::{files::LANDLOCK, seccomp};

/// Which processes outside of its own Landlock domain a program may reach, where no namespace is in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbours {
    /// None.
    None,
    /// Those of its own pid namespace may get signals from it: the first process of a call, which ends the
    /// interpreter beside it.
    Signals,
}

/// A process that was restricted.
#[derive(Debug)]
pub struct Restricted {
    /// How much of the rules on files this kernel enforces.
    pub landlock: LandlockStatus,
    /// Where refused system calls are reported.
    pub listener: OwnedFd,
}

/// A layer that could not be put in force. Nothing may run then.
#[derive(Debug)]
pub struct RestrictError {
    /// The layer.
    pub step: &'static str,
    /// The system's answer.
    pub source: io::Error,
}

impl fmt::Display for RestrictError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.step)
    }
}

impl Error for RestrictError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// Takes every capability, every file and every system call from this process and all that it starts, but for
/// what the tables allow.
///
/// # Errors
/// Names the layer that could not be put in force.
pub fn restrict(neighbours: Neighbours) -> Result<Restricted, RestrictError> {
    let during = |step| move |source| RestrictError { step, source };
    let scope = match neighbours {
        Neighbours::None => LandlockScope::SocketsAndSignals,
        Neighbours::Signals => LandlockScope::Sockets,
    };
    drop_capabilities().map_err(during("drop capabilities"))?;
    let landlock = restrict_files(LANDLOCK, scope).map_err(during("restrict files"))?;
    let listener = install_filter(seccomp::PROGRAM).map_err(during("restrict system calls"))?;
    Ok(Restricted { landlock, listener })
}

/// The same on a kernel of the sandbox's own that knows no rules on files and reports to nobody: capabilities and system
/// calls are taken away, and what would be reported is refused.
///
/// # Errors
/// Names the layer that could not be put in force.
pub fn restrict_unheard() -> Result<(), RestrictError> {
    let during = |step| move |source| RestrictError { step, source };
    drop_capabilities_of_user().map_err(during("drop capabilities"))?;
    install_silent_filter(seccomp::UNHEARD).map_err(during("restrict system calls"))
}

//! Landlock rules on files, for this thread and everything it starts.

use std::{
    ffi::{CStr, OsStr},
    io,
    os::unix::ffi::OsStrExt as _,
};

use ::landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};

/// What may be done below a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LandlockRule<'a> {
    /// List directories.
    List(&'a CStr),
    /// Read and execute.
    Execute(&'a CStr),
    /// Read and write files and devices that exist.
    Devices(&'a CStr),
    /// Everything.
    Write(&'a CStr),
}

/// How much of the rules the kernel enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LandlockStatus {
    /// Everything that this build of Casemate asks for.
    Full,
    /// What an older kernel knows.
    Partial,
    /// Nothing: the kernel has no Landlock.
    None,
}

/// Which processes outside its own domain a process cannot reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LandlockScope {
    /// No abstract socket and no signal reaches them.
    SocketsAndSignals,
    /// No abstract socket reaches them.
    Sockets,
}

/// The newest ABI whose rights are asked for (Linux 6.12).
const WANTED: ABI = ABI::V6;

/// The kernel's Landlock ABI; 0 when it has none.
#[must_use]
pub fn landlock_abi() -> u32 {
    const VERSION: libc::c_ulong = 1;
    // SAFETY: with a null attribute and the version flag, the call only returns a number.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            VERSION,
        )
    };
    u32::try_from(abi).unwrap_or(0)
}

/// Forbids everything with files but what `rules` allow, and what `scope` says to processes outside. Sets `no_new_privs`. Paths that do not exist are passed over.
///
/// # Errors
/// When the kernel has Landlock but refuses a rule.
pub fn restrict_files(
    rules: &[LandlockRule<'_>],
    scope: LandlockScope,
) -> io::Result<LandlockStatus> {
    let scope: BitFlags<Scope> = match scope {
        LandlockScope::SocketsAndSignals => Scope::AbstractUnixSocket | Scope::Signal,
        LandlockScope::Sockets => Scope::AbstractUnixSocket.into(),
    };
    let execute = AccessFs::from_read(WANTED);
    let devices = AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::IoctlDev;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))
        .and_then(|ruleset| ruleset.scope(scope))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    for rule in rules {
        let (path, access): (_, BitFlags<AccessFs>) = match rule {
            LandlockRule::List(path) => (path, AccessFs::ReadDir.into()),
            LandlockRule::Execute(path) => (path, execute),
            LandlockRule::Devices(path) => (path, devices),
            LandlockRule::Write(path) => (path, AccessFs::from_all(WANTED)),
        };
        let Ok(fd) = PathFd::new(OsStr::from_bytes(path.to_bytes())) else {
            continue;
        };
        ruleset = ruleset
            .add_rule(PathBeneath::new(fd, access))
            .map_err(io::Error::other)?;
    }
    let status = ruleset.restrict_self().map_err(io::Error::other)?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => LandlockStatus::Full,
        RulesetStatus::PartiallyEnforced => LandlockStatus::Partial,
        RulesetStatus::NotEnforced => LandlockStatus::None,
    })
}

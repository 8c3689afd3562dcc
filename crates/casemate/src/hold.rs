//! One server, and one gateway, for a state directory.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::anyhow;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::report::Failure;

/// The most bytes of a process number that are read.
const MAX_PID_BYTES: u64 = 16;

/// Who can have a state directory for itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    /// Who looks after a gateway.
    Up,
    /// Who decides, and says which sessions and egress nobody remembers.
    Gateway,
}

impl Role {
    const fn file(self) -> &'static str {
        match self {
            Self::Up => "up.lock",
            Self::Gateway => "gateway.lock",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Up => "`casemate up`",
            Self::Gateway => "gateway",
        }
    }
}

/// A state directory that is this process's. The kernel gives it back when this process dies, however it does.
#[derive(Debug)]
pub(crate) struct Hold {
    _file: File,
}

/// Why it is not.
#[derive(Debug)]
pub(crate) enum NotHeld {
    /// Another has it.
    Taken(Failure),
    /// Nobody can tell.
    Failed(Failure),
}

impl NotHeld {
    /// For people.
    pub(crate) fn explained(self) -> Failure {
        match self {
            Self::Taken(failure) | Self::Failed(failure) => failure,
        }
    }
}

impl Hold {
    /// Takes the directory.
    ///
    /// # Errors
    /// When another has it, who is named.
    pub(crate) fn take(root: &Path, role: Role) -> Result<Self, NotHeld> {
        run_dir(root).map_err(NotHeld::Failed)?;
        let path = run_in(root).join(role.file());
        let failed = |error: std::io::Error| {
            let failure = Failure::failed(error);
            NotHeld::Failed(failure.context(format!("cannot lock `{}`", path.display())))
        };
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(NotHeld::Taken(taken(root, role, file))),
            Err(error) => return Err(failed(error.into())),
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn taken(root: &Path, role: Role, file: File) -> Failure {
    let mut pid = String::new();
    let read = file.take(MAX_PID_BYTES).read_to_string(&mut pid);
    let pid = match (read, pid.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!(", process {pid}"),
        _ => String::new(),
    };
    let (name, shown) = (role.name(), root.display());
    Failure::failed(anyhow!(
        "another {name}{pid} has the state directory `{shown}`"
    ))
    .hint("stop it, or name another directory with --state-dir")
}

/// Makes the directory of the sockets.
pub(crate) fn run_dir(root: &Path) -> Result<(), Failure> {
    let run = run_in(root);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&run);
    made.and_then(|()| fs::metadata(&run).map(drop))
        .map_err(|error| Failure::failed(error).context(format!("cannot make `{}`", run.display())))
}

/// The directory of the sockets in the state directory at `root`.
fn run_in(root: &Path) -> PathBuf {
    root.join("run")
}

//! One server for a state directory.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::anyhow;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::run_in;
use crate::report::Failure;

/// The most bytes of a process number that are read.
const MAX_PID_BYTES: u64 = 16;

/// A state directory that is this server's. The kernel gives it back when this process dies, however it does.
#[derive(Debug)]
pub(super) struct Hold {
    _file: File,
}

impl Hold {
    /// Takes the directory.
    ///
    /// # Errors
    /// When another server has it, who is named.
    pub(super) fn take(root: &Path) -> Result<Self, Failure> {
        run_dir(root)?;
        let path = run_in(root).join("up.lock");
        let failed = |error: std::io::Error| {
            Failure::failed(error).context(format!("cannot lock `{}`", path.display()))
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
            Err(Errno::WOULDBLOCK) => return Err(taken(root, file)),
            Err(error) => return Err(failed(error.into())),
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn taken(root: &Path, file: File) -> Failure {
    let mut pid = String::new();
    let read = file.take(MAX_PID_BYTES).read_to_string(&mut pid);
    let pid = match (read, pid.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!(", process {pid}"),
        _ => String::new(),
    };
    let shown = root.display();
    Failure::failed(anyhow!(
        "another `casemate up`{pid} has the state directory `{shown}`"
    ))
    .hint("stop it, or name another directory with --state-dir")
}

/// Makes the directory of the sockets.
pub(super) fn run_dir(root: &Path) -> Result<(), Failure> {
    let run = run_in(root);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&run);
    made.and_then(|()| fs::metadata(&run).map(drop))
        .map_err(|error| Failure::failed(error).context(format!("cannot make `{}`", run.display())))
}

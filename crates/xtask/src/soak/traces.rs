//! What a soak could leave on the machine.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::served::{Process, descendants};

const CGROUPS: &str = "/sys/fs/cgroup";
const MAX_DEPTH: usize = 8;
/// What may stay beside the sockets: what the keeper said, and its lock.
const MAY_STAY: [&str; 3] = ["keeper.log", "keeper.log.old", "keeper.sock.lock"];

/// The machine as it was before, and what was seen since.
pub(super) struct Traces {
    mounts: BTreeSet<String>,
    keepers: BTreeSet<i32>,
}

impl Traces {
    pub(super) fn before() -> Result<Self> {
        Ok(Self {
            mounts: mounts()?,
            keepers: BTreeSet::new(),
        })
    }

    pub(super) fn saw_keeper(&mut self, keeper: i32) {
        self.keepers.insert(keeper);
    }

    /// Waits for orphans that have ended, as whoever starts a machine's processes does; the gateway is no orphan.
    pub(super) fn bury(gateway: i32) {
        let own = std::process::id().cast_signed();
        let orphans = descendants(own).into_iter();
        let orphans = orphans.filter(|one| one.has_ended() && one.parent == own);
        for orphan in orphans.filter(|one| one.pid != gateway) {
            if let Some(pid) = Pid::from_raw(orphan.pid) {
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
        }
    }

    /// Processes that are still there. Those that have ended are waited for: they were orphaned to us.
    pub(super) fn processes() -> Vec<Process> {
        let own = std::process::id().cast_signed();
        let mut left = Vec::new();
        for process in descendants(own) {
            if process.has_ended() && process.parent == own {
                if let Some(pid) = Pid::from_raw(process.pid) {
                    // Whoever else waited for it did as well.
                    let _ = waitpid(Some(pid), WaitOptions::NOHANG);
                }
            } else {
                left.push(process);
            }
        }
        left
    }

    /// Cgroups of our keepers.
    pub(super) fn cgroups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        below(Path::new(CGROUPS), MAX_DEPTH, &mut |path| {
            let name = path.file_name().and_then(|name| name.to_str());
            let rest = name.and_then(|name| name.strip_prefix("casemate-"));
            let pid = rest.and_then(|rest| rest.split('-').next()?.parse().ok());
            if pid.is_some_and(|pid| self.keepers.contains(&pid)) {
                found.push(path.to_owned());
            }
        });
        found
    }

    /// Mounts that were not there before and speak of us.
    pub(super) fn mounts(&self) -> Result<Vec<String>> {
        let now = mounts()?;
        let new = now.difference(&self.mounts);
        let ours = new.filter(|mount| mount.contains("casemate") || mount.contains("soak-"));
        Ok(ours.cloned().collect())
    }

    /// Files in `run` of the state directory that should not be there.
    pub(super) fn files(run: &Path) -> Vec<String> {
        let entries = fs::read_dir(run).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names
            .filter(|name| !MAY_STAY.contains(&name.as_str()))
            .collect()
    }
}

fn mounts() -> Result<BTreeSet<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    Ok(table.lines().map(str::to_owned).collect())
}

fn below(directory: &Path, depth: usize, see: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let path = entry.path();
            see(&path);
            below(&path, depth - 1, see);
        }
    }
}

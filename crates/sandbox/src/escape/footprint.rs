//! What a call must leave on the host as it was.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::{EscapeError, Traps, error::During as _};

/// Where programs leave things when they think of nothing better.
const LITTERED: &[&str] = &["/tmp", "/var/tmp", "/dev/shm"];

const CGROUPS: &str = "/sys/fs/cgroup";

/// How the names of all keepers' cgroups begin; after that comes the number of the keeper's process.
const ANY_KEEPER: &str = "casemate-";

/// Deeper no keeper makes its cgroups.
const MAX_CGROUP_DEPTH: usize = 8;

/// The host's mounts and name, and the cgroups that this process made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Footprint {
    mounts: String,
    name: Vec<u8>,
    cgroups: BTreeSet<PathBuf>,
}

impl Footprint {
    pub(super) fn of_this_host() -> Result<Self, EscapeError> {
        let mut cgroups = BTreeSet::new();
        let prefix = format!("{ANY_KEEPER}{}-", std::process::id());
        own_cgroups(Path::new(CGROUPS), &prefix, MAX_CGROUP_DEPTH, &mut cgroups);
        Ok(Self {
            mounts: fs::read_to_string("/proc/self/mountinfo").during("read the host's mounts")?,
            name: rustix::system::uname().nodename().to_bytes().into(),
            cgroups,
        })
    }

    /// What is not as it was, and what was left lying about.
    pub(super) fn changes(&self, traps: &Traps) -> Result<Vec<String>, EscapeError> {
        let now = Self::of_this_host()?;
        let mut findings = litter(traps.nonce()).during("look for litter")?;
        if now.mounts != self.mounts {
            findings.push("the host's mounts changed".to_owned());
        }
        if now.name != self.name {
            findings.push("the host's name changed".to_owned());
        }
        for cgroup in now.cgroups.difference(&self.cgroups) {
            findings.push(format!("the cgroup {} was left behind", cgroup.display()));
        }
        Ok(findings)
    }
}

/// Those of this process in `directory` and below, with everything inside. A cgroup that goes away meanwhile is somebody
/// else's.
fn own_cgroups(directory: &Path, prefix: &str, depth: usize, found: &mut BTreeSet<PathBuf>) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    for entry in entries.filter(is_directory) {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(prefix) {
            found.insert(entry.path());
            own_cgroups(&entry.path(), "", depth, found);
        } else if !name.starts_with(ANY_KEEPER) {
            own_cgroups(&entry.path(), prefix, depth, found);
        }
    }
}

fn litter(nonce: &str) -> io::Result<Vec<String>> {
    let mut findings = Vec::new();
    for directory in LITTERED.iter().filter(|path| Path::new(path).exists()) {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.to_string_lossy().contains(nonce) {
                findings.push(format!("it made {} on the host", path.display()));
            }
        }
    }
    Ok(findings)
}

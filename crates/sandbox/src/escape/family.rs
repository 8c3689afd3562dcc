//! The processes that descend from this one, and those that should not be there any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use super::{EscapeError, error::During as _};

/// The descendants of this process, with the pid namespace of each.
#[derive(Debug)]
pub(super) struct Family(BTreeMap<u32, PathBuf>);

impl Family {
    pub(super) fn of_this_process() -> Result<Self, EscapeError> {
        let parents: BTreeMap<u32, u32> = pids()?
            .into_iter()
            .filter_map(|pid| Some((pid, parent(pid)?)))
            .collect();
        let own = std::process::id();
        let descends = |pid: u32| {
            let mut pid = pid;
            // No line of ancestors is longer than the list.
            for _ in 0..parents.len() {
                match parents.get(&pid) {
                    Some(&parent) if parent == own => return true,
                    Some(&parent) => pid = parent,
                    None => return false,
                }
            }
            false
        };
        let family = parents.keys().filter(|pid| descends(**pid));
        Ok(Self(
            family
                .filter_map(|&pid| Some((pid, namespace(pid)?)))
                .collect(),
        ))
    }

    /// Those that have come since `earlier`.
    pub(super) fn without(mut self, earlier: &Self) -> Self {
        self.0.retain(|pid, _| !earlier.0.contains_key(pid));
        self
    }

    /// Every process that carries `nonce` or shares a pid namespace with one of the family: a finding each.
    pub(super) fn survivors(&self, nonce: &str) -> Result<Vec<String>, EscapeError> {
        let own = namespace(std::process::id());
        let namespaces: BTreeSet<_> = self
            .0
            .values()
            .filter(|id| Some(*id) != own.as_ref())
            .collect();
        let survives = |pid: &u32| {
            carries(*pid, nonce) || namespace(*pid).is_some_and(|id| namespaces.contains(&id))
        };
        let name = |pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let finding = |pid| format!("process {pid} ({}) outlived its call", name(pid).trim());
        Ok(pids()?.into_iter().filter(survives).map(finding).collect())
    }
}

/// A process with `nonce` in its arguments or environment.
pub(super) fn find(nonce: &str) -> Result<Option<u32>, EscapeError> {
    Ok(pids()?.into_iter().find(|pid| carries(*pid, nonce)))
}

fn carries(pid: u32, nonce: &str) -> bool {
    ["cmdline", "environ"].iter().any(|file| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        bytes
            .windows(nonce.len())
            .any(|window| window == nonce.as_bytes())
    })
}

fn pids() -> Result<Vec<u32>, EscapeError> {
    let entries = fs::read_dir("/proc").during("list the host's processes")?;
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    Ok(entries.flatten().filter_map(pid).collect())
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses, and may contain both spaces and parentheses.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(1)?.parse().ok()
}

fn namespace(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

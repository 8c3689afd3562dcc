//! The processes that descend from this one, and those that should not be there any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use casemate_model::Text;

use super::{EscapeError, error::During as _};

/// The descendants of this process.
#[derive(Debug)]
pub(super) struct Family(BTreeSet<u32>);

impl Family {
    pub(super) fn of_this_process() -> Result<Self, EscapeError> {
        let parents = pids()?.into_iter();
        let parents: BTreeMap<u32, u32> = parents
            .filter_map(|pid| Some((pid, parent(pid)?)))
            .collect();
        let own = std::process::id();
        let ancestors = |pid: u32| {
            let up = std::iter::successors(Some(pid), |pid| parents.get(pid).copied());
            // No line of ancestors is longer than the list.
            up.skip(1).take(parents.len())
        };
        let descends = |pid: &u32| ancestors(*pid).any(|ancestor| ancestor == own);
        Ok(Self(parents.keys().copied().filter(descends).collect()))
    }

    /// Every process that carries `nonce`, or has come to the family since: a finding each.
    pub(super) fn survivors(&self, nonce: &str) -> Result<Vec<String>, EscapeError> {
        let now = Self::of_this_process()?;
        let survives =
            |pid: &u32| carries(*pid, nonce) || now.0.contains(pid) && !self.0.contains(pid);
        let name = |pid| Text::from(fs::read(format!("/proc/{pid}/comm")).unwrap_or_default());
        let finding = |pid| format!("process {pid} ({}) outlived its call", name(pid));
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

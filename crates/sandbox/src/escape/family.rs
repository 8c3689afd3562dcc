//! The processes that descend from this one, and those that should not be there any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    fs,
    path::{Path, PathBuf},
};

use casemate_model::Text;

use super::{EscapeError, Way, error::During as _};

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

    /// Everything that a call has left alive, a finding each: whatever carries `nonce`, has come to the family since, or is
    /// in the pid namespace `place` and not its first process, which is ours.
    pub(super) fn survivors(
        &self,
        way: Way,
        place: Option<&Path>,
        nonce: &str,
    ) -> Result<Vec<String>, EscapeError> {
        let now = Self::of_this_process()?;
        let new: BTreeSet<u32> = now.0.difference(&self.0).copied().collect();
        // A keeper of sessions makes places ahead: namespaces whose first process is new too, which no call can make.
        let made_ahead: BTreeSet<PathBuf> = new
            .iter()
            .filter(|pid| way.is_in_session() && number_inside(**pid).as_deref() == Some("1"))
            .filter_map(|pid| namespace(*pid))
            .collect();
        let came_since = |pid: &u32| {
            new.contains(pid) && !namespace(*pid).is_some_and(|own| made_ahead.contains(&own))
        };
        let of_the_place = |pid: &u32| place.is_some_and(|place| is_in(*pid, place));
        // In a session who cannot act any more waits until the kernel and its parent have time.
        let counts = |pid: &u32| !way.is_in_session() || !is_exiting(*pid);
        let survives = |pid: &u32| {
            (carries(*pid, nonce) || came_since(pid) || of_the_place(pid)) && counts(pid)
        };
        let finding = |pid| format!("{} outlived its call", told(pid));
        Ok(pids()?.into_iter().filter(survives).map(finding).collect())
    }

    /// Everything that carries `nonce`, or is in the family and was not: a finding each.
    pub(super) fn additions(&self, nonce: &str) -> Result<Vec<String>, EscapeError> {
        let now = Self::of_this_process()?;
        let added =
            |pid: &u32| carries(*pid, nonce) || now.0.contains(pid) && !self.0.contains(pid);
        let finding = |pid| format!("{} was left behind", told(pid));
        Ok(pids()?.into_iter().filter(added).map(finding).collect())
    }

    /// Those of it that are alive in a sandbox of a session, inside of its nursery.
    pub(super) fn in_sessions(&self) -> BTreeSet<u32> {
        let own = numbers("self").len();
        let inside = |pid: &u32| numbers(pid).len() >= own + SESSION_DEPTH && !is_exiting(*pid);
        self.0.iter().copied().filter(inside).collect()
    }
}

/// How many pid namespaces below ours the sandbox of a session is.
const SESSION_DEPTH: usize = 2;

fn told(pid: u32) -> String {
    let name = Text::from(fs::read(format!("/proc/{pid}/comm")).unwrap_or_default());
    format!("process {pid} ({name})")
}

/// Whether it is in the pid namespace `place`, and not the first process there.
fn is_in(pid: u32, place: &Path) -> bool {
    let inside = namespace(pid).is_some_and(|own| own == place);
    inside && number_inside(pid).is_some_and(|number| number != "1")
}

/// Its pid namespace.
fn namespace(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// Its number in its own pid namespace.
fn number_inside(pid: u32) -> Option<String> {
    numbers(pid).pop()
}

/// Its number in each pid namespace that it is in, from ours on.
fn numbers(process: impl Display) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let numbers = line.unwrap_or_default().split_whitespace();
    numbers.map(str::to_owned).collect()
}

/// Whether it never returns to its program.
fn is_exiting(pid: u32) -> bool {
    // PF_EXITING of linux/sched.h.
    const EXITING: u64 = 4;
    let flags = field(pid, 6).and_then(|flags| flags.parse::<u64>().ok());
    flags.is_none_or(|flags| flags & EXITING != 0)
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
    field(pid, 1)?.parse().ok()
}

/// A field of `/proc/PID/stat`, counted from the one after the name.
fn field(pid: u32, index: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses, and may contain both spaces and parentheses.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(index).map(str::to_owned)
}

//! Processes and their memory, as `/proc` has them.

use std::{collections::HashMap, fs, path::PathBuf};

use anyhow::{Context, Result};

/// A process of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    /// Its name, as the kernel has it.
    pub(crate) name: String,
    /// One letter; `Z` is a process that ended and was not waited for.
    pub(crate) state: char,
    /// When it started, in ticks: with the pid its identity.
    pub(crate) started: u64,
}

impl Process {
    fn of(pid: i32) -> Option<Self> {
        Self::parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(pid: i32, stat: &str) -> Option<Self> {
        // The name can hold anything, parentheses too.
        let (before, after) = stat.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let mut fields = after.split_whitespace();
        Some(Self {
            pid,
            name: name.to_owned(),
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
            started: fields.nth(17)?.parse().ok()?,
        })
    }

    /// Its arguments, with a NUL between them.
    pub(crate) fn command_line(&self) -> String {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&line).into_owned()
    }

    /// Whether it has ended, and only waits to be waited for.
    pub(crate) const fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// Every process of this machine.
pub(crate) fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(Process::of).collect()
}

/// The processes below `root`, without it.
pub(crate) fn descendants(root: i32) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in all() {
        children.entry(process.parent).or_default().push(process);
    }
    let (mut found, mut next) = (Vec::new(), vec![root]);
    while let Some(parent) = next.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            next.push(child.pid);
            found.push(child);
        }
    }
    found
}

/// What processes use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) processes: u64,
    /// Bytes that are theirs alone.
    pub(crate) private: u64,
    /// The same, and their part of what they share.
    pub(crate) proportional: u64,
}

/// What the processes below `root` use.
pub(crate) fn memory(root: i32) -> Memory {
    let mut sum = Memory::default();
    for process in descendants(root) {
        // One that ended meanwhile uses nothing.
        let path = format!("/proc/{}/smaps_rollup", process.pid);
        let Ok(rollup) = fs::read_to_string(path) else {
            continue;
        };
        let kib = |name: &str| number(&rollup, name).unwrap_or(0);
        sum.processes += 1;
        sum.private += (kib("Private_Clean:") + kib("Private_Dirty:")) * 1024;
        sum.proportional += kib("Pss:") * 1024;
    }
    sum
}

/// The memory of one process that is in RAM.
pub(crate) fn resident_bytes(pid: i32) -> Result<u64> {
    let path = PathBuf::from(format!("/proc/{pid}/status"));
    let status = fs::read_to_string(&path).with_context(|| format!("there is no process {pid}"))?;
    let kib = number(&status, "VmRSS:").context("the process has no memory")?;
    Ok(kib * 1024)
}

/// What this machine could give to processes.
pub(crate) fn available_bytes() -> Result<u64> {
    let facts = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let kib =
        number(&facts, "MemAvailable:").context("the kernel does not say what is available")?;
    Ok(kib * 1024)
}

/// The number behind a name at the start of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_is_read() {
        let stat = "7 (a) (b) S 3 7 7 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 2 3";
        let process = Process::parse(7, stat).unwrap();
        assert_eq!((process.name.as_str(), process.parent), ("a) (b", 3));
        assert_eq!((process.state, process.started), ('S', 4711));
    }

    #[test]
    fn our_own_memory_is_found() {
        let own = std::process::id().cast_signed();
        assert!(resident_bytes(own).unwrap() > 100_000);
        assert!(available_bytes().unwrap() > 0);
        let parent = Process::of(own).unwrap().parent;
        assert!(descendants(parent).iter().any(|process| process.pid == own));
        assert!(memory(parent).private > 0);
    }
}

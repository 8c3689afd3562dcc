//! Cgroups whose keeper died: found by their names, removed by the next start.

use std::{fmt, fs, path::Path, process};

use super::Layout;

const PREFIX: &str = "casemate-";

/// A name that says which process made the cgroup: `casemate-PID-STARTED-WHAT`.
pub(crate) fn name(id: impl fmt::Display) -> String {
    let pid = process::id();
    format!("{PREFIX}{pid}-{}-{id}", started_ticks(pid).unwrap_or(0))
}

/// Kills and removes what dead keepers left in `layout`.
pub(crate) fn remove_stale(layout: &Layout) {
    for parent in layout.parents() {
        let Ok(entries) = fs::read_dir(parent) else {
            continue;
        };
        for entry in entries.flatten() {
            if entry.file_name().to_str().is_some_and(is_stale) {
                remove(&entry.path());
            }
        }
    }
}

fn is_stale(name: &str) -> bool {
    let owner = || {
        let mut parts = name.strip_prefix(PREFIX)?.splitn(3, '-');
        let (pid, started) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some((pid, started))
    };
    owner().is_some_and(|(pid, started): (u32, u64)| started_ticks(pid) != Some(started))
}

/// A pid namespace dies with its keeper, so there is hardly ever anything left to kill.
fn remove(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let processes = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let pids = processes.lines().filter_map(|line| line.parse().ok());
    for pid in pids.filter_map(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    let _ = fs::remove_dir(directory);
}

/// When a process started, in clock ticks since boot: with its pid, its identity. One that has ended is none, even if its
/// parent has not looked yet.
fn started_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses, and may contain both spaces and parentheses.
    let (_, fields) = stat.rsplit_once(") ")?;
    if fields.starts_with(['Z', 'X']) {
        return None;
    }
    fields.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use casemate_model::SandboxId;

    use super::*;

    #[test]
    fn only_names_of_dead_keepers_are_stale() {
        let id = SandboxId::new(1, [0; 10]);
        assert!(!is_stale(&name(id)), "ours");
        assert!(
            is_stale(&format!("casemate-{}-1-{id}", process::id())),
            "our pid, used before"
        );
        assert!(
            is_stale(&format!("casemate-4194999-1-{id}")),
            "no such process"
        );
        let mut ended = process::Command::new("/bin/true").spawn().unwrap();
        let pid = ended.id();
        let started = started_ticks(pid);
        let start = std::time::Instant::now();
        while started_ticks(pid).is_some() {
            assert!(start.elapsed().as_secs() < 20, "it does not end");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let started = started.unwrap_or_default();
        assert!(
            is_stale(&format!("casemate-{pid}-{started}-{id}")),
            "it has ended, and nobody has waited for it"
        );
        ended.wait().unwrap();
        for foreign in [
            "",
            "casemate",
            "casemate-",
            "casemate-x-1-y",
            "user.slice",
            "docker",
        ] {
            assert!(!is_stale(foreign), "{foreign}");
        }
    }
}

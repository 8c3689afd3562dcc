//! Which process wrote an entry, and whether it still lives.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

/// A process, named so that a later process with the same pid is not mistaken for it.
///
/// Pids are those of one pid namespace: processes that share a ledger must share it too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    boot_id: String,
    pid: u32,
    started_ticks: u64,
}

impl Owner {
    /// This process.
    ///
    /// # Errors
    /// When `/proc` is not mounted or cannot be read.
    pub fn current() -> io::Result<Self> {
        Self::read(Path::new("/proc"), "self", std::process::id())
    }

    /// Whether the process still runs. A zombie does not; one that cannot be looked at does, so
    /// that a running call is never declared dead.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.is_alive_in(Path::new("/proc"))
    }

    /// Its process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    fn read(proc: &Path, name: &str, pid: u32) -> io::Result<Self> {
        let stat = fs::read(proc.join(name).join("stat"))?;
        let (_, started_ticks) = parse_stat(&stat)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unreadable stat"))?;
        Ok(Self {
            boot_id: boot_id(proc)?,
            pid,
            started_ticks,
        })
    }

    fn is_alive_in(&self, proc: &Path) -> bool {
        match boot_id(proc) {
            Ok(boot) if boot != self.boot_id => return false,
            _ => {}
        }
        match fs::read(proc.join(self.pid.to_string()).join("stat")) {
            Ok(stat) => parse_stat(&stat).is_none_or(|(state, started)| {
                started == self.started_ticks && !matches!(state, b'Z' | b'X' | b'x')
            }),
            // ESRCH: it died between open and read.
            Err(error) => {
                error.kind() != io::ErrorKind::NotFound && error.raw_os_error() != Some(ESRCH)
            }
        }
    }
}

const ESRCH: i32 = 3;

fn boot_id(proc: &Path) -> io::Result<String> {
    fs::read_to_string(proc.join("sys/kernel/random/boot_id")).map(|id| id.trim().to_owned())
}

/// State (field 3) and start time (field 22) of `/proc/<pid>/stat`. The name in field 2 is the
/// program's own choice: it may hold spaces, parentheses, newlines and bytes that are not UTF-8.
fn parse_stat(stat: &[u8]) -> Option<(u8, u64)> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let after = stat.get(name_end + 1..)?;
    let mut fields = std::str::from_utf8(after).ok()?.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    // The next field is 4.
    let started_ticks = fields.nth(22 - 4)?.parse().ok()?;
    Some((state, started_ticks))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const BOOT: &str = "0c6b0a2e-2f0e-4d8c-9b1a-1f2e3d4c5b6a";

    fn fake_proc(pid: u32, stat: &[u8]) -> tempfile::TempDir {
        let proc = tempfile::tempdir().unwrap();
        fs::create_dir_all(proc.path().join("sys/kernel/random")).unwrap();
        fs::write(
            proc.path().join("sys/kernel/random/boot_id"),
            format!("{BOOT}\n"),
        )
        .unwrap();
        fs::create_dir(proc.path().join(pid.to_string())).unwrap();
        fs::write(proc.path().join(pid.to_string()).join("stat"), stat).unwrap();
        proc
    }

    fn stat(name: &[u8], state: char, started: u64) -> Vec<u8> {
        let mut stat = b"7 (".to_vec();
        stat.extend_from_slice(name);
        let fields = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18";
        stat.extend_from_slice(format!(") {state} {fields} {started} 99 98\n").as_bytes());
        stat
    }

    fn owner() -> Owner {
        Owner {
            boot_id: BOOT.into(),
            pid: 7,
            started_ticks: 4242,
        }
    }

    #[test]
    fn a_hostile_process_name_does_not_move_the_fields() {
        for name in [
            &b"sh"[..],
            b"a b",
            b") Z 1 2 3 (",
            b"((",
            b"\n) R 0",
            b"\xff\xfe)",
        ] {
            let proc = fake_proc(7, &stat(name, 'S', 4242));
            assert!(owner().is_alive_in(proc.path()), "{name:?}");
            assert_eq!(Owner::read(proc.path(), "7", 7).unwrap(), owner());
        }
    }

    #[test]
    fn a_zombie_a_reused_pid_and_another_boot_are_dead() {
        let zombie = fake_proc(7, &stat(b"sh", 'Z', 4242));
        assert!(!owner().is_alive_in(zombie.path()));
        let reused = fake_proc(7, &stat(b"sh", 'R', 4243));
        assert!(!owner().is_alive_in(reused.path()));
        let gone = fake_proc(8, &stat(b"sh", 'R', 4242));
        assert!(!owner().is_alive_in(gone.path()));
        let rebooted = Owner {
            boot_id: "another".into(),
            ..owner()
        };
        let proc = fake_proc(7, &stat(b"sh", 'R', 4242));
        assert!(!rebooted.is_alive_in(proc.path()));
    }

    /// What cannot be told must not close a running call.
    #[test]
    fn a_process_that_cannot_be_looked_at_counts_as_alive() {
        let proc = fake_proc(7, b"garbage");
        assert!(owner().is_alive_in(proc.path()));
        fs::remove_file(proc.path().join("7/stat")).unwrap();
        fs::create_dir(proc.path().join("7/stat")).unwrap();
        assert!(
            owner().is_alive_in(proc.path()),
            "reading fails with EISDIR"
        );
    }

    #[test]
    fn a_real_process_is_alive_until_it_dies_even_before_it_is_reaped() {
        assert!(Owner::current().unwrap().is_alive());
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let owner = Owner::read(Path::new("/proc"), &child.id().to_string(), child.id()).unwrap();
        assert!(owner.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!owner.is_alive());
    }
}

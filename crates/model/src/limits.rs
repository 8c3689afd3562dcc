//! The limits of one call. Every value has a largest allowed value: nothing is unbounded (I15).

use serde::{Deserialize, Serialize};

/// What one call may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Wall-clock time, in milliseconds.
    pub wall_ms: u64,
    /// CPU share, in thousandths of one core.
    pub cpu_milli: u64,
    /// Memory of the whole process tree, in bytes; files in the sandbox count.
    pub memory_bytes: u64,
    /// Processes and threads alive at once.
    pub processes: u64,
    /// Open files of one process.
    pub open_files: u64,
    /// Size of one file, in bytes.
    pub file_bytes: u64,
    /// Size of `/workspace`, in bytes; `/tmp` has as much again, but at most 64 MiB.
    pub disk_bytes: u64,
    /// Files and directories in `/workspace`.
    pub disk_files: u64,
    /// Bytes of standard output and standard error together that are given back.
    pub output_bytes: u64,
}

const MIB: u64 = 1 << 20;

/// The most that any profile can give.
pub const MAX_LIMITS: Limits = Limits {
    wall_ms: 24 * 3600 * 1000,
    cpu_milli: 1_024_000,
    memory_bytes: 1 << 40,
    processes: 32_768,
    open_files: 65_536,
    file_bytes: 1 << 40,
    disk_bytes: 1 << 40,
    disk_files: 10_000_000,
    output_bytes: 1 << 30,
};

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall_ms: 60_000,
            cpu_milli: 2_000,
            memory_bytes: 2_048 * MIB,
            processes: 256,
            open_files: 1_024,
            file_bytes: 512 * MIB,
            disk_bytes: 512 * MIB,
            disk_files: 65_536,
            output_bytes: 10 * MIB,
        }
    }
}

impl Limits {
    /// Each limit by name, with its value: the one list that checks and tables walk.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, u64); 9] {
        [
            ("wall_ms", self.wall_ms),
            ("cpu_milli", self.cpu_milli),
            ("memory_bytes", self.memory_bytes),
            ("processes", self.processes),
            ("open_files", self.open_files),
            ("file_bytes", self.file_bytes),
            ("disk_bytes", self.disk_bytes),
            ("disk_files", self.disk_files),
            ("output_bytes", self.output_bytes),
        ]
    }

    /// These limits where `ceiling` allows them, else the ceiling's.
    #[must_use]
    pub fn at_most(&self, ceiling: &Self) -> Self {
        Self {
            wall_ms: self.wall_ms.min(ceiling.wall_ms),
            cpu_milli: self.cpu_milli.min(ceiling.cpu_milli),
            memory_bytes: self.memory_bytes.min(ceiling.memory_bytes),
            processes: self.processes.min(ceiling.processes),
            open_files: self.open_files.min(ceiling.open_files),
            file_bytes: self.file_bytes.min(ceiling.file_bytes),
            disk_bytes: self.disk_bytes.min(ceiling.disk_bytes),
            disk_files: self.disk_files.min(ceiling.disk_files),
            output_bytes: self.output_bytes.min(ceiling.output_bytes),
        }
    }

    /// The first limit of `self` that is larger than in `ceiling`: its name, the value asked, the most allowed.
    #[must_use]
    pub fn first_above(&self, ceiling: &Self) -> Option<(&'static str, u64, u64)> {
        self.named()
            .into_iter()
            .zip(ceiling.named())
            .find(|((_, asked), (_, most))| asked > most)
            .map(|((name, asked), (_, most))| (name, asked, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_below_the_most_and_an_excess_is_named() {
        assert_eq!(Limits::default().first_above(&MAX_LIMITS), None);
        let asked = Limits {
            open_files: 2_000,
            ..Limits::default()
        };
        assert_eq!(
            asked.first_above(&Limits::default()),
            Some(("open_files", 2_000, 1_024))
        );
    }
}

//! Limits of a whole process tree: cgroup v2 where its controllers are, else v1, else nothing.
//!
//! A process that joins a v1 cgroup through `cgroup.procs` waits for the whole machine (an RCU grace
//! period, 6 ms here). A single thread that writes itself to `tasks` does not: see docs/adr/0002.

use std::{
    fmt, fs, io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use casemate_model::{Limits, SandboxId};
use rustix::fs::{Mode, OFlags};

mod discover;
mod stale;

pub(crate) use self::{
    discover::{Layout, discover},
    stale::remove_stale,
};

/// What a sandbox's cgroups limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Controlled {
    pub(crate) memory: bool,
    pub(crate) processes: bool,
    pub(crate) cpu: bool,
}

/// The cgroups of one sandbox. They are removed with this value; what cannot be removed, because this
/// process dies first, is removed by the next start.
#[derive(Debug)]
pub(crate) struct Cgroups {
    version: Version,
    directories: Vec<PathBuf>,
    memory: Option<PathBuf>,
    pub(crate) controlled: Controlled,
    /// v1: the `tasks` files into which the new process writes itself.
    pub(crate) tasks: Vec<OwnedFd>,
    /// v2: the directory into which the new process is made.
    directory: Option<OwnedFd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    None,
    One,
    Two,
}

/// The guest is one more process.
const GUESTS: u64 = 1;

const CPU_PERIOD_US: u64 = 100_000;

impl Cgroups {
    /// Makes cgroups for the sandbox `id`, as far as this host and this user can.
    pub(crate) fn make(layout: &Layout, id: SandboxId, limits: &Limits) -> Self {
        let mut cgroups = Self {
            version: Version::None,
            directories: Vec::new(),
            memory: None,
            controlled: Controlled::default(),
            tasks: Vec::new(),
            directory: None,
        };
        let name = stale::name(id);
        if cgroups.make_v2(layout, &name, limits).is_err() {
            cgroups.clear();
            cgroups.make_v1(layout, &name, limits);
        }
        cgroups
    }

    /// What limits, in words.
    pub(crate) const fn by(&self) -> &'static str {
        match self.version {
            Version::None => "none",
            Version::One => "cgroup v1",
            Version::Two => "cgroup v2",
        }
    }

    /// The directory to clone into.
    pub(crate) fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.directory.as_ref().map(|directory| directory.as_fd())
    }

    fn make_v2(&mut self, layout: &Layout, name: &str, limits: &Limits) -> io::Result<()> {
        let parent = layout.v2.as_deref().ok_or(io::ErrorKind::Unsupported)?;
        let directory = parent.join(name);
        fs::create_dir(&directory)?;
        self.directories.push(directory.clone());
        write(&directory, "memory.max", &limits.memory_bytes)?;
        write(
            &directory,
            "pids.max",
            &limits.processes.saturating_add(GUESTS),
        )?;
        // Without these the limit is softer, not absent.
        let _ = write(&directory, "memory.swap.max", &0_u64);
        let _ = write(&directory, "memory.oom.group", &1_u64);
        let cpu = write(
            &directory,
            "cpu.max",
            &format!(
                "{} {CPU_PERIOD_US}",
                CPU_PERIOD_US * limits.cpu_milli / 1000
            ),
        );
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.directory = Some(rustix::fs::open(&directory, flags, Mode::empty())?);
        self.controlled = Controlled {
            memory: true,
            processes: true,
            cpu: cpu.is_ok(),
        };
        self.memory = Some(directory);
        self.version = Version::Two;
        Ok(())
    }

    fn make_v1(&mut self, layout: &Layout, name: &str, limits: &Limits) {
        let join = |parent: &Option<PathBuf>,
                    cgroups: &mut Self,
                    set: &dyn Fn(&Path) -> io::Result<()>| {
            let directory = parent.as_ref().map(|parent| parent.join(name))?;
            if !cgroups.directories.contains(&directory) {
                fs::create_dir(&directory).ok()?;
                cgroups.directories.push(directory.clone());
                let flags = OFlags::WRONLY | OFlags::CLOEXEC;
                let tasks = rustix::fs::open(directory.join("tasks"), flags, Mode::empty()).ok()?;
                cgroups.tasks.push(tasks);
            }
            set(&directory).ok()?;
            cgroups.version = Version::One;
            Some(directory)
        };
        self.memory = join(&layout.v1_memory, self, &|directory| {
            write(directory, "memory.limit_in_bytes", &limits.memory_bytes)?;
            let _ = write(
                directory,
                "memory.memsw.limit_in_bytes",
                &limits.memory_bytes,
            );
            Ok(())
        });
        let processes = join(&layout.v1_pids, self, &|directory| {
            write(
                directory,
                "pids.max",
                &limits.processes.saturating_add(GUESTS),
            )
        });
        let cpu = join(&layout.v1_cpu, self, &|directory| {
            // The period is the kernel's own default.
            write(
                directory,
                "cpu.cfs_quota_us",
                &(CPU_PERIOD_US * limits.cpu_milli / 1000).max(1000),
            )
        });
        self.controlled = Controlled {
            memory: self.memory.is_some(),
            processes: processes.is_some(),
            cpu: cpu.is_some(),
        };
    }

    /// Whether the memory limit killed anything.
    pub(crate) fn out_of_memory(&self) -> bool {
        let file = match self.version {
            Version::None => return false,
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        self.memory
            .as_ref()
            .and_then(|directory| fs::read_to_string(directory.join(file)).ok())
            .is_some_and(|text| {
                text.lines()
                    .filter_map(|line| line.strip_prefix("oom_kill "))
                    .any(|count| count.trim() != "0")
            })
    }

    /// Removes what is empty; a cgroup can be busy for a moment after its last process died.
    fn clear(&mut self) {
        self.tasks.clear();
        self.directory = None;
        for directory in self.directories.drain(..) {
            for _ in 0..REMOVE_TRIES {
                match fs::remove_dir(&directory) {
                    Err(error) if error.raw_os_error() == Some(EBUSY) => {
                        thread::sleep(REMOVE_PAUSE);
                    }
                    _ => break,
                }
            }
        }
    }
}

const EBUSY: i32 = rustix::io::Errno::BUSY.raw_os_error();
const REMOVE_TRIES: u32 = 20;
const REMOVE_PAUSE: Duration = Duration::from_millis(2);

impl Drop for Cgroups {
    fn drop(&mut self) {
        self.clear();
    }
}

fn write(directory: &Path, file: &str, value: &dyn fmt::Display) -> io::Result<()> {
    fs::write(directory.join(file), value.to_string())
}

#[cfg(test)]
mod tests;

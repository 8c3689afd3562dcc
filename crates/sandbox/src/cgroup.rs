//! Limits of a whole process tree: cgroup v2 where its controllers are, else v1, else nothing.
//!
//! A process that joins a v1 cgroup through `cgroup.procs` waits for the whole machine (an RCU grace
//! period, 6 ms here). A single thread that writes itself to `tasks` does not: see docs/adr/0002.

use std::{
    cell::RefCell,
    fmt, fs, io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    rc::Rc,
    thread,
    time::Duration,
};

use casemate_model::Limits;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use crate::{gvisor, process};

mod discover;
mod stale;

pub(crate) use self::{
    discover::{Layout, discover},
    stale::{name, remove_stale},
};

/// What a sandbox's cgroups limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Controlled {
    pub(crate) memory: bool,
    pub(crate) processes: bool,
    pub(crate) cpu: bool,
}

/// What the processes of a cgroup may use together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ceiling {
    pub(crate) memory_bytes: u64,
    pub(crate) processes: u64,
    pub(crate) cpu_milli: u64,
}

/// The first process of a sandbox, or of a place in one, is one more.
const GUESTS: u64 = 1;

impl Ceiling {
    /// That of one call.
    pub(crate) const fn of(limits: &Limits) -> Self {
        Self {
            memory_bytes: limits.memory_bytes,
            processes: limits.processes.saturating_add(GUESTS),
            cpu_milli: limits.cpu_milli,
        }
    }

    /// The same for a sandbox with gVisor in it: its kernel needs memory of its own, and threads for those of programs.
    pub(crate) const fn with_gvisor(self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.saturating_add(gvisor::KERNEL_BYTES),
            processes: self
                .processes
                .saturating_mul(gvisor::THREADS_EACH)
                .saturating_add(gvisor::KERNEL_THREADS),
            cpu_milli: self.cpu_milli,
        }
    }
}

/// Cgroups of the same name in every hierarchy. They are removed with this value; what cannot be removed, because this
/// process dies first, is removed by the next start.
#[derive(Debug)]
pub(crate) struct Cgroups {
    version: Version,
    directories: Vec<PathBuf>,
    memory: Option<PathBuf>,
    processes: Option<PathBuf>,
    cpu: Option<PathBuf>,
    pub(crate) controlled: Controlled,
    /// The files into which a new process writes itself: v1's `tasks`.
    pub(crate) tasks: Vec<OwnedFd>,
    /// v2: the directory into which a new process is made.
    directory: Option<OwnedFd>,
    removal: Removal,
}

/// How empty cgroups go away: they can be busy for a moment after their last process died.
#[derive(Clone, Debug)]
pub(crate) enum Removal {
    /// At once, however long that takes.
    Now,
    /// Later, by whoever empties this list.
    Later(Rc<RefCell<Vec<PathBuf>>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    None,
    One,
    Two,
}

const CPU_PERIOD_US: u64 = 100_000;

/// What the memory limit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryLimit {
    /// It killed nothing.
    Held,
    /// It killed a process.
    Killed,
    /// It killed a process of gVisor's, which may tell of it as of a program that failed.
    KilledBelowGvisor,
}

impl Cgroups {
    /// Makes cgroups of this name, as far as this host and this user can.
    pub(crate) fn make(layout: &Layout, name: &str, ceiling: &Ceiling) -> Self {
        let mut cgroups = Self {
            version: Version::None,
            directories: Vec::new(),
            memory: None,
            processes: None,
            cpu: None,
            controlled: Controlled::default(),
            tasks: Vec::new(),
            directory: None,
            removal: Removal::Now,
        };
        if cgroups.make_v2(layout, name).is_err() {
            cgroups.clear();
            cgroups.make_v1(layout, name);
        }
        cgroups.controlled = cgroups.limit(ceiling);
        cgroups
    }

    /// Says how they go away.
    #[must_use]
    pub(crate) fn removed(mut self, removal: Removal) -> Self {
        self.removal = removal;
        self
    }

    /// Where cgroups below these can be made. On v2 no process may be in these themselves then.
    pub(crate) fn inside(&self) -> Layout {
        match self.version {
            Version::None => Layout::default(),
            Version::One => Layout {
                v2: None,
                v1_memory: self.memory.clone(),
                v1_pids: self.processes.clone(),
                v1_cpu: self.cpu.clone(),
            },
            Version::Two => {
                let directory = self.directories.first().cloned();
                if let Some(directory) = &directory {
                    for controller in ["+memory", "+pids", "+cpu"] {
                        // What cannot be passed on is not limited below.
                        let _ = fs::write(directory.join("cgroup.subtree_control"), controller);
                    }
                }
                Layout {
                    v2: directory,
                    ..Layout::default()
                }
            }
        }
    }

    /// The files into which a process writes `0` to join, whatever the version.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub(crate) fn joins(&self) -> io::Result<Vec<OwnedFd>> {
        match self.version {
            Version::Two => {
                let flags = OFlags::WRONLY | OFlags::CLOEXEC;
                let file = |directory: &PathBuf| {
                    rustix::fs::open(directory.join("cgroup.procs"), flags, Mode::empty())
                };
                Ok(self
                    .directories
                    .first()
                    .map(file)
                    .transpose()?
                    .into_iter()
                    .collect())
            }
            _ => self.tasks.iter().map(OwnedFd::try_clone).collect(),
        }
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

    fn make_v2(&mut self, layout: &Layout, name: &str) -> io::Result<()> {
        let parent = layout.v2.as_deref().ok_or(io::ErrorKind::Unsupported)?;
        let directory = parent.join(name);
        fs::create_dir(&directory)?;
        self.directories.push(directory.clone());
        // Without these the limit is softer, not absent.
        let _ = write(&directory, "memory.swap.max", &0_u64);
        let _ = write(&directory, "memory.oom.group", &1_u64);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.directory = Some(rustix::fs::open(&directory, flags, Mode::empty())?);
        self.memory = Some(directory.clone());
        self.processes = Some(directory.clone());
        self.cpu = Some(directory);
        self.version = Version::Two;
        Ok(())
    }

    fn make_v1(&mut self, layout: &Layout, name: &str) {
        self.memory = self.join_v1(layout.v1_memory.as_deref(), name);
        self.processes = self.join_v1(layout.v1_pids.as_deref(), name);
        self.cpu = self.join_v1(layout.v1_cpu.as_deref(), name);
    }

    /// Makes a cgroup in one hierarchy of v1; controllers can share one.
    fn join_v1(&mut self, parent: Option<&Path>, name: &str) -> Option<PathBuf> {
        let directory = parent?.join(name);
        if !self.directories.contains(&directory) {
            fs::create_dir(&directory).ok()?;
            self.directories.push(directory.clone());
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let tasks = rustix::fs::open(directory.join("tasks"), flags, Mode::empty()).ok()?;
            self.tasks.push(tasks);
        }
        self.version = Version::One;
        Some(directory)
    }

    /// Writes the limits; says which of them hold.
    pub(crate) fn limit(&self, ceiling: &Ceiling) -> Controlled {
        let two = self.version == Version::Two;
        let set = |directory: &Option<PathBuf>, file: &str, value: &dyn fmt::Display| {
            directory
                .as_deref()
                .is_some_and(|directory| write(directory, file, value).is_ok())
        };
        let memory = if two {
            "memory.max"
        } else {
            "memory.limit_in_bytes"
        };
        let memory = set(&self.memory, memory, &ceiling.memory_bytes);
        if !two {
            set(
                &self.memory,
                "memory.memsw.limit_in_bytes",
                &ceiling.memory_bytes,
            );
        }
        let quota_us = CPU_PERIOD_US.saturating_mul(ceiling.cpu_milli) / 1000;
        let cpu = if two {
            set(&self.cpu, "cpu.max", &format!("{quota_us} {CPU_PERIOD_US}"))
        } else {
            // The period is the kernel's own default.
            set(&self.cpu, "cpu.cfs_quota_us", &quota_us.max(1000))
        };
        Controlled {
            memory,
            processes: set(&self.processes, "pids.max", &ceiling.processes),
            cpu,
        }
    }

    /// Whether every thread in it is being taken apart by the kernel, and can do nothing any more. False where the kernel
    /// does not say which there are.
    pub(crate) fn nothing_acts(&self) -> bool {
        let Some(directory) = self.directories.first() else {
            return false;
        };
        let threads = match self.version {
            Version::Two => "cgroup.threads",
            _ => "tasks",
        };
        let list = || process::file(&directory.join(threads));
        let Ok(left) = list() else { return false };
        // Who is new was begun by one who has ended since.
        left.lines().all(is_exiting)
            && list().is_ok_and(|now| {
                now.lines()
                    .all(|thread| left.lines().any(|known| known == thread))
            })
    }

    /// CPU time that its processes have used so far, in microseconds, if the kernel counts it.
    pub(crate) fn cpu_us(&self) -> Option<u64> {
        let directory = self.cpu.as_deref()?;
        match self.version {
            Version::None => None,
            Version::One => {
                let text = fs::read_to_string(directory.join("cpuacct.usage")).ok()?;
                text.trim().parse::<u64>().ok().map(|ns| ns / 1000)
            }
            Version::Two => {
                let text = fs::read_to_string(directory.join("cpu.stat")).ok()?;
                let line = |line: &str| line.strip_prefix("usage_usec ")?.trim().parse().ok();
                text.lines().find_map(line)
            }
        }
    }

    /// What the memory limit did, by the host's account.
    pub(crate) fn memory_limit(&self) -> MemoryLimit {
        let file = match self.version {
            Version::None => return MemoryLimit::Held,
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let killed = self
            .memory
            .as_ref()
            .and_then(|directory| fs::read_to_string(directory.join(file)).ok())
            .is_some_and(|text| {
                text.lines()
                    .filter_map(|line| line.strip_prefix("oom_kill "))
                    .any(|count| count.trim() != "0")
            });
        if killed {
            MemoryLimit::Killed
        } else {
            MemoryLimit::Held
        }
    }

    fn clear(&mut self) {
        self.tasks.clear();
        self.directory = None;
        if let Removal::Later(list) = &self.removal {
            list.borrow_mut().append(&mut self.directories);
            return;
        }
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

const EBUSY: i32 = Errno::BUSY.raw_os_error();
const REMOVE_TRIES: u32 = 20;
const REMOVE_PAUSE: Duration = Duration::from_millis(2);

impl Drop for Cgroups {
    fn drop(&mut self) {
        self.clear();
    }
}

/// `PF_EXITING` of linux/sched.h, in the flags of proc_pid_stat(5).
const EXITING: u64 = 4;

/// Whether a thread never returns to its program, or is gone.
fn is_exiting(thread: &str) -> bool {
    let stat = match process::file(Path::new(&format!("/proc/{thread}/stat"))) {
        Ok(stat) => stat,
        Err(error) => {
            let gone = [Errno::NOENT, Errno::SRCH].map(|errno| Some(errno.raw_os_error()));
            return gone.contains(&error.raw_os_error());
        }
    };
    // The second field is a name in parentheses, and may contain both spaces and parentheses.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
    let flags = fields.and_then(|fields| fields.split(' ').nth(6)?.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & EXITING != 0)
}

fn write(directory: &Path, file: &str, value: &dyn fmt::Display) -> io::Result<()> {
    fs::write(directory.join(file), value.to_string())
}

#[cfg(test)]
mod tests;

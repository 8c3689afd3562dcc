//! Processes that can do nothing any more: those that the kernel takes apart, which never return to their program, and
//! those that are stopped while nobody is there who could let them go on.

use std::{fs, io, time::Duration};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    process::{Pid, Signal, kill_process},
};

/// `PF_EXITING` of linux/sched.h, in the flags of proc_pid_stat(5).
const EXITING: u64 = 4;

/// How often is looked before the usual end is waited for: a kill reaches a running program within microseconds.
const LOOKS: u32 = 200;

/// How often is looked after that, with a nap before each, where many wait for a processor.
const NAPS: u32 = 2_000;
const NAP: Duration = Duration::from_millis(1);

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) cpu_us: u64,
    pub(crate) memory_peak_bytes: u64,
}

/// What `pid` has used so far; zeros where the kernel does not say.
pub(crate) fn used(pid: Pid) -> Used {
    let read =
        |file: &str| read(format!("/proc/{}/{file}", pid.as_raw_nonzero())).unwrap_or_default();
    let cpu_ns = read("schedstat")
        .split(' ')
        .next()
        .and_then(|ns| ns.parse::<u64>().ok());
    let status = read("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak_kib = peak.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Used {
        cpu_us: cpu_ns.unwrap_or(0) / 1000,
        memory_peak_bytes: peak_kib.unwrap_or(0).saturating_mul(1024),
    }
}

/// Whether `pid`, with one thread, is the only process in this pid namespace beside this one.
pub(crate) fn is_alone(pid: Pid) -> bool {
    let number = pid.as_raw_nonzero().get();
    // A directory has two links, and one for each directory in it, which are its threads.
    let threads = rustix::fs::stat(format!("/proc/{number}/task"));
    threads.is_ok_and(|threads| threads.st_nlink == 3)
        && others().is_some_and(|others| others == [number])
}

/// Whether `pid`, which was killed, can do nothing any more.
pub(crate) fn cannot_act(pid: Pid) -> bool {
    (0..LOOKS).any(|_| {
        std::thread::yield_now();
        is_exiting(pid.as_raw_nonzero().get())
    })
}

/// Stops `pid` and kills every other process of this pid namespace; false if they are faster.
pub(crate) fn freeze(pid: Pid) -> bool {
    // Whoever is gone needs neither.
    let _ = kill_process(pid, Signal::STOP);
    soon(|| {
        // First: who is stopped starts nobody.
        let stopped = is_stopped(pid);
        let alone = kill_others(pid);
        stopped && alone
    })
}

/// Waits until `pid`, which was killed, can do nothing any more; false if that takes too long.
pub(crate) fn wait(pid: Pid) -> bool {
    soon(|| is_exiting(pid.as_raw_nonzero().get()))
}

fn soon(mut holds: impl FnMut() -> bool) -> bool {
    (0..LOOKS + NAPS).any(|look| {
        let held = holds();
        if !held && look < LOOKS {
            std::thread::yield_now();
        } else if !held {
            std::thread::sleep(NAP);
        }
        held
    })
}

/// Lets `pid` go on.
pub(crate) fn thaw(pid: Pid) {
    let _ = kill_process(pid, Signal::CONT);
}

/// Kills every other process beside `spared`; whether there was none that could act.
fn kill_others(spared: Pid) -> bool {
    let Some(others) = others() else {
        return false;
    };
    let mut none = true;
    for number in others {
        let pid = Pid::from_raw(number).filter(|pid| *pid != spared);
        if let Some(pid) = pid.filter(|_| !is_exiting(number)) {
            let _ = kill_process(pid, Signal::KILL);
            none = false;
        }
    }
    none
}

/// Whether every thread of `pid` is stopped or on its way out.
fn is_stopped(pid: Pid) -> bool {
    let directory = format!("/proc/{}/task", pid.as_raw_nonzero());
    let Ok(threads) = fs::read_dir(&directory) else {
        return true;
    };
    threads.flatten().all(|thread| {
        let stat = read(thread.path().join("stat"));
        stat.map_or_else(
            |error| is_gone(&error),
            |stat| matches!(field(&stat, STATE), Some("T" | "t")) || has_exiting_flag(&stat),
        )
    })
}

/// Every other process of this pid namespace.
fn others() -> Option<Vec<i32>> {
    let mut others = Vec::new();
    for entry in fs::read_dir("/proc").ok()? {
        let name = entry.ok()?.file_name();
        match name.to_str().and_then(|name| name.parse().ok()) {
            Some(1) | None => {}
            Some(pid) => others.push(pid),
        }
    }
    Some(others)
}

/// Whether a process is on its way out, or gone.
fn is_exiting(pid: i32) -> bool {
    let stat = read(format!("/proc/{pid}/stat"));
    stat.map_or_else(|error| is_gone(&error), |stat| has_exiting_flag(&stat))
}

/// Whether that is the error of a process that is not there.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOENT | Errno::SRCH)
    )
}

/// Reads a file of `/proc`, which does not say its size, in as few calls as it takes.
fn read(path: impl rustix::path::Arg) -> io::Result<String> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = [0; 4096];
    let mut length = 0;
    loop {
        let rest = text.get_mut(length..).unwrap_or_default();
        match rustix::io::read(&file, rest)? {
            0 => break,
            count => length += count,
        }
    }
    let text = text.get(..length).unwrap_or_default();
    // The name of a process can be any bytes.
    Ok(String::from_utf8_lossy(text).into_owned())
}

fn has_exiting_flag(stat: &str) -> bool {
    let flags = field(stat, FLAGS).and_then(|flags| flags.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & EXITING != 0)
}

/// Fields of proc_pid_stat(5), counted from the one after the name.
const STATE: usize = 0;
const FLAGS: usize = 6;

fn field(stat: &str, index: usize) -> Option<&str> {
    // The second field is a name in parentheses, and may contain both spaces and parentheses.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(index)
}

//! Processes that the kernel takes apart: they never return to their program.

use std::fs;

use rustix::process::Pid;

/// `PF_EXITING` of linux/sched.h, in the flags of proc_pid_stat(5).
const EXITING: u64 = 4;

/// How often is looked before the usual end is waited for: a kill reaches a running program within microseconds.
const LOOKS: u32 = 200;

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) cpu_us: u64,
    pub(crate) memory_peak_bytes: u64,
}

/// What `pid` has used so far; zeros where the kernel does not say.
pub(crate) fn used(pid: Pid) -> Used {
    let read = |file: &str| {
        fs::read_to_string(format!("/proc/{}/{file}", pid.as_raw_nonzero())).unwrap_or_default()
    };
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
    let threads = fs::read_dir(format!("/proc/{number}/task")).map(Iterator::count);
    threads.is_ok_and(|threads| threads == 1) && others().is_some_and(|others| others == [number])
}

/// Whether `pid`, which was killed, can do nothing any more.
pub(crate) fn cannot_act(pid: Pid) -> bool {
    (0..LOOKS).any(|_| {
        std::thread::yield_now();
        is_exiting(pid.as_raw_nonzero().get())
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
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    // The second field is a name in parentheses, and may contain both spaces and parentheses.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
    let flags = fields.and_then(|fields| fields.split(' ').nth(6)?.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & EXITING != 0)
}

//! How long it takes from a violation to the death of the last process, beside a plain kill of the same tree.

use std::{
    fs,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
    time::{ClockId, clock_gettime},
};
use serde_json::{Value, json};

use super::{
    super::sample::Summary,
    house::{House, Route},
};

/// The processes beside the one that violates.
const SLEEPERS: usize = 8;
/// How long it waits before it does, so that all are found.
const WAITS: Duration = Duration::from_millis(400);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// What it took, on a machine whose cores are all busy.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    pub(super) violation: Vec<Duration>,
    pub(super) kill: Vec<Duration>,
}

/// Violates, and kills, again and again.
pub(super) fn measure(house: &House, rounds: usize) -> Result<Deaths> {
    let cores = thread::available_parallelism().map_or(2, usize::from);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let deaths = under_load(house, rounds);
        over.store(true, Ordering::Relaxed);
        deaths
    })
}

fn under_load(house: &House, rounds: usize) -> Result<Deaths> {
    let mut deaths = Deaths::default();
    // The first of each does not count.
    for round in 0..=rounds {
        let (violation, kill) = (violation(house, round)?, kill(round)?);
        if round > 0 {
            deaths.violation.push(violation);
            deaths.kill.push(kill);
        }
    }
    Ok(deaths)
}

/// A tree whose processes are found by a number that nobody else has; its first process goes on as `last`.
fn tree(mark: &str, last: &str) -> String {
    format!("for n in $(seq {SLEEPERS}); do sleep {mark} & done; {last}")
}

fn mark(kind: u32, round: usize) -> String {
    format!("{}{kind}{round:04}", std::process::id())
}

fn violation(house: &House, round: usize) -> Result<Duration> {
    let (thread, mark) = (house.thread(), mark(1, round));
    // It says beforehand when it will: what is said in the last moment is not heard.
    let code = format!(
        "import ctypes, time\nlibc = ctypes.CDLL(None)\nat = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + {}\n\
         print(at, flush=True)\nwhile time.clock_gettime_ns(time.CLOCK_MONOTONIC) < at: pass\nlibc.unshare(0x10000000)\ntime.sleep(60)",
        WAITS.as_nanos()
    );
    let script = tree(&mark, &format!("exec python3 -c '{code}' {mark}"));
    let call = json!({
        "route": Route::Plain.name(), "thread": thread, "tool": "shell", "argv": ["bash", "-c", script],
    });
    let (told, dead) = thread::scope(|scope| {
        let watched = scope.spawn(|| died(&found(&mark)?));
        let told = house.send("POST", "/v1/calls", call.to_string());
        let dead = watched.join();
        (told, dead.unwrap_or_else(|_| bail!("the watcher died")))
    });
    let told = told?.json()?;
    let violated = told.get("stdout").and_then(Value::as_str);
    let violated = violated.and_then(|text| text.trim().parse::<u64>().ok());
    let violated = violated.with_context(|| format!("it did not violate: {told}"))?;
    Ok(Duration::from_nanos(dead?.saturating_sub(violated)))
}

fn kill(round: usize) -> Result<Duration> {
    let mark = mark(2, round);
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--pid", "--fork", "bash", "-c"])
        .arg(tree(&mark, &format!("exec sleep {mark}")))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0);
    let mut outside = command.spawn().context("cannot start `unshare`")?;
    let processes = found(&mark)?;
    // The first process of the namespace is the one that was there first.
    let first = processes.first().context("nothing to kill")?;
    let start = now();
    pidfd_send_signal(first, Signal::KILL)?;
    let dead = died(&processes)?;
    outside.wait()?;
    Ok(Duration::from_nanos(dead.saturating_sub(start)))
}

/// The processes of a tree, when all of them are there, the first one first.
fn found(mark: &str) -> Result<Vec<OwnedFd>> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let mut pids: Vec<i32> = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            // Not whoever has it within a longer word, as the shell that starts them.
            if words
                .split(|byte| *byte == 0)
                .any(|word| word == mark.as_bytes())
            {
                pids.push(pid);
            }
        }
        if pids.len() == SLEEPERS + 1 {
            pids.sort_unstable();
            let open = |pid: &i32| {
                let pid = Pid::from_raw(*pid).context("no process")?;
                Ok(pidfd_open(pid, PidfdFlags::empty())?)
            };
            return pids.iter().map(open).collect();
        }
        thread::sleep(POLL);
    }
    bail!("the tree is not there")
}

/// When the last of them was dead, on the monotonic clock.
fn died(processes: &[OwnedFd]) -> Result<u64> {
    let patience = Timespec {
        tv_sec: i64::try_from(PATIENCE.as_secs())?,
        tv_nsec: 0,
    };
    for process in processes {
        let mut waits = [PollFd::new(process, PollFlags::IN)];
        ensure!(poll(&mut waits, Some(&patience))? == 1, "it does not die");
    }
    Ok(now())
}

fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}

impl Deaths {
    pub(super) fn table(&self) -> String {
        let mut table = format!(
            "\n## From a violation to the last process dead\n\nOf {} processes, all cores busy.\n\n| What | Median ms | p99 |\n|---|---:|---:|\n",
            SLEEPERS + 1
        );
        for (what, runs) in [
            (
                "a violation, until the last process of its session is dead",
                &self.violation,
            ),
            (
                "`SIGKILL` to the first process of a pid namespace, until the last is dead",
                &self.kill,
            ),
        ] {
            let row = Summary::of(runs).map_or_else(
                || format!("| {what} | – | – |\n"),
                |one| format!("| {what} | {:.2} | {:.2} |\n", one.median_ms, one.p99_ms),
            );
            table.push_str(&row);
        }
        table
    }
}

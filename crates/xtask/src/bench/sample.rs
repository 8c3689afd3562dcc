//! Timing one run, and what many runs come to.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

/// How often to wait for an idle machine before a run is made on a busy one.
const MOST_WAITS: usize = 25;
/// A machine is idle when at most this share of its time was used.
const IDLE_PERCENT_BUSY: u64 = 10;

/// The wall time from the start of `command` to its end with both its streams read.
///
/// # Errors
/// When it cannot be started, fails, or does not print `expected`.
pub(super) fn time(command: &mut Command, expected: &str) -> Result<Duration> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let start = Instant::now();
    let output = command
        .spawn()
        .context("it cannot be started")?
        .wait_with_output()?;
    let elapsed = start.elapsed();
    ensure!(
        output.status.success() && output.stdout == expected.as_bytes(),
        "{}, with {:?} on standard output and on standard error: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(elapsed)
}

/// Waits until the machine was idle for `idle`, or has not been for too long; says whether it was.
pub(super) fn wait_for_idle(idle: Duration) -> Result<bool> {
    if idle.is_zero() {
        return Ok(true);
    }
    for _ in 0..MOST_WAITS {
        let before = Ticks::now()?;
        thread::sleep(idle);
        let after = Ticks::now()?;
        let all = after.all.saturating_sub(before.all);
        let busy = after.busy.saturating_sub(before.busy);
        if busy * 100 <= all * IDLE_PERCENT_BUSY {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The machine's CPU time since it started.
struct Ticks {
    all: u64,
    busy: u64,
}

impl Ticks {
    fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        Self::parse(&stat).context("/proc/stat does not start with the CPU's times")
    }

    fn parse(stat: &str) -> Option<Self> {
        let times: Vec<u64> = stat
            .lines()
            .next()?
            .strip_prefix("cpu ")?
            .split_whitespace()
            .take(8)
            .map_while(|time| time.parse().ok())
            .collect();
        let all = times.iter().sum();
        let [_, _, _, idle, waiting, ..] = times.as_slice() else {
            return None;
        };
        Some(Self {
            all,
            busy: all - idle - waiting,
        })
    }
}

/// What many runs came to, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Summary {
    pub(super) median_ms: f64,
    pub(super) p10_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
}

impl Summary {
    /// Nearest-rank percentiles; `None` of no runs.
    pub(super) fn of(runs: &[Duration]) -> Option<Self> {
        let mut sorted = runs.to_vec();
        sorted.sort();
        let percentile = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted
                .get(rank - 1)
                .map(|duration| duration.as_secs_f64() * 1_000.0)
        };
        Some(Self {
            median_ms: percentile(50)?,
            p10_ms: percentile(10)?,
            p90_ms: percentile(90)?,
            p99_ms: percentile(99)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let runs: Vec<_> = (1..=10).rev().map(Duration::from_millis).collect();
        assert_eq!(
            Summary::of(&runs),
            Some(Summary {
                median_ms: 5.0,
                p10_ms: 1.0,
                p90_ms: 9.0,
                p99_ms: 10.0
            })
        );
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn a_run_that_fails_or_prints_something_else_is_no_measurement() {
        assert!(time(Command::new("echo").arg("1"), "1\n").is_ok());
        assert!(time(Command::new("echo").arg("2"), "1\n").is_err());
        assert!(time(&mut Command::new("false"), "").is_err());
    }

    #[test]
    fn busy_is_all_but_idle_and_waiting() {
        let ticks = Ticks::parse("cpu  10 1 5 80 4 0 0 0 7 7\ncpu0 1 1\n").unwrap();
        assert_eq!((ticks.all, ticks.busy), (100, 16));
        assert!(Ticks::parse("intr 1").is_none());
    }
}

//! Many sessions that live at once: what each takes, and how calls fare beside them.

use std::{
    fmt::Write as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{
    super::{
        RunOptions,
        sample::{self, Summary},
    },
    DATA, TRUE,
    house::{House, Route, call_body, checked},
    load::{Begin, Until, close, load, open},
    options::Sizes,
};
use crate::served::{Memory, available_bytes, memory, resident_bytes};

/// Callers at once.
const CALLERS: [usize; 3] = [1, 4, 16];
/// After so long a session that waits takes less memory, and its next call longer.
const WAITED: Duration = Duration::from_secs(13);
/// Memory that changes by less than this part in [`STEADY_FOR`] is as it will be.
const STEADY_PART: u64 = 100;
const STEADY_FOR: Duration = Duration::from_secs(5);
const MIB: f64 = 1_048_576.0;

/// What one of many idle sessions takes, in MiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) sessions: usize,
    pub(super) private: f64,
    proportional: f64,
    of_machine: f64,
    processes: f64,
    keeper: f64,
    gateway: f64,
}

/// Latencies beside so many sessions.
#[derive(Clone, Debug)]
struct Beside {
    sessions: usize,
    /// Callers, warm calls, new sessions.
    rows: Vec<(usize, Option<Summary>, Option<Summary>)>,
}

/// What many sessions come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Crowd {
    pub(super) plain: Option<Share>,
    pub(super) python: Option<Share>,
    /// A warm call after idle time, with one session and with all.
    pub(super) alone: Option<Summary>,
    pub(super) crowded: Option<Summary>,
    /// The first call of a session that has waited, with one session and with all.
    waited: (Option<Summary>, Option<Summary>),
    beside: Vec<Beside>,
}

pub(super) fn measure(house: &House, sizes: &Sizes, run: RunOptions) -> Result<Crowd> {
    let idle = Duration::from_millis(run.idle_ms);
    let most = sizes.crowd.last().copied().unwrap_or(1);
    let mut crowd = Crowd::default();
    // Without interpreters.
    let before = Before::now(house)?;
    let names = threads("plain", 0..most);
    let opened = open(house, Route::Plain, &names)?;
    crowd.plain = Some(before.share(house, most, sizes.settle)?);
    close(house, &opened)?;
    // With.
    house.wait_for_pools()?;
    let before = Before::now(house)?;
    let mut opened = Vec::new();
    for sessions in &sizes.crowd {
        let names = threads("data", opened.len()..*sessions);
        opened.extend(open(house, Route::Data, &names)?);
        if *sessions == most && most > 1 {
            crowd.python = Some(before.share(house, most, sizes.settle)?);
        }
        if *sessions == 1 || *sessions == most {
            let warm = after_idle(house, "data0", sizes.idle_runs, idle)?;
            let waited = first_calls(house, *sessions, sizes.waited)?;
            if *sessions == 1 {
                (crowd.alone, crowd.waited.0) = (warm, waited);
            } else {
                (crowd.crowded, crowd.waited.1) = (warm, waited);
            }
        }
        let beside = beside(house, *sessions, sizes.calls)?;
        crowd.beside.push(beside);
    }
    close(house, &opened)?;
    Ok(crowd)
}

fn threads(prefix: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{prefix}{number}")).collect()
}

/// Memory before there are sessions.
struct Before {
    sandboxes: Memory,
    available: u64,
    keeper: u64,
    gateway: u64,
}

impl Before {
    fn now(house: &House) -> Result<Self> {
        house.wait_for_pools()?;
        let keeper = house.keeper()?;
        Ok(Self {
            sandboxes: memory(keeper),
            available: available_bytes()?,
            keeper: resident_bytes(keeper)?,
            gateway: resident_bytes(house.gateway.pid())?,
        })
    }

    /// What each of so many takes, when it does not become less any more.
    fn share(&self, house: &House, sessions: usize, settle: Duration) -> Result<Share> {
        house.wait_for_pools()?;
        let keeper = house.keeper()?;
        let start = Instant::now();
        let mut now = memory(keeper);
        while start.elapsed() < settle {
            thread::sleep(STEADY_FOR.min(settle));
            let then = std::mem::replace(&mut now, memory(keeper));
            // None has waited for long enough before.
            if start.elapsed() > WAITED
                && now.private.abs_diff(then.private) < then.private / STEADY_PART
            {
                break;
            }
        }
        let each = |after: u64, before: u64| (after as f64 - before as f64) / sessions as f64;
        Ok(Share {
            sessions,
            private: each(now.private, self.sandboxes.private) / MIB,
            proportional: each(now.proportional, self.sandboxes.proportional) / MIB,
            of_machine: each(self.available, available_bytes()?) / MIB,
            processes: each(now.processes, self.sandboxes.processes),
            keeper: each(resident_bytes(keeper)?, self.keeper) / MIB,
            gateway: each(resident_bytes(house.gateway.pid())?, self.gateway) / MIB,
        })
    }
}

/// Warm calls of one session, each after idle time.
fn after_idle(house: &House, thread: &str, runs: usize, idle: Duration) -> Result<Option<Summary>> {
    let mut calls = Vec::new();
    // One more, which does not count.
    for run in 0..=runs {
        sample::wait_for_idle(idle)?;
        let elapsed = call(house, thread)?;
        if run > 0 {
            calls.push(elapsed);
        }
    }
    Ok(Summary::of(&calls))
}

/// First calls of sessions that have waited: each of another session if there are so many.
fn first_calls(house: &House, sessions: usize, runs: usize) -> Result<Option<Summary>> {
    let mut calls = Vec::new();
    for run in 0..runs {
        let number = if sessions > runs {
            sessions - 1 - run
        } else {
            0
        };
        if run == 0 || number == 0 {
            thread::sleep(WAITED);
        }
        calls.push(call(house, &format!("data{number}"))?);
    }
    Ok(Summary::of(&calls))
}

fn call(house: &House, thread: &str) -> Result<Duration> {
    let body = call_body(&DATA, Route::Data, thread).to_string();
    let start = Instant::now();
    let answer = house.send("POST", "/v1/calls", body)?;
    let elapsed = start.elapsed();
    checked(&answer, &DATA).context("a warm call")?;
    Ok(elapsed)
}

/// Calls from several callers without a pause, beside so many sessions.
fn beside(house: &House, sessions: usize, calls: usize) -> Result<Beside> {
    let mut rows = Vec::new();
    for callers in CALLERS {
        let live = threads("data", 0..callers.min(sessions.max(1)));
        // With fewer sessions than callers they share them.
        let live: Vec<_> = live.iter().cycle().take(callers).cloned().collect();
        let until = Until::Calls(calls);
        let warm = (Route::Data, Begin::LiveSession);
        let warm = load(house, &DATA, warm, &live, until)?.summary();
        house.wait_for_pools()?;
        let fresh: Vec<_> = (0..callers).map(|_| house.thread()).collect();
        let new = (Route::Plain, Begin::NewSession);
        let new = load(house, &TRUE, new, &fresh, until)?.summary();
        house.wait_for_pools()?;
        rows.push((callers, warm, new));
    }
    Ok(Beside { sessions, rows })
}

impl Crowd {
    /// Memory and growth, as tables.
    pub(super) fn tables(&self) -> String {
        let mut text = String::from(
            "\n## Idle sessions\n\nMiB for each session, after those that wait have given up what they can; pools are full before and after.\n\n\
             | | Sessions | Private | Proportional (Pss) | Of the machine (MemAvailable) | Processes | Keeper | Gateway |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|\n",
        );
        for (what, share) in [
            ("without an interpreter", self.plain),
            ("with numpy and pandas imported", self.python),
        ] {
            let Some(share) = share else { continue };
            let _ = writeln!(
                text,
                "| {what} | {} | {:.3} | {:.3} | {:.3} | {:.1} | {:.4} | {:.4} |",
                share.sessions,
                share.private,
                share.proportional,
                share.of_machine,
                share.processes,
                share.keeper,
                share.gateway
            );
        }
        text.push_str(
            "\nPrivate and proportional: of all processes of the sandboxes, by `smaps_rollup`. Of the machine: with what the kernel \
             and the keeper need for them.\n\n\
             | Warm call, ms | With one session | With all |\n|---|---:|---:|\n",
        );
        for (what, one, all) in [
            (
                "one session, called again and again",
                self.alone,
                self.crowded,
            ),
            (
                "a session that has waited for 13 s",
                self.waited.0,
                self.waited.1,
            ),
        ] {
            let _ = writeln!(text, "| {what} | {} | {} |", shown(one), shown(all));
        }
        text.push_str(
            "\n## How it grows\n\nMilliseconds, median and p99, of callers without a pause. With fewer sessions than callers, callers share a session.\n\n\
             | Sessions | Callers | Warm call with numpy and pandas | New session and `true` |\n|---:|---:|---:|---:|\n",
        );
        for beside in &self.beside {
            for (callers, warm, new) in &beside.rows {
                let sessions = beside.sessions;
                let _ = writeln!(
                    text,
                    "| {sessions} | {callers} | {} | {} |",
                    shown(*warm),
                    shown(*new)
                );
            }
        }
        text
    }
}

fn shown(summary: Option<Summary>) -> String {
    summary.map_or_else(
        || "–".to_owned(),
        |summary| format!("{:.2} / {:.2}", summary.median_ms, summary.p99_ms),
    )
}

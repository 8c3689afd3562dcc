//! How much is done in a second.

use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{
    super::{
        contender::{Prefix, Program},
        report::PEER,
        sample,
    },
    DATA, TRUE,
    house::{House, Route},
    load::{Begin, Until, load},
    options::Sizes,
    steps::median,
};
use crate::process;

/// Bubblewraps at once: one for each core of the machine that the goals are for.
const PEERS_AT_ONCE: usize = 2;
/// Sessions with warm calls.
const SESSIONS: usize = 16;

/// Rates a second.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    /// New sessions with a first `true`, as many at once as stand ready.
    pub(super) burst: Option<f64>,
    /// The same with a pool of 8: most are made while somebody waits.
    pub(super) burst_cold: Option<f64>,
    /// New sessions one after the other from 4 callers, each destroyed after its call.
    pub(super) turnover: Option<f64>,
    /// Bubblewraps with `true`: 2 at a time, and all at once.
    pub(super) peer: Option<(f64, f64)>,
    /// Warm calls with numpy and pandas, from 16 sessions.
    pub(super) warm: Option<f64>,
    /// Bubblewraps with the same: 2 at a time, and 16 at once.
    pub(super) peer_data: Option<(f64, f64)>,
}

impl Rates {
    /// The better of two.
    pub(super) fn best(pair: Option<(f64, f64)>) -> Option<f64> {
        pair.map(|(few, many)| few.max(many))
    }
}

/// Measures, each round one of each, and takes the medians.
pub(super) fn measure(
    house: &House,
    image: &std::path::Path,
    sizes: &Sizes,
    idle: Duration,
) -> Result<Rates> {
    let at_once = usize::try_from(house.at_once())?;
    let has_peer = process::succeeds(Command::new("bwrap").arg("--version"));
    let peer = Prefix::bubblewrap(Some(image));
    let live: Vec<_> = (0..SESSIONS)
        .map(|number| format!("warm{number}"))
        .collect();
    // The first call of each opens its session.
    let data = (Route::Data, Begin::LiveSession);
    load(house, &DATA, data, &live, Until::Calls(2))?;
    let mut found: [Vec<f64>; 8] = Default::default();
    for _ in 0..sizes.rounds {
        let [burst, cold, turnover, few, many, warm, few_data, many_data] = &mut found;
        for (route, rates) in [(Route::Burst, burst), (Route::Plain, cold)] {
            house.wait_for_pools()?;
            sample::wait_for_idle(idle)?;
            let threads: Vec<_> = (0..at_once).map(|_| house.thread()).collect();
            let new = (route, Begin::NewSession);
            rates.push(load(house, &TRUE, new, &threads, Until::Calls(1))?.rate());
        }
        house.wait_for_pools()?;
        sample::wait_for_idle(idle)?;
        let threads: Vec<_> = (0..4).map(|_| house.thread()).collect();
        let new = (Route::Plain, Begin::NewSession);
        let until = Until::Elapsed(sizes.sustained);
        turnover.push(load(house, &TRUE, new, &threads, until)?.rate());
        house.wait_for_pools()?;
        sample::wait_for_idle(idle)?;
        warm.push(load(house, &DATA, data, &live, until)?.rate());
        if has_peer {
            for (program, count, at_once, rates) in [
                (&TRUE, at_once, PEERS_AT_ONCE, &mut *few),
                (&TRUE, at_once, at_once, &mut *many),
                (&DATA, sizes.peers, PEERS_AT_ONCE, &mut *few_data),
                (&DATA, sizes.peers, SESSIONS, &mut *many_data),
            ] {
                sample::wait_for_idle(idle)?;
                let rate = peer_rate(&peer, program, count, at_once)
                    .with_context(|| format!("{count} of {} as {PEER}", program.name))?;
                rates.push(rate);
            }
        }
    }
    let [
        burst,
        burst_cold,
        turnover,
        few,
        many,
        warm,
        few_data,
        many_data,
    ] = found.map(|rates| median(rates.into_iter()));
    Ok(Rates {
        burst,
        burst_cold,
        turnover,
        peer: few.zip(many),
        warm,
        peer_data: few_data.zip(many_data),
    })
}

/// Runs a second, of `count` runs with `at_once` at any moment.
pub(in super::super) fn peer_rate(
    way: &Prefix,
    program: &Program,
    count: usize,
    at_once: usize,
) -> Result<f64> {
    let taken = AtomicUsize::new(0);
    let start = Instant::now();
    let failure = thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once)
            .map(|_| {
                scope.spawn(|| {
                    while taken.fetch_add(1, Ordering::Relaxed) < count {
                        sample::time(&mut way.command(program), program.expected)?;
                    }
                    Ok(())
                })
            })
            .collect();
        let ended = workers.into_iter().map(|worker| {
            let ended = worker.join();
            ended.unwrap_or_else(|_| Err(anyhow::anyhow!("a worker died")))
        });
        ended.filter_map(Result::err).next()
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(count as f64 / start.elapsed().as_secs_f64()),
    }
}

impl Rates {
    /// The rates as a table.
    pub(super) fn table(&self, at_once: u32) -> String {
        let few = |pair: Option<(f64, f64)>| pair.map(|(few, _)| few);
        let many = |pair: Option<(f64, f64)>| pair.map(|(_, many)| many);
        let rows = [
            (
                format!("casemate: {at_once} new sessions at once with `true`, all ready"),
                self.burst,
            ),
            ("casemate: the same, 8 ready".to_owned(), self.burst_cold),
            (
                "casemate: new session, `true`, destroyed; 4 callers without a pause".to_owned(),
                self.turnover,
            ),
            (format!("{PEER}: `true`, 2 at a time"), few(self.peer)),
            (
                format!("{PEER}: `true`, {at_once} at once"),
                many(self.peer),
            ),
            (
                format!("casemate: warm calls with numpy and pandas, {SESSIONS} sessions"),
                self.warm,
            ),
            (
                format!("{PEER}: the same script cold, 2 at a time"),
                few(self.peer_data),
            ),
            (
                format!("{PEER}: the same script cold, {SESSIONS} at once"),
                many(self.peer_data),
            ),
        ];
        let mut table = String::from("\n## Rates\n\n| What | Each second |\n|---|---:|\n");
        for (what, rate) in rows {
            let rate = rate.map_or_else(|| "–".to_owned(), |rate| format!("{rate:.1}"));
            table.push_str(&format!("| {what} | {rate} |\n"));
        }
        table
    }
}

//! What a reservation and its settlement cost, beside one bare write of as many bytes. Prints JSON.

use std::{
    error::Error,
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use casemate_authority::{Amounts, BudgetRule, Budgets, Period, Resource, Scope, Spender};
use serde_json::{Value, json};

type Failure = Box<dyn Error + Send + Sync>;

const ROUNDS: usize = 100_000;
const THREADS: usize = 8;
const NOW_MS: u64 = 1_795_000_000_000;

fn main() -> Result<(), Failure> {
    // Beside the build, which is on a real disk; `/tmp` may be memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let one = one_thread(&dir.path().join("one"))?;
    let many = many_threads(&dir.path().join("many"))?;
    let peer = peer(&dir.path().join("peer"))?;
    let reopen = reopen(&dir.path().join("one"))?;
    let report = json!({
        "one thread": one,
        "eight threads": many,
        "bare write of 150 bytes": peer,
        "reopen": reopen,
    });
    #[expect(
        clippy::print_stdout,
        reason = "the report is what this program is for"
    )]
    {
        println!("{report:#}");
    }
    Ok(())
}

/// Six rules, as a profile with budgets would have them.
fn rules() -> Vec<BudgetRule> {
    let rule = |scope, per, resource| BudgetRule {
        scope,
        per,
        resource,
        limit: u64::MAX,
    };
    vec![
        rule(Scope::Call, Period::Total, Resource::TimeMs),
        rule(Scope::Thread, Period::Total, Resource::Calls),
        rule(Scope::Agent, Period::Day, Resource::Tokens),
        rule(Scope::Agent, Period::Day, Resource::Calls),
        rule(Scope::Tenant, Period::Day, Resource::MoneyMicros),
        rule(Scope::Tenant, Period::Total, Resource::MoneyMicros),
    ]
}

fn wanted() -> Amounts {
    Amounts::default()
        .with(Resource::Calls, 1)
        .with(Resource::TimeMs, 30_000)
        .with(Resource::Tokens, 4_000)
        .with(Resource::MoneyMicros, 12_000)
}

/// Times of each reservation and each settlement.
fn spend(
    budgets: &Budgets,
    rounds: usize,
    thread: &str,
) -> Result<(Vec<Duration>, Vec<Duration>), Failure> {
    let (rules, wanted) = (rules(), wanted());
    let spender = Spender {
        tenant: "acme",
        agent: "support-agent",
        thread,
    };
    let (mut reserving, mut settling) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let began = Instant::now();
        let held = budgets.reserve(&spender, &rules, &wanted, NOW_MS)?;
        reserving.push(began.elapsed());
        let began = Instant::now();
        budgets.settle(held, &Amounts::default().with(Resource::Calls, 1))?;
        settling.push(began.elapsed());
    }
    Ok((reserving, settling))
}

fn one_thread(dir: &Path) -> Result<Value, Failure> {
    let budgets = Budgets::open(dir)?;
    let (reserving, settling) = spend(&budgets, ROUNDS, "thr_00000000")?;
    Ok(json!({ "reserve": summary(reserving), "settle": summary(settling) }))
}

fn many_threads(dir: &Path) -> Result<Value, Failure> {
    let budgets = Budgets::open(dir)?;
    let began = Instant::now();
    let rounds = ROUNDS / THREADS;
    let mut all = Vec::new();
    thread::scope(|scope| {
        let budgets = &budgets;
        let threads: Vec<_> = (0..THREADS)
            .map(|nth| scope.spawn(move || spend(budgets, rounds, &format!("thr_{nth:08}"))))
            .collect();
        for thread in threads {
            let spent = thread.join().map_err(|_| "a thread panicked")??;
            all.extend(spent.0);
        }
        Ok::<(), Failure>(())
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let pairs_per_s = ((rounds * THREADS) as f64 / seconds).round();
    Ok(json!({ "reserve": summary(all), "reserve_and_settle_per_s": pairs_per_s }))
}

fn peer(path: &Path) -> Result<Value, Failure> {
    let file = File::create(path)?;
    let bytes = [b'x'; 150];
    let mut times = Vec::new();
    for nth in 0..ROUNDS as u64 {
        let began = Instant::now();
        file.write_at(&bytes, nth * bytes.len() as u64)?;
        times.push(began.elapsed());
    }
    Ok(summary(times))
}

fn reopen(dir: &Path) -> Result<Value, Failure> {
    let bytes = fs::metadata(dir.join("budgets"))?.len();
    let began = Instant::now();
    let budgets = Budgets::open(dir)?;
    let ms = began.elapsed().as_secs_f64() * 1e3;
    drop(budgets);
    Ok(json!({ "bytes": bytes, "ms": ms }))
}

fn summary(mut times: Vec<Duration>) -> Value {
    times.sort_unstable();
    let at = |per_mille: usize| {
        let nth = times.len() * per_mille / 1_000;
        let time = times.get(nth.min(times.len() - 1)).copied();
        time.unwrap_or_default().as_nanos() as f64 / 1e3
    };
    json!({ "p50_us": at(500), "p99_us": at(990), "p999_us": at(999), "max_us": at(1_000) })
}

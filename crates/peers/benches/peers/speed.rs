//! What each proxy costs.

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use casemate_attacks::Roots;
use casemate_ledger::{Ledger, LogKey};
use rustls::{
    client::Resumption,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde_json::{Value, json};

use crate::{
    Failure,
    agent::{self, Agent, Book, Way},
    bare, equipped,
    load::{Connection, Route, fresh, latencies, rate},
    mitmproxy, names, origin,
    peer::{Peer, Rules},
    squid,
};

const CONNECTIONS: usize = 32;
const GIBIBYTE: usize = 1 << 30;
const RECORD: usize = 700;
const FLUSHES: usize = 200;
/// How often it is looked whether a rule was given back.
const GIVEN_BACK: usize = 200;
/// In what the system counts the time of processors (`USER_HZ`).
const TICK_US: f64 = 10_000.0;

/// How much is measured.
struct Extent {
    rounds: usize,
    seconds: f64,
    fresh: usize,
    starts: usize,
    bytes: usize,
    cuts: usize,
}

const FULL: Extent = Extent {
    rounds: 7,
    seconds: 2.0,
    fresh: 40,
    starts: 9,
    bytes: GIBIBYTE,
    cuts: 200,
};
const QUICK: Extent = Extent {
    rounds: 1,
    seconds: 0.5,
    fresh: 5,
    starts: 1,
    bytes: GIBIBYTE / 16,
    cuts: 10,
};

#[derive(Default)]
struct Found {
    rates: Vec<f64>,
    one: Vec<f64>,
    fresh: Vec<f64>,
    starts: Vec<f64>,
    /// The time of processors, and for how many requests.
    cpu_us: f64,
    requests: f64,
}

pub(crate) fn speed() -> Result<(), Failure> {
    let extent = if env::var_os("CASEMATE_QUICK").is_some() {
        QUICK
    } else {
        FULL
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(measure(&extent))?;
    println!("{report:#}");
    Ok(())
}

async fn measure(extent: &Extent) -> Result<Value, Failure> {
    let _names = names::serve(names::names(&[])).await?;
    let roots = Roots::new();
    let origin = origin::serve(roots.server(&["good.test"], &[b"http/1.1"], |_| {})).await?;
    // Beside the build, which is on a real disk: records are flushed.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    let path = directory.path().join("roots.pem");
    fs::write(&path, &roots.pem)?;
    let trusted = CertificateDer::from_pem_slice(&roots.pem)?;
    let route = |proxy, authority: &CertificateDer<'static>| {
        let mut trust = Peer::trusting(authority, &[]);
        trust.resumption = Resumption::disabled();
        Route {
            name: "good.test".to_owned(),
            proxy,
            origin,
            trust: Arc::new(trust),
        }
    };
    let allowed = [("good.test".to_owned(), origin)];
    type Start = fn(&Rules<'_>) -> Result<Peer, Failure>;
    let starts: [(&str, Start); 5] = [
        ("squid", squid::start),
        ("mitmproxy", |rules| mitmproxy::start(rules, false)),
        ("bare", bare::start),
        ("memory", |rules| {
            equipped::start(rules, equipped::IN_MEMORY)
        }),
        ("everything", |rules| equipped::start(rules, equipped::NAME)),
    ];
    let (mut peers, mut found) = (Vec::new(), Vec::new());
    for ((way, start), first) in starts.into_iter().zip((20_000..).step_by(100)) {
        if !is_wanted(way) {
            continue;
        }
        let mut one = Found::default();
        let mut running = None;
        for port in (first..).take(extent.starts) {
            drop(running.take());
            let own = directory.path().join(port.to_string());
            fs::create_dir(&own)?;
            let rules = Rules {
                directory: &own,
                port,
                plain: 1,
                allowed: &allowed,
                roots: &path,
            };
            match start(&rules) {
                Ok(peer) => {
                    one.starts.push(peer.start.as_secs_f64() * 1e3);
                    running = Some(peer);
                }
                Err(error) => {
                    eprintln!("{error}");
                    break;
                }
            }
        }
        if let Some(peer) = running {
            peers.push(peer);
            found.push(one);
        }
    }
    let mut ways = vec![("direct TLS", None, route(None, &trusted))];
    ways.extend(peers.iter().map(|peer| {
        let route = route(Some(peer.port), &peer.authority);
        (peer.name, Some(peer.child.id()), route)
    }));
    found.insert(0, Found::default());
    let own = match env::var_os("CASEMATE_BINARY").filter(|_| is_wanted("process")) {
        Some(binary) => {
            Some(process(binary.as_ref(), directory.path(), extent.starts, origin).await?)
        }
        None => None,
    };
    if let Some((agent, way, starts)) = &own {
        let route = route(Some(way.port), &way.authority);
        ways.push((agent::NAME, Some(agent.pid()), route));
        found.push(Found {
            starts: starts.clone(),
            ..Found::default()
        });
    }
    for _ in 0..extent.rounds {
        for ((_, pid, route), found) in ways.iter().zip(&mut found) {
            let before = pid.map(cpu).transpose()?;
            let (rate, count) = rate(route, CONNECTIONS, extent.seconds).await?;
            found.rates.push(rate);
            if let (Some(pid), Some(before)) = (pid, before) {
                found.cpu_us += cpu(*pid)? - before;
                found.requests += count;
            }
            found
                .one
                .push(median(latencies(route, extent.seconds / 2.0).await?));
            found.fresh.extend(fresh(route, extent.fresh).await?);
        }
    }
    let mut report = BTreeMap::new();
    for ((name, pid, route), found) in ways.iter().zip(found) {
        let rss = pid.map(|pid| memory(pid, "VmRSS")).transpose()?;
        let (rate, grown) = stream(route, *pid, extent.bytes).await?;
        report.insert(
            *name,
            json!({
                "rps": median(found.rates),
                "cpu_us": (found.requests > 0.0).then(|| found.cpu_us / found.requests),
                "p50_us": median(found.one),
                "fresh_p50_us": median(found.fresh),
                "start_p50_ms": (!found.starts.is_empty()).then(|| median(found.starts)),
                "rss_kib": rss,
                "stream_mb_s": rate,
                "stream_grown_kib": grown,
            }),
        );
    }
    let ours = peers.iter_mut().find(|peer| peer.name == equipped::NAME);
    let cuts = match ours {
        Some(ours) => {
            let route = route(Some(ours.port), &ours.authority.clone());
            cut(ours, &route, extent.cuts).await?
        }
        None => Value::Null,
    };
    let flush = flush(&directory.path().join("flushed"))?;
    Ok(json!({ "ways": report, "cut_ms": cuts, "flush_p50_us": flush }))
}

/// Whether a way is measured: all are, unless some are named.
fn is_wanted(way: &str) -> bool {
    env::var("CASEMATE_WAYS").map_or(true, |ways| ways.split(',').any(|one| one == way))
}

/// The process of an agent as the gateway starts it, with the way out of one call whose records are in a log here; and how long starts took,
/// in milliseconds.
async fn process(
    binary: &Path,
    directory: &Path,
    count: usize,
    origin: u16,
) -> Result<(Agent, Way, Vec<f64>), Failure> {
    let (mut starts, mut running) = (Vec::new(), None);
    for at in 0..count.max(1) {
        drop(running.take());
        let own = directory.join(format!("agent-{at}"));
        let agent = Agent::start(binary, &own, &directory.join("roots.pem")).await?;
        starts.push(agent.start.as_secs_f64() * 1e3);
        running = Some(agent);
    }
    let agent = running.ok_or("it was not started")?;
    let key = LogKey::from_seed(&[1; 32], "casemate.bench/log")?;
    let ledger = Ledger::open(&directory.join("agents-log"), key)?;
    let book = Arc::new(Book(Arc::new(ledger)));
    let rules = equipped::profile(&[origin], None);
    let way = agent.open(&rules, book).await?;
    Ok((agent, way, starts))
}

/// How long the disk takes for as much as a record is.
fn flush(path: &Path) -> Result<f64, Failure> {
    let mut file = fs::File::create(path)?;
    let mut all = Vec::new();
    for _ in 0..FLUSHES {
        let began = Instant::now();
        file.write_all(&[b'x'; RECORD])?;
        file.sync_data()?;
        all.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(all))
}

/// Streams a large body: MB a second, and by how many KiB the proxy grew.
async fn stream(
    route: &Route,
    pid: Option<u32>,
    bytes: usize,
) -> Result<(f64, Option<f64>), Failure> {
    let mut connection = Connection::open(route).await?;
    connection.get("/").await?;
    let before = match pid {
        Some(pid) => {
            // The highest mark begins anew.
            for path in group(pid)? {
                fs::write(path.join("clear_refs"), "5")?;
            }
            Some((pid, memory(pid, "VmRSS")?))
        }
        None => None,
    };
    let began = Instant::now();
    let count = connection.get(&format!("/bytes/{bytes}")).await?;
    if count != bytes {
        return Err(format!("{count} of {bytes} bytes came").into());
    }
    let rate = bytes as f64 / began.elapsed().as_secs_f64() / 1e6;
    let grown = before.map(|(pid, before)| memory(pid, "VmHWM").map(|most| most - before));
    Ok((rate, grown.transpose()?))
}

/// From when a rule is withdrawn until the last byte of a stream that stands on it.
async fn cut(peer: &mut Peer, route: &Route, count: usize) -> Result<Value, Failure> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut connection = Connection::open(route).await?;
        connection.ask("/endless").await?;
        for _ in 0..5 {
            connection.some().await?;
        }
        let told = peer.child.stdin.as_mut().ok_or("nobody listens")?;
        let began = Instant::now();
        told.write_all(b"\n")?;
        connection.drain().await;
        all.push(began.elapsed().as_secs_f64() * 1e3);
        told.write_all(b"\n")?;
        // On a busy machine that takes a while.
        for _ in 0..GIVEN_BACK {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if let Ok(mut connection) = Connection::open(route).await
                && connection.get("/").await.is_ok()
            {
                break;
            }
        }
    }
    all.sort_by(f64::total_cmp);
    let at = |percent: usize| all[(all.len() - 1) * percent / 100];
    Ok(json!({ "count": all.len(), "p50": at(50), "p99": at(99), "most": at(100) }))
}

/// A number of a process and of those that it started, in KiB.
pub(crate) fn memory(pid: u32, what: &str) -> Result<f64, Failure> {
    let all = group(pid)?.iter().map(|path| of_process(path, what)).sum();
    if all <= 0.0 {
        return Err("no such process".into());
    }
    Ok(all)
}

/// What a process and those that it started have had of processors, in microseconds: all of it on this machine, whoever else is at work.
fn cpu(pid: u32) -> Result<f64, Failure> {
    let mut ticks = 0.0;
    for path in group(pid)? {
        let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let times = fields.split_whitespace().skip(11).take(2);
        ticks += times
            .filter_map(|time| time.parse::<f64>().ok())
            .sum::<f64>();
    }
    Ok(ticks * TICK_US)
}

/// Where the system tells of the processes of a group.
fn group(pid: u32) -> Result<Vec<PathBuf>, Failure> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
        let group = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(2));
        if group == Some(&pid.to_string()) {
            all.push(path);
        }
    }
    Ok(all)
}

fn of_process(path: &Path, what: &str) -> f64 {
    let status = fs::read_to_string(path.join("status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let number = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

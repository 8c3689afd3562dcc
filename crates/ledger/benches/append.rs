//! How many records a second become durable: 64 threads that share a ledger, beside one that writes
//! a record and calls fdatasync, again and again. Prints JSON.

use std::{
    error::Error,
    fs::File,
    io::Write as _,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use casemate_ledger::{Entry, Kind, Ledger, LedgerError, LogKey, verify};
use casemate_model::DecisionId;
use serde_json::json;

const WRITERS: u64 = 64;
const RUN_FOR: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn Error>> {
    // Beside the build, which is on a real disk; `/tmp` may be memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let (records, seconds, fsyncs) = ledger(&dir.path().join("ledger"))?;
    let (peer_records, peer_seconds) = peer(&dir.path().join("peer"))?;
    let report = json!({
        "ledger": {
            "writers": WRITERS,
            "records": records,
            "seconds": seconds,
            "records_per_s": per_second(records, seconds),
            "fsyncs": fsyncs,
        },
        "peer": {
            "what": "one writer, write and fdatasync for each record",
            "writers": 1,
            "records": peer_records,
            "seconds": peer_seconds,
            "records_per_s": per_second(peer_records, peer_seconds),
            "fsyncs": peer_records,
        },
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

/// Records, seconds and fdatasyncs of a ledger under load.
fn ledger(dir: &Path) -> Result<(u64, f64, u64), Box<dyn Error>> {
    let key = LogKey::from_seed(&[1; 32], "casemate.bench/log")?;
    let public = key.public();
    let ledger = Ledger::open(dir, key)?;
    let stop = AtomicBool::new(false);
    let next = AtomicU64::new(0);
    let began = Instant::now();
    let appended = thread::scope(|scope| {
        let append = || {
            while !stop.load(Ordering::Relaxed) {
                ledger.append(entry(next.fetch_add(1, Ordering::Relaxed)))?;
            }
            Ok::<(), LedgerError>(())
        };
        let threads: Vec<_> = (0..WRITERS).map(|_| scope.spawn(append)).collect();
        thread::sleep(RUN_FOR);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .map_err(|_| "a writer panicked".to_owned())?
                .map_err(|error| error.to_string())
        })
    });
    appended?;
    let seconds = began.elapsed().as_secs_f64();
    let verified = verify(dir, &public, None)?;
    Ok((verified.records, seconds, verified.batches))
}

/// A gateway's mix: a decision, and its outcome.
fn entry(number: u64) -> Entry {
    Entry {
        at_ms: 1_800_000_000_000 + number,
        decision: DecisionId::new(number / 2, [0; 10]),
        kind: if number.is_multiple_of(2) {
            Kind::Allowed
        } else {
            Kind::Outcome
        },
        agent: "local".into(),
        tenant: "local".into(),
        summary: json!({
            "tool": "python",
            "side_effect": "draft",
            "action": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "checks": 9,
        }),
        payload: None,
    }
}

/// Records and seconds of the simplest durable log.
fn peer(path: &Path) -> Result<(u64, f64), Box<dyn Error>> {
    let mut file = File::create(path)?;
    let began = Instant::now();
    let mut records = 0;
    while began.elapsed() < RUN_FOR {
        let entry = entry(records);
        let record = json!({
            "at_ms": entry.at_ms,
            "kind": entry.kind,
            "decision": entry.decision,
            "agent": entry.agent,
            "tenant": entry.tenant,
            "summary": entry.summary,
        });
        file.write_all(record.to_string().as_bytes())?;
        file.sync_data()?;
        records += 1;
    }
    Ok((records, began.elapsed().as_secs_f64()))
}

fn per_second(records: u64, seconds: f64) -> f64 {
    (records as f64 / seconds).round()
}

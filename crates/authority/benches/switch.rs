//! What asking the switches costs, and how long a throw takes to reach what runs in another process. Prints JSON.

use std::{
    collections::HashMap,
    env,
    error::Error,
    fs::{self, File},
    hint::black_box,
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use casemate_authority::{Board, Epoch, Position, Subject, Switch, SwitchKind, Switchboard, Throw};
use casemate_model::Digest;
use serde_json::{Value, json};

type Failure = Box<dyn Error + Send + Sync>;

const WATCHED: &str = "CASEMATE_AUTHORITY_BENCH_WATCHED";
const CHECKS: u32 = 200_000;
const READS: u32 = 50;
/// Changes that are measured of each size.
const CHANGES: u64 = 500;
const THROWS: u64 = 300;
/// Calls that run and are asked about at each change.
const RUNNING: usize = 1_000;
const SIZES: [u64; 4] = [1, 100, 1_000, 9_000];
const PAUSE: Duration = Duration::from_millis(3);
const SUBJECT: Subject<'static> = Subject {
    tenant: Some("acme"),
    user: Some("eve@acme.example"),
    agent: Some("support"),
    route: Some("chat"),
    tool: Some("python"),
    destination: Some("api.partner.example"),
    model: Some("m-1"),
    credential: Some("crm"),
};

fn main() -> Result<(), Failure> {
    if let Ok(dir) = env::var(WATCHED) {
        return watch(dir.as_ref());
    }
    let temp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let (mut checks, mut changes) = (serde_json::Map::new(), serde_json::Map::new());
    for size in SIZES {
        let dir = temp.path().join(size.to_string());
        checks.insert(format!("{size} switches"), check(&dir, size)?);
        changes.insert(format!("{size} switches"), change(&dir, size)?);
    }
    let report = json!({
        "check, with eight fields": checks,
        "from the rename to another process": changes,
        "throw": throws(&temp.path().join("throw"))?,
    });
    print(&format!("{report:#}"));
    Ok(())
}

/// A board with `size` switches, as throws until `epoch` would have left it.
fn board(size: u64, epoch: u64) -> Result<Vec<u8>, Failure> {
    let switch = |nth: u64| Switch {
        kind: SwitchKind::User,
        name: format!("user-{nth}@acme.example"),
        tenant: None,
        epoch: Epoch::new(epoch - size + nth + 1),
        off_since_ms: Some(1_795_000_000_000),
        who: "ada@acme.example".to_owned(),
        reason: "an incident".to_owned(),
        at_ms: 1_795_000_000_000,
    };
    let switches: Vec<_> = (0..size).map(switch).collect();
    let json = json!({ "epoch": epoch, "forgotten": 0, "switches": switches }).to_string();
    let digest = Digest::of(json.as_bytes());
    Ok(format!("casemate switchboard 1 {digest}\n{json}\n").into_bytes())
}

/// Puts a board in place as a throw does. Returns when it was renamed.
fn put(dir: &Path, bytes: &[u8]) -> Result<u64, Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let new = dir.join(".new");
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let now = now_ns();
    fs::rename(&new, dir.join("board"))?;
    Ok(now)
}

fn check(dir: &Path, size: u64) -> Result<Value, Failure> {
    let switchboard = Switchboard::open(dir)?;
    put(dir, &board(size, size)?)?;
    let asked = ns_each(|| switchboard.board().check(black_box(&SUBJECT)).is_ok());
    let path = dir.join("board");
    let stat = ns_each(|| fs::symlink_metadata(black_box(&path)).is_ok());
    let switches = switchboard.board().switches()?;
    let looked = ns_each(|| {
        switches
            .check_held(black_box(&SUBJECT), Epoch::new(size))
            .is_ok()
    });
    let began = Instant::now();
    for _ in 0..READS {
        Board::open(dir).check(&SUBJECT)?;
    }
    let read = began.elapsed().as_micros() / u128::from(READS);
    Ok(
        json!({ "us of reading it anew": u64::try_from(read)?, "ns": asked, "ns without the system call": looked, "ns of a bare stat": stat }),
    )
}

fn ns_each(mut step: impl FnMut() -> bool) -> f64 {
    let began = Instant::now();
    let mut all = true;
    for _ in 0..CHECKS {
        all &= step();
    }
    assert!(all);
    (began.elapsed().as_nanos() as f64 / f64::from(CHECKS)).round()
}

/// From the rename until the callback of another process, and until it has asked about all that runs.
fn change(dir: &Path, size: u64) -> Result<Value, Failure> {
    let mut renamed = HashMap::new();
    let told = with_watcher(dir, || {
        for epoch in size + 1..=size + CHANGES {
            let bytes = board(size, epoch)?;
            renamed.insert(epoch, put(dir, &bytes)?);
            thread::sleep(PAUSE.max(Duration::from_micros(size * 10)));
        }
        Ok(())
    })?;
    Ok(summary(&told, &renamed))
}

/// Real throws: how long they take, and how long after their return another process was told.
fn throws(dir: &Path) -> Result<Value, Failure> {
    let switchboard = Switchboard::open(dir)?;
    let (mut took, mut began, mut returned) = (Vec::new(), HashMap::new(), HashMap::new());
    let told = with_watcher(dir, || {
        for nth in 1..=THROWS {
            let throw = Throw {
                kind: SwitchKind::Tool,
                name: format!("tool-{}", nth % 10),
                tenant: None,
                to: Position::Off,
                who: "ada".to_owned(),
                reason: "an incident".to_owned(),
                at_ms: nth,
            };
            began.insert(nth, now_ns());
            let start = Instant::now();
            switchboard.throw(throw)?;
            took.push(start.elapsed().as_nanos() as f64 / 1e3);
            returned.insert(nth, now_ns());
            thread::sleep(PAUSE);
        }
        Ok(())
    })?;
    Ok(json!({
        "throw() until it returns": parts(took),
        "from its beginning": summary(&told, &began),
        "from its return (before it, if negative)": summary(&told, &returned),
    }))
}

/// When another process was told of each epoch, and was done with it.
type Told = HashMap<u64, (u64, u64)>;

/// Does `work` while another process watches.
fn with_watcher(dir: &Path, work: impl FnOnce() -> Result<(), Failure>) -> Result<Told, Failure> {
    let mut child = Command::new(env::current_exe()?)
        .env(WATCHED, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    lines.next().ok_or("the watcher did not start")??;
    work()?;
    thread::sleep(Duration::from_millis(100));
    drop(child.stdin.take());
    let mut told = HashMap::new();
    for line in lines {
        let line = line?;
        let mut numbers = line.split(' ').map(str::parse);
        let mut next = || numbers.next().ok_or("a line is too short");
        told.insert(next()??, (next()??, next()??));
    }
    child.wait()?;
    Ok(told)
}

/// The other process.
fn watch(dir: &Path) -> Result<(), Failure> {
    let told: Arc<Mutex<Vec<[u64; 3]>>> = Arc::default();
    let tell = Arc::clone(&told);
    let board = Arc::new(Board::open(dir));
    let allowed = board.check(&SUBJECT)?;
    let watch = board.watch(move |now| {
        let began = now_ns();
        if let Ok(switches) = now {
            for _ in 0..RUNNING {
                black_box(switches.check_held(black_box(&SUBJECT), allowed).is_ok());
            }
            if let Ok(mut tell) = tell.lock() {
                tell.push([switches.epoch().get(), began, now_ns()]);
            }
        }
    })?;
    print("ready");
    io::copy(&mut io::stdin(), &mut io::sink())?;
    drop(watch);
    for [epoch, began, ended] in told.lock().map_err(|_| "poisoned")?.iter() {
        print(&format!("{epoch} {began} {ended}"));
    }
    Ok(())
}

fn summary(told: &Told, from: &HashMap<u64, u64>) -> Value {
    let of = |end: fn(&(u64, u64)) -> u64| {
        let times = from.iter().filter_map(|(epoch, from)| {
            let at = told.get(epoch).map(end)?;
            Some((at.cast_signed() - from.cast_signed()) as f64 / 1e3)
        });
        parts(times.collect())
    };
    json!({
        "until the callback": of(|told| told.0),
        "until 1000 calls were asked about": of(|told| told.1),
        "passed over for a newer one": from.keys().filter(|epoch| !told.contains_key(epoch)).count(),
    })
}

fn parts(mut times: Vec<f64>) -> Value {
    times.sort_unstable_by(f64::total_cmp);
    let at = |per_mille: usize| {
        let nth = times.len() * per_mille / 1_000;
        times.get(nth.min(times.len().saturating_sub(1))).copied()
    };
    json!({ "p50_us": at(500), "p99_us": at(990), "max_us": at(1_000) })
}

fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or_default() * 1_000_000_000
        + u64::try_from(now.tv_nsec).unwrap_or_default()
}

#[expect(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]
fn print(line: &str) {
    println!("{line}");
}

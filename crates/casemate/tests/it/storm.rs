//! kill -9 of the gateway, again and again, while a thousand calls are asked for, approved and run.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use casemate_bundle::PolicyKey;
use casemate_gateway::{MAX_MEMBERS, Member, Statement, Vote};
use serde_json::{Value, json};

use crate::{
    approvals::{enlist, text},
    home::Home,
    keeper::{Keepers, until},
    route::Route,
    serve::Gateway,
};

const CALLS: usize = 1_000;
/// As many ask and approve at once.
const WORKERS: usize = 8;
/// In as many sessions.
const THREADS: usize = 4;
/// As often the gateway dies while calls are asked for, while they are approved, and while the last of them run.
const DEATHS: [usize; 3] = [5, 8, 4];
/// The longest time between two deaths while calls run.
const LONGEST_CALM_MS: u64 = 600;
/// More refusals of one request than a storm explains.
const MOST_TRIES: usize = 500;

/// What the gateway answers: a status and JSON. Nothing when it died.
fn ask(socket: &Path, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
    let mut stream = UnixStream::connect(socket).ok()?;
    let body = body.to_string();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: casemate\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).ok()?))
}

/// Asks until there is an answer.
fn insist(socket: &Path, method: &str, path: &str, body: &Value) -> (u16, Value) {
    loop {
        match ask(socket, method, path, body) {
            Some(answer) => return answer,
            None => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn listed(socket: &Path, state: &str) -> Vec<Value> {
    let path = format!("/v1/approvals?state={state}");
    let (status, found) = insist(socket, "GET", &path, &Value::Null);
    assert_eq!(status, 200, "{found}");
    found["approvals"].as_array().unwrap().clone()
}

/// The gateway, and when it dies.
struct Storm<'h> {
    home: &'h Home,
    gateway: Option<Gateway<'h>>,
    random: fastrand::Rng,
    /// Requests that were answered.
    answered: AtomicUsize,
}

impl<'h> Storm<'h> {
    fn start(home: &'h Home) -> Gateway<'h> {
        Gateway::under(home, &["work.toml"])
    }

    /// kill -9, and another one.
    fn strike(&mut self) {
        thread::sleep(Duration::from_micros(self.random.u64(0..20_000)));
        drop(self.gateway.take());
        self.gateway = Some(Self::start(self.home));
    }

    /// Does `work` on many threads, and kills the gateway at so many random points of it.
    fn during(&mut self, deaths: usize, requests: usize, work: impl Fn(&AtomicUsize) + Sync) {
        let before = self.answered.load(Ordering::Relaxed);
        let mut points: Vec<_> = (0..deaths)
            .map(|_| before + self.random.usize(0..requests))
            .collect();
        points.sort_unstable();
        let answered = std::mem::take(&mut self.answered);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS)
                .map(|_| {
                    let (work, answered) = (&work, &answered);
                    scope.spawn(move || work(answered))
                })
                .collect();
            for point in points {
                while answered.load(Ordering::Relaxed) < point
                    && !workers.iter().all(thread::ScopedJoinHandle::is_finished)
                {
                    thread::sleep(Duration::from_millis(1));
                }
                self.strike();
            }
        });
        self.answered = answered;
    }
}

/// Asks for calls until a thousand wait: gives those, and which ones the gateway said that it took.
fn propose(storm: &mut Storm<'_>, socket: &Path) -> (Vec<Value>, BTreeSet<String>) {
    let taken = Mutex::new(BTreeSet::new());
    let mut next = 0;
    let mut deaths = DEATHS[0];
    loop {
        let waiting = listed(socket, "pending");
        if waiting.len() >= CALLS {
            return (waiting, taken.into_inner().unwrap());
        }
        // One that got no answer, or died before it was kept, is asked for again, as another.
        let missing = CALLS - waiting.len();
        let (first, queue) = (next, AtomicUsize::new(0));
        next += missing;
        storm.during(std::mem::take(&mut deaths), missing, |answered| {
            loop {
                let number = queue.fetch_add(1, Ordering::Relaxed);
                if number >= missing {
                    return;
                }
                let number = first + number;
                let call = json!({
                    "tool": "shell",
                    "thread": format!("t{}", number % THREADS),
                    "argv": ["sh", "-c", format!("echo {number} >> log; echo done")],
                    "wait": false,
                });
                if let Some((status, answer)) = ask(socket, "POST", "/v1/calls", &call) {
                    assert_eq!(status, 202, "{answer}");
                    taken.lock().unwrap().insert(text(&answer, "decision"));
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
        settled(socket);
    }
}

/// What a call writes to its log when it runs.
fn line(socket: &Path, decision: &str) -> String {
    let path = format!("/v1/approvals/{decision}");
    let (status, found) = insist(socket, "GET", &path, &Value::Null);
    assert_eq!(status, 200, "{found}");
    let call: Value = serde_json::from_str(&text(&found, "canonical")).unwrap();
    let script = call["program"]["argv"][2].as_str().unwrap();
    script.split(' ').nth(1).unwrap().to_owned()
}

/// Waits until nothing is on its way to be kept.
fn settled(socket: &Path) {
    let count = || listed(socket, "pending").len();
    until("every call is kept", || {
        let before = count();
        thread::sleep(Duration::from_millis(300));
        count() == before
    });
}

/// One signed note for as many calls as it takes.
fn notes(key: &PolicyKey, waiting: &[Value]) -> Vec<(String, Vec<String>)> {
    let note = |calls: &[Value]| {
        let members = calls.iter().map(|call| Member {
            decision: text(call, "decision").parse().unwrap(),
            action: text(call, "action").parse().unwrap(),
        });
        let statement = Statement {
            members: members.collect(),
            vote: Vote::Approve,
            reason: String::new(),
            // Signed as soon as there was something to sign.
            at_ms: calls
                .iter()
                .filter_map(|call| call["held_at_ms"].as_u64())
                .max()
                .unwrap(),
            grant_ms: None,
            break_glass: false,
        };
        let note = key.sign_note(&statement.text().unwrap());
        (
            note,
            calls.iter().map(|call| text(call, "decision")).collect(),
        )
    };
    waiting.chunks(MAX_MEMBERS).map(note).collect()
}

/// Approves one call, however often the gateway dies meanwhile.
fn approve(socket: &Path, decision: &str, note: &str) {
    let path = format!("/v1/approvals/{decision}/answer");
    let body = json!({ "note": note });
    for _ in 0..MOST_TRIES {
        let (status, answer) = insist(socket, "POST", &path, &body);
        let said = answer.to_string();
        // The answer of one that died is stored, or is not.
        if status == 200 || said.contains("it is approved") || said.contains("it is consumed") {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("{decision} cannot be approved");
}

/// What became of each call, by its records.
fn fates(home: &Home) -> BTreeMap<String, BTreeMap<String, usize>> {
    let mut fates: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    let ran = home.run(["audit", "tail", "-n", "100000", "--json"]);
    for line in ran.exits(0).stdout().lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let record = &record["record"];
        let mut kind = text(record, "kind");
        if kind == "outcome" {
            // What was done beside calls has none.
            let status = record["summary"]["status"].as_str().unwrap_or_default();
            kind = format!("outcome {status}");
        }
        let of = fates.entry(text(record, "decision")).or_default();
        *of.entry(kind).or_default() += 1;
    }
    fates
}

/// R49, R175: a thousand calls wait, and kill -9 of the gateway at random moments while they are asked for, approved and run: none is lost, none runs twice.
/// Each was held once, allowed once, and ended once; one that the gateway took and died with before it was kept was not even held.
#[test]
fn a_storm_of_restarts_loses_nothing_and_runs_nothing_twice() {
    let seed = env::var("CASEMATE_STORM_SEED").ok();
    let seed = seed.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("CASEMATE_STORM_SEED={seed}");
    let home = Home::new();
    let _keepers = Keepers(&home);
    let route = Route {
        allowed: "\"python\"",
        approval_required: "\"shell\"",
        more: "[approvals]\ngrant_ms = 3_600_000\n",
        ..Route::default()
    };
    home.write("work.toml", route.profile());
    let gateway = Storm::start(&home);
    enlist(&home, "alice", &[]);
    let socket: PathBuf = home.path("state/run/casemate.sock");
    let mut storm = Storm {
        home: &home,
        gateway: Some(gateway),
        random: fastrand::Rng::with_seed(seed),
        answered: AtomicUsize::new(0),
    };
    let (waiting, taken) = propose(&mut storm, &socket);
    println!("{} wait, {} were taken", waiting.len(), taken.len());
    let lines: BTreeMap<_, _> = waiting
        .iter()
        .map(|call| text(call, "decision"))
        .map(|name| (name.clone(), line(&socket, &name)))
        .collect();
    let key = PolicyKey::load(&home.path("alice.key")).unwrap();
    let notes = notes(&key, &waiting);
    let all: Vec<_> = notes
        .iter()
        .flat_map(|(note, names)| names.iter().map(move |name| (name, note)))
        .collect();
    let queue = AtomicUsize::new(0);
    storm.during(DEATHS[1], all.len(), |answered| {
        while let Some((name, note)) = all.get(queue.fetch_add(1, Ordering::Relaxed)) {
            approve(&socket, name, note);
            answered.fetch_add(1, Ordering::Relaxed);
        }
    });
    println!("all are approved");
    for _ in 0..DEATHS[2] {
        thread::sleep(Duration::from_millis(storm.random.u64(0..LONGEST_CALM_MS)));
        storm.strike();
    }
    until("all that was approved has run", || {
        listed(&socket, "approved").is_empty() && listed(&socket, "pending").is_empty()
    });
    let gateway = storm.gateway.take().unwrap();
    let mut logs = String::new();
    for number in 0..THREADS {
        let read = "import os; print(open('/workspace/log').read() if os.path.exists('/workspace/log') else '')";
        logs += &gateway.says(&["call", "--thread", &format!("t{number}"), "-c", read]);
    }
    drop(gateway);
    // Closes what the last death left open.
    drop(Storm::start(&home));
    let mut seen = BTreeSet::new();
    for line in logs.lines().filter(|line| !line.is_empty()) {
        assert!(seen.insert(line), "{line} ran twice");
    }
    let fates = fates(&home);
    let count = |name: &str, kind: &str| {
        let fate = fates.get(name).into_iter().flatten();
        let of = fate.filter(|(name, _)| name.starts_with(kind));
        of.map(|(_, count)| count).sum::<usize>()
    };
    for name in fates.keys().filter(|name| count(name, "held") > 0) {
        assert!(
            lines.contains_key(name),
            "{name} was held, and did not wait"
        );
    }
    for name in taken.iter().filter(|name| !lines.contains_key(*name)) {
        let counts = (count(name, "held"), count(name, "allowed"));
        assert_eq!(counts, (0, 0), "{name}: {:?}", fates.get(name));
    }
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, line) in &lines {
        let fate = &fates[name];
        let counts = ["held", "allowed", "outcome"].map(|kind| count(name, kind));
        assert_eq!(counts, [1, 1, 1], "{name}: {fate:?}");
        let end = fate.keys().find(|kind| kind.starts_with("outcome"));
        let end = end.unwrap().as_str();
        *ends.entry(end).or_default() += 1;
        // One of which nobody saw the end may have run.
        let ran = seen.remove(line.as_str());
        assert!(ran || end != "outcome succeeded", "{name} did not run");
    }
    println!("{ends:?}");
    assert!(seen.is_empty(), "{seen:?} ran and did not wait");
    let succeeded = ends.get("outcome succeeded").copied().unwrap_or_default();
    assert!(succeeded > CALLS / 2, "{ends:?}");
    home.run(["audit", "verify"]).exits(0);
}

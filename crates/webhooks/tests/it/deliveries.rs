//! At least once, in order, to each, whatever becomes of the others and of us.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use casemate_answers::SigningKey;
use casemate_ledger::{Entry, Kind, Ledger, LogKey};
use casemate_model::DecisionId;
use casemate_webhooks::{Couriers, Endpoint, FIRST_PAUSE_MS, Surroundings, Topic, Webhooks};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::receiver::{Got, Receiver};

const NOW_MS: u64 = 1_800_000_000_000;
const SECRET: &str = "what nobody is told";

/// The lines that people were told, and the pauses that were asked for.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>, Mutex<Vec<u64>>);

impl Told {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Surroundings for Told {
    fn now_ms(&self) -> u64 {
        NOW_MS
    }

    fn random_below(&self, bound: u64) -> u64 {
        self.1.lock().unwrap().push(bound);
        0
    }

    fn tell(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

struct World {
    dir: TempDir,
    ledger: Ledger,
    told: Arc<Told>,
    number: u8,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = LogKey::from_seed(&[7; 32], "test").unwrap();
        Self {
            ledger: Ledger::open(&dir.path().join("ledger"), key).unwrap(),
            dir,
            told: Arc::default(),
            number: 0,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn record(&mut self, kind: Kind, summary: Value) -> DecisionId {
        self.number += 1;
        let decision = DecisionId::new(NOW_MS, [self.number; 10]);
        let entry = Entry {
            at_ms: NOW_MS,
            decision,
            kind,
            agent: "local".into(),
            tenant: "local".into(),
            summary,
            payload: None,
        };
        self.ledger.append(entry).unwrap();
        decision
    }

    /// A call that waits.
    fn held(&mut self) -> DecisionId {
        self.record(
            Kind::Held,
            json!({
                "tool": "shell", "route": "work", "reason": "approval_required",
                "detail": SECRET, "checks": [SECRET], "actor": SECRET, "trace_id": SECRET,
                "wait": { "action": "sha256:00", "until_ms": 7, "trigger": "interactive", "more": SECRET },
            }),
        )
    }

    fn start(&self, endpoints: Vec<Endpoint>) -> Couriers {
        let webhooks = Webhooks {
            authorities: None,
            endpoints,
        };
        let told: Arc<dyn Surroundings> = Arc::clone(&self.told) as _;
        let (ledger, cursors): (&Path, _) = (&self.path("ledger"), self.path("cursors"));
        Couriers::start(webhooks, ledger, &cursors, &told).unwrap()
    }
}

fn endpoint(name: &str, url: String, key: &SigningKey) -> Endpoint {
    let events = BTreeSet::from([Topic::Waiting, Topic::Ended, Topic::Alert]);
    let key = key.secret_text().unwrap().parse().unwrap();
    Endpoint::new(name.into(), url, events, key).unwrap()
}

fn decisions(got: &[Got]) -> Vec<String> {
    let of = |got: &Got| got.json()["data"]["decision"].as_str().unwrap().to_owned();
    got.iter().map(of).collect()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("not: {what}");
}

/// R163: what was on record while the receiver was down comes when it is up: each once, in order, signed, with nothing secret.
#[test]
fn a_receiver_that_was_down_gets_everything() {
    let mut world = World::new();
    let key = SigningKey::generate().unwrap();
    // Nobody takes a connection here yet, and this one refuses three times.
    let answers = ["500 No", "429 No", "503 No"];
    let receiver = Receiver::answering(&answers);
    let couriers = world.start(vec![endpoint("chat", receiver.url(), &key)]);
    let mut expected = vec![world.held().to_string(), world.held().to_string()];
    let wait = json!({ "action": "sha256:00", "until_ms": 7, "trigger": "interactive" });
    // A call that never waited, and the end of one that was told of.
    world.record(
        Kind::Denied,
        json!({ "tool": "shell", "reason": "missing_scope" }),
    );
    let ended = world.record(
        Kind::Denied,
        json!({ "tool": "shell", "reason": "approval_denied", "wait": wait }),
    );
    let alert = world.record(
        Kind::Denied,
        json!({ "tool": "switch.off", "alert": true, "subject": SECRET }),
    );
    world.record(
        Kind::Denied,
        json!({ "tool": "switch.list", "alert": false }),
    );
    expected.extend([ended.to_string(), alert.to_string()]);
    let got = receiver.wait(4);
    assert_eq!(decisions(&got), expected);
    let types: Vec<_> = got.iter().map(|got| got.json()["type"].clone()).collect();
    assert_eq!(
        types,
        [
            "approval.waiting",
            "approval.waiting",
            "approval.ended",
            "alert"
        ]
    );
    for got in &got {
        let at_s: u64 = got.headers["webhook-timestamp"].parse().unwrap();
        assert_eq!(at_s, NOW_MS / 1_000);
        let signature = key.sign(got.id(), at_s, got.body.as_bytes());
        assert_eq!(got.headers["webhook-signature"], signature);
        assert!(!got.body.contains(SECRET), "{}", got.body);
    }
    let ids: BTreeSet<_> = got.iter().map(Got::id).collect();
    assert_eq!(ids.len(), 4);
    let first = got[0].json();
    assert_eq!(
        first["data"],
        json!({
            "decision": expected[0], "tenant": "local", "agent": "local", "tool": "shell", "route": "work",
            "reason": "approval_required", "action": "sha256:00", "until_ms": 7, "trigger": "interactive",
        })
    );
    // One line when it began to fail, and one when it went on.
    let told = world.told.0.lock().unwrap().clone();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("chat") && told[0].contains("500"),
        "{told:?}"
    );
    drop(couriers);
}

/// R211: violations that a receiver could not be told of while it was down are one alert for each cause, with a count, and none is
/// lost: however many there were.
#[test]
fn a_storm_of_violations_is_one_alert_for_each_cause() {
    let mut world = World::new();
    let key = SigningKey::generate().unwrap();
    let answers = ["503 No", "503 No"];
    let receiver = Receiver::answering(&answers);
    // Whoever is new hears what happens from now on.
    drop(world.start(vec![endpoint("chat", receiver.url(), &key)]));
    let violation = |what: &str| {
        json!({
            "tool": "python", "alert": true, "detail": SECRET, "stop_reason": "violation",
            "violations": [{ "kind": "system_call", "what": what, "count": 1 }],
        })
    };
    let mut last = None;
    for _ in 0..100 {
        last = Some(world.record(Kind::Outcome, violation("mount")));
        // What is not told does not part them, and what is closed is no alert.
        world.record(Kind::Outcome, json!({ "tool": "python", "alert": true }));
    }
    let other = world.record(Kind::Outcome, violation("bpf"));
    let held = world.held();
    let again = world.record(Kind::Outcome, violation("mount"));
    let couriers = world.start(vec![endpoint("chat", receiver.url(), &key)]);
    let got = receiver.wait(4);
    let expected = [last.unwrap(), other, held, again].map(|one| one.to_string());
    assert_eq!(decisions(&got), expected);
    let counts: Vec<_> = got
        .iter()
        .map(|got| got.json()["data"]["count"].clone())
        .collect();
    assert_eq!(counts, [json!(100), Value::Null, Value::Null, Value::Null]);
    assert_eq!(got[0].json()["data"]["violations"][0]["what"], "mount");
    assert!(got.iter().all(|got| !got.body.contains(SECRET)));
    drop(couriers);
}

/// An alert that waits for more of its cause is told although what follows it cannot be read.
#[test]
fn an_alert_before_a_damaged_record_is_told() {
    let mut world = World::new();
    let key = SigningKey::generate().unwrap();
    let receiver = Receiver::answering(&[]);
    drop(world.start(vec![endpoint("chat", receiver.url(), &key)]));
    let violation = json!({
        "tool": "python", "alert": true, "stop_reason": "violation",
        "violations": [{ "kind": "system_call", "what": "mount", "count": 1 }],
    });
    let alert = world.record(Kind::Outcome, violation);
    let log = world.path("ledger/log");
    let whole = std::fs::metadata(&log).unwrap().len();
    world.record(Kind::Outcome, json!({ "tool": "python" }));
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[usize::try_from(whole).unwrap()..].fill(b'x');
    *bytes.last_mut().unwrap() = b'\n';
    std::fs::write(&log, bytes).unwrap();
    let couriers = world.start(vec![endpoint("chat", receiver.url(), &key)]);
    until("the damage is said", || !world.told.lines().is_empty());
    assert_eq!(decisions(&receiver.wait(1)), [alert.to_string()]);
    drop(couriers);
}

/// What was not acknowledged before a stop comes after the next start; what was, does not.
#[test]
fn a_restart_goes_on_where_it_was() {
    let mut world = World::new();
    world.held();
    let key = SigningKey::generate().unwrap();
    let place = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/in", place.local_addr().unwrap());
    let receiver = Receiver::on(&place, &[]);
    // Whoever is new hears what happens from now on.
    let couriers = world.start(vec![endpoint("chat", url.clone(), &key)]);
    let first = world.held();
    assert_eq!(decisions(&receiver.wait(1)), [first.to_string()]);
    let cursor = world.path("cursors").join("chat");
    until("the receiver's word is on disk", || {
        std::fs::read(&cursor).unwrap() != b"" && {
            let place: Value = serde_json::from_slice(&std::fs::read(&cursor).unwrap()).unwrap();
            place["next"] == 2
        }
    });
    drop(couriers);
    let (second, third) = (world.held(), world.held());
    let couriers = world.start(vec![endpoint("chat", url, &key)]);
    let got = receiver.wait(3);
    assert_eq!(
        decisions(&got)[1..],
        [second.to_string(), third.to_string()]
    );
    drop(couriers);
}

/// A cursor that cannot be written is not the receiver's fault, and no reason to tell it the same all the time.
#[test]
fn a_cursor_that_cannot_be_written_makes_no_storm() {
    let mut world = World::new();
    let key = SigningKey::generate().unwrap();
    let receiver = Receiver::answering(&[]);
    let couriers = world.start(vec![endpoint("chat", receiver.url(), &key)]);
    let cursor = world.path("cursors").join("chat");
    std::fs::remove_file(&cursor).unwrap();
    std::fs::create_dir(&cursor).unwrap();
    let held = world.held().to_string();
    assert_eq!(decisions(&receiver.wait(3)[..3]), vec![held; 3]);
    until("three pauses", || world.told.1.lock().unwrap().len() >= 3);
    let pauses = world.told.1.lock().unwrap().clone();
    for (nth, pause) in pauses.iter().enumerate() {
        assert_eq!(*pause, (FIRST_PAUSE_MS << nth) / 2 + 1, "{pauses:?}");
    }
    let told = world.told.lines();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("by a fault on this side"), "{told:?}");
    assert!(!told[0].contains("does not take"), "{told:?}");
    std::fs::remove_dir(&cursor).unwrap();
    until("the cursor is written", || cursor.is_file());
    until("it is said", || world.told.lines().len() == 2);
    assert!(world.told.lines()[1].ends_with("gets messages again"));
    drop(couriers);
}

/// What went wrong is over when there is nothing left to tell: the next time, it is said anew, and waited for shortly.
#[test]
fn a_fault_is_over_without_a_delivery() {
    let world = World::new();
    let key = SigningKey::generate().unwrap();
    let receiver = Receiver::answering(&[]);
    let couriers = world.start(vec![endpoint("chat", receiver.url(), &key)]);
    let (log, away) = (world.path("ledger/log"), world.path("ledger/away"));
    for lines in [1, 3] {
        std::fs::rename(&log, &away).unwrap();
        until("the fault is said", || world.told.lines().len() == lines);
        std::fs::rename(&away, &log).unwrap();
        until("its end is said", || world.told.lines().len() == lines + 1);
    }
    let firsts = world.told.1.lock().unwrap().clone();
    let firsts = firsts
        .iter()
        .filter(|pause| **pause == FIRST_PAUSE_MS / 2 + 1);
    assert_eq!(firsts.count(), 2);
    assert!(receiver.got().is_empty());
    drop(couriers);
}

/// What nobody is told of is no write to disk, however often it is looked at.
#[test]
fn what_nobody_is_told_of_is_not_written() {
    let mut world = World::new();
    let key = SigningKey::generate().unwrap();
    let receiver = Receiver::answering(&[]);
    let couriers = world.start(vec![endpoint("chat", receiver.url(), &key)]);
    let cursor = world.path("cursors").join("chat");
    // Whatever is written from now on is an error.
    std::fs::remove_file(&cursor).unwrap();
    std::fs::create_dir(&cursor).unwrap();
    for _ in 0..20 {
        world.record(
            Kind::Denied,
            json!({ "tool": "shell", "reason": "missing_scope" }),
        );
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(world.told.lines(), Vec::<String>::new());
    std::fs::remove_dir(&cursor).unwrap();
    let held = world.held().to_string();
    assert_eq!(decisions(&receiver.wait(1)), [held]);
    until("the delivery is written", || cursor.is_file());
    drop(couriers);
}

/// An older copy of the ledger is said to be one, with what to do, and is not "nothing new".
#[test]
fn a_cursor_of_a_newer_ledger_is_said() {
    let mut world = World::new();
    let key = SigningKey::generate().unwrap();
    let receiver = Receiver::answering(&[]);
    world.held();
    let old = ["log", "head"].map(|name| {
        let path = world.path("ledger").join(name);
        (std::fs::read(&path).unwrap(), path)
    });
    let couriers = world.start(vec![endpoint("chat", receiver.url(), &key)]);
    world.held();
    receiver.wait(1);
    until("the delivery is written", || {
        std::fs::read_to_string(world.path("cursors").join("chat"))
            .unwrap()
            .contains("\"next\":2")
    });
    drop(couriers);
    for (bytes, path) in old {
        std::fs::write(path, bytes).unwrap();
    }
    let couriers = world.start(vec![endpoint("chat", receiver.url(), &key)]);
    until("it is said", || !world.told.lines().is_empty());
    let told = world.told.lines();
    assert!(told[0].contains("by a fault on this side"), "{told:?}");
    assert!(told[0].contains("remove the cursor"), "{told:?}");
    assert_eq!(receiver.got().len(), 1);
    drop(couriers);
}

/// Who is new is not told everything because the ledger's end cannot be read.
#[test]
fn without_an_end_nobody_new_is_told_anything() {
    let mut world = World::new();
    let key = SigningKey::generate().unwrap();
    let receiver = Receiver::answering(&[]);
    world.held();
    std::fs::write(world.path("ledger/head"), "").unwrap();
    let told: Arc<dyn Surroundings> = Arc::clone(&world.told) as _;
    let webhooks = Webhooks {
        authorities: None,
        endpoints: vec![endpoint("chat", receiver.url(), &key)],
    };
    let started = Couriers::start(
        webhooks,
        &world.path("ledger"),
        &world.path("cursors"),
        &told,
    );
    assert!(started.is_err());
    assert!(!world.path("cursors/chat").exists());
    assert!(receiver.got().is_empty());
}

/// A receiver that never answers keeps nobody else waiting.
#[test]
fn a_dead_receiver_delays_nobody() {
    let mut world = World::new();
    let key = SigningKey::generate().unwrap();
    // It is connected to, and says nothing.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/in", dead.local_addr().unwrap());
    let receiver = Receiver::answering(&[]);
    let couriers = world.start(vec![
        endpoint("dead", url, &key),
        endpoint("alive", receiver.url(), &key),
    ]);
    let expected: Vec<_> = (0..20).map(|_| world.held().to_string()).collect();
    assert_eq!(decisions(&receiver.wait(20)), expected);
    drop(couriers);
}

/// A redirect is not followed: the message waits, and nobody else gets it.
#[test]
fn a_redirect_leads_nowhere() {
    let mut world = World::new();
    let key = SigningKey::generate().unwrap();
    let elsewhere = Receiver::answering(&[]);
    let moved = format!("302 Found\r\nlocation: {}", elsewhere.url());
    let kept = format!("307 Kept\r\nlocation: {}", elsewhere.url());
    let receiver = Receiver::answering(&[&moved, &kept]);
    let couriers = world.start(vec![endpoint("chat", receiver.url(), &key)]);
    let held = world.held();
    assert_eq!(decisions(&receiver.wait(1)), [held.to_string()]);
    assert!(elsewhere.got().is_empty());
    assert!(world.told.0.lock().unwrap()[0].contains("302"));
    drop(couriers);
}

//! kill -9 of each process of a server, while others ask it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use casemate_gateway::CLAIM_GRACE_MS;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    home::Home,
    keeper::until,
    server::{Server, ask, call, until_gone},
};

/// As many ask at once.
const CLIENTS: usize = 32;
/// In as many sessions.
const THREADS: usize = 4;
/// As many calls are acknowledged between two deaths.
const BETWEEN: usize = 24;
/// How long a request that was refused is not sent again.
const PAUSE_MS: u64 = 20;
/// More refusals of one request than a death explains: if it came between the claim of a key and its record, the key counts as
/// taken for this long.
const MOST_TRIES: u64 = 3 * CLAIM_GRACE_MS / PAUSE_MS;

/// What was acknowledged: the call's name and what it printed, by the key under which it was asked for.
type Acknowledged = Mutex<BTreeMap<String, (String, String)>>;

/// Asks for calls until told to stop. One that is not answered is asked for again under its key.
fn ask_on(server: &Server<'_>, stop: &AtomicBool, next: &AtomicUsize, done: &Acknowledged) {
    while !stop.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let key = format!("k{number}");
        let script = format!("echo {number} >> /workspace/log; echo {number}");
        let body = call(&format!("t{}", number % THREADS), &key, &script);
        let mut last = String::new();
        for tries in 0.. {
            assert!(tries < MOST_TRIES, "{number} is never answered: {last}");
            let said = ask(
                &server.address,
                "POST",
                "/v1/calls",
                Some(&server.key),
                &body,
            );
            let Some((status, text)) = said else {
                thread::sleep(Duration::from_millis(PAUSE_MS));
                continue;
            };
            let said: Value = serde_json::from_str(&text).unwrap();
            last = text;
            match (status, said["code"].as_str()) {
                (200, _) if said["status"] == "succeeded" => {
                    // What ran is named by its first decision, also where a later request was told of it.
                    let first = said["replay_of"].as_str().or(said["decision"].as_str());
                    let name = first.unwrap().to_owned();
                    let printed = said["stdout"].as_str().unwrap().to_owned();
                    done.lock().unwrap().insert(key, (name, printed));
                    break;
                }
                // Its sandbox died with the keeper, or nobody knows what became of it: it is not run again.
                (200, _) | (409, Some("outcome_unknown")) => break,
                (410, Some("session_gone")) => break,
                (409, Some("call_in_flight")) | (429 | 503, _) => {
                    thread::sleep(Duration::from_millis(PAUSE_MS));
                }
                other => panic!("{other:?}: {said}"),
            }
        }
    }
}

/// Tells those who ask to stop when it goes, also by a failure: else the test would wait for them for ever.
struct Stops<'s>(&'s AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How the process of this name is killed, and that another is there.
fn strike(server: &Server<'_>, name: &str) {
    let old = server.process(name);
    kill_process(old, Signal::KILL).unwrap();
    until_gone(old);
    until("the service is back", || {
        let said = server.ask("GET", "/v1/status", Some(&server.key), &Value::Null);
        let Some((200, text)) = said else {
            return false;
        };
        let said: Value = serde_json::from_str(&text).unwrap();
        let old = i64::from(old.as_raw_nonzero().get());
        let mut processes = said["processes"].as_array().unwrap().iter();
        said["ready"] == true
            && processes.any(|one| one["name"] == name && one["pid"].is_i64() && one["pid"] != old)
    });
}

/// kill -9 of gateway, identity and keeper under 32 clients: what was acknowledged is there under its key and name,
/// nothing ran twice, and the service comes back by itself.
#[test]
fn no_death_loses_what_was_acknowledged_or_runs_anything_twice() {
    let home = Home::new();
    let mut server = Server::first(&home);
    let (stop, next) = (AtomicBool::new(false), AtomicUsize::new(0));
    let done = Acknowledged::default();
    let mut logs = String::new();
    thread::scope(|scope| {
        let _stops = Stops(&stop);
        for _ in 0..CLIENTS {
            scope.spawn(|| ask_on(&server, &stop, &next, &done));
        }
        let progress = |by: usize| {
            let before = done.lock().unwrap().len();
            until("calls are answered", || {
                done.lock().unwrap().len() >= before + by
            });
        };
        for name in ["gateway", "identity", "gateway", "gateway"] {
            progress(BETWEEN);
            strike(&server, name);
        }
        progress(BETWEEN);
        // Sessions die with the keeper: what they say is read before.
        for number in 0..THREADS {
            let read = json!({ "tool": "shell", "thread": format!("t{number}"), "argv": ["cat", "/workspace/log"] });
            let (status, said) = server.json("POST", "/v1/calls", &read);
            assert_eq!(status, 200, "{said}");
            logs += said["stdout"].as_str().unwrap();
        }
        strike(&server, "keeper");
        progress(BETWEEN);
    });
    let mut seen = BTreeSet::new();
    for line in logs.lines() {
        assert!(seen.insert(line.to_owned()), "{line} ran twice");
    }
    assert!(seen.len() >= BETWEEN, "{seen:?}");
    let done = done.into_inner().unwrap();
    for (key, (name, printed)) in &done {
        let number = key.strip_prefix('k').unwrap();
        assert_eq!(printed.trim(), number);
        let script = format!("echo {number} >> /workspace/log; echo {number}");
        let thread = format!("t{}", number.parse::<usize>().unwrap() % THREADS);
        let (status, said) = server.json("POST", "/v1/calls", &call(&thread, key, &script));
        assert_eq!(status, 200, "{key}: {said}");
        assert_eq!(said["stdout"], *printed, "{key}: {said}");
        let replayed = said["replay_of"].as_str();
        assert!(
            replayed.is_none_or(|of| of == name),
            "{key} of {name}: {said}"
        );
    }
    assert!(server.end(Signal::TERM).success());
    home.run(["audit", "verify"]).exits(0);
}

/// A first server whose thread `t` has a file, killed: its key, and what it looked after.
fn killed_with_a_file(home: &Home) -> (String, rustix::process::Pid) {
    let mut server = Server::first(home);
    let write =
        json!({ "tool": "shell", "thread": "t", "argv": ["sh", "-c", "echo kept > /workspace/f"] });
    assert_eq!(server.json("POST", "/v1/calls", &write).0, 200);
    let gateway = server.process("gateway");
    server.end(Signal::KILL);
    (server.key.clone(), gateway)
}

fn has_the_file(server: &Server<'_>) {
    let read = json!({ "tool": "shell", "thread": "t", "argv": ["cat", "/workspace/f"] });
    let (status, said) = server.json("POST", "/v1/calls", &read);
    assert_eq!((status, &said["stdout"]), (200, &json!("kept\n")), "{said}");
}

/// Whoever looks after the gateway dies: it ends, the next `up` takes the directory, and sessions and the key are those of before.
#[test]
fn the_next_server_takes_over_what_a_dead_one_left() {
    let home = Home::new();
    let (key, gateway) = killed_with_a_file(&home);
    let next = Server::again(&home, &key, &[]);
    until_gone(gateway);
    has_the_file(&next);
}

/// A start that fails ends nobody's sessions: the next one finds them.
#[test]
fn a_failed_start_leaves_the_sessions() {
    let home = Home::new();
    let (key, gateway) = killed_with_a_file(&home);
    until_gone(gateway);
    let lock = home.path("state/run/gateway.lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    home.run(["up", "--listen", "127.0.0.1:0"])
        .exits(123)
        .says("gateway.lock")
        .says("did not start");
    fs::remove_dir(&lock).unwrap();
    has_the_file(&Server::again(&home, &key, &[]));
}

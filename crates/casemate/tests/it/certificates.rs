//! Certificates of clients: a real gateway, process of egress and identity, and destinations that want to know who connects.

use std::fs;

use serde_json::Value;

use crate::{
    canary::fresh,
    credentials::Safe,
    home::{User, users},
    keeper::until,
    lends,
    upstream::{Roots, Upstream},
    way::HOST,
    ways::{Served, stdout},
};

const CREDENTIAL: &str = "credential = \"cred:orders-api\"";

/// In front of a destination that wants a certificate of an authority for clients, if it is one that wants any. The key is the secret.
fn safe(user: User, asks: bool) -> (Safe, String) {
    let (safe, both) = before(user, asks);
    add(&safe, &both);
    let line = both.lines().nth(1).unwrap();
    (safe, line.get(..64).unwrap().to_owned())
}

/// The same, before the key is kept; and the key with its certificate.
fn before(user: User, asks: bool) -> (Safe, String) {
    let clients = Roots::new();
    let (certificate, key) = clients.pems("agent.example");
    let safe = Safe::with(user, fresh(), |roots| {
        Upstream::knowing(roots, HOST, asks.then_some(&clients))
    });
    (safe, format!("{key}{certificate}"))
}

fn add(safe: &Safe, both: &str) {
    let words = ["credential", "add", "cred:orders-api", "--kind", "mtls"];
    safe.world.home.feed(words, both.as_bytes()).exits(0);
}

/// The key is not below this directory, but where identity has it, sealed.
#[track_caller]
fn assert_not_below(directory: &std::path::Path, key: &str) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            assert_not_below(&entry.path(), key);
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).unwrap_or_default();
            let found = memchr::memmem::find(&bytes, key.as_bytes());
            assert_eq!(found, None, "{:?}", entry.path());
        }
    }
}

fn denials(served: &Served<'_>) -> Vec<Value> {
    let log = served.requests();
    let denied = log.into_iter().filter(|one| one["kind"] == "denied");
    denied.map(|one| one["summary"]["code"].clone()).collect()
}

/// R72, R75, R79, R88, I2: programs reach a destination that knows its clients by certificates. Each request has a connection of its own, which is on record before the
/// certificate is shown; nothing of the key is in answers or in files.
#[test]
fn a_destination_knows_its_client_by_a_certificate() {
    for user in users() {
        let (safe, key) = safe(user, true);
        let served = Served::start(&safe.world, "thread", CREDENTIAL);
        let (upstream, url) = (&safe.world.upstream, safe.world.url("/v1/a"));
        let both = ["--thread", "t", "--", "curl", "-sS", &url, &url];
        let answer = served.ran(&both);
        assert_eq!(stdout(&answer), "goodgood", "{answer}");
        assert_eq!((upstream.requests(), upstream.proven()), (2, 2));
        assert_eq!(upstream.connections(), 2);
        for record in served.requests() {
            assert_eq!(record["summary"]["credential"], "cred:orders-api");
        }
        // Elsewhere it is not shown: nothing connects.
        let wrong = safe.world.url("/v2/a");
        served.ran(&["--thread", "t", "--", "curl", "-sS", &wrong]);
        assert_eq!(denials(&served), ["cred_scope"]);
        assert_eq!(upstream.connections(), 2);
        let revoke = [
            "credential",
            "revoke",
            "cred:orders-api",
            "--reason",
            "a test",
        ];
        safe.world.home.run(revoke).exits(0);
        let answer = served.ran(&both);
        assert!(!stdout(&answer).contains("good"), "{answer}");
        // It may be connected to before identity says that there is nothing to present.
        assert_eq!((upstream.requests(), upstream.proven()), (2, 2), "{answer}");
        drop(served);
        assert!(!answer.to_string().contains(&key));
        assert_not_below(&safe.world.home.path(""), &key);
        safe.world.home.run(["audit", "verify"]).exits(0);
    }
}

/// R87: a destination that does not want to know who connects gets no request that is to prove it.
#[test]
fn whoever_asks_for_no_certificate_gets_no_request() {
    for user in users() {
        let (safe, _) = safe(user, false);
        let served = Served::start(&safe.world, "thread", CREDENTIAL);
        let url = safe.world.url("/v1/a");
        served.ran(&["--thread", "t", "--", "curl", "-sSi", &url]);
        let upstream = &safe.world.upstream;
        assert_eq!((upstream.requests(), upstream.connections()), (0, 1));
        let log = served.requests();
        let ended = log.iter().find(|one| one["kind"] == "outcome").unwrap();
        assert_eq!(ended["summary"]["code"], "cred_unavailable", "{ended}");
    }
}

/// R87, I2: a certificate that is kept only when a call has its lease is not shown in that call, and no request of it goes without.
#[test]
fn nothing_is_sent_without_a_certificate_that_comes_late() {
    for user in users() {
        let (safe, both) = before(user, false);
        let served = Served::start(&safe.world, "thread", CREDENTIAL);
        let url = safe.world.url("/v1/a");
        let script = format!(
            "touch /workspace/begun; until test -e /workspace/go; do sleep 0.05; done; curl -sSi {url}"
        );
        let running = lends::begin(&safe, &script);
        until("it has begun", || {
            let look = ["--thread", "t", "--", "ls", "/workspace"];
            stdout(&served.ran(&look)).contains("begun")
        });
        add(&safe, &both);
        served.ran(&["--thread", "t", "--", "touch", "/workspace/go"]);
        let answer = lends::end(running);
        assert!(stdout(&answer).contains("cred_unavailable"), "{answer}");
        assert_eq!(safe.world.upstream.requests(), 0, "{answer}");
        assert_eq!(denials(&served), ["cred_unavailable"]);
    }
}

/// What is not a key with its own certificate is not kept.
#[test]
fn a_key_without_its_certificate_is_not_kept() {
    let safe = Safe::before(users()[0], fresh(), "nothing");
    let clients = Roots::new();
    let (certificate, key) = clients.pems("agent.example");
    let (other, _) = clients.pems("agent.example");
    for wrong in [key.clone(), certificate, format!("{key}{other}")] {
        let words = ["credential", "add", "cred:orders-api", "--kind", "mtls"];
        let refused = safe.world.home.feed(words, wrong.as_bytes());
        assert_ne!(refused.0.status.code(), Some(0));
    }
}

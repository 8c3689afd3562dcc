//! Certificates of clients: a real gateway, process of egress and identity, and destinations that want to know who connects.

use std::fs;

use serde_json::Value;

use crate::{
    canary::fresh,
    credentials::Safe,
    home::{User, users},
    upstream::{Roots, Upstream},
    way::HOST,
    ways::{Served, stdout},
};

const CREDENTIAL: &str = "credential = \"cred:orders-api\"";

/// In front of a destination that wants a certificate of an authority for clients, if it is one that wants any. The key is the secret.
fn safe(user: User, asks: bool) -> (Safe, String) {
    let clients = Roots::new();
    let (certificate, key) = clients.pems("agent.example");
    let safe = Safe::with(user, fresh(), |roots| {
        Upstream::knowing(roots, HOST, asks.then_some(&clients))
    });
    let words = ["credential", "add", "cred:orders-api", "--kind", "mtls"];
    let both = format!("{key}{certificate}");
    safe.world.home.feed(words, both.as_bytes()).exits(0);
    let line = key.lines().nth(1).unwrap();
    (safe, line.get(..64).unwrap().to_owned())
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
        assert!(!stdout(&answer).contains("good\n"), "{answer}");
        assert_eq!(
            (upstream.requests(), upstream.connections()),
            (2, 2),
            "{answer}"
        );
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

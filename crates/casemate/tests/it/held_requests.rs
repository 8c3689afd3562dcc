//! Requests on the way out that wait for a person: the gateway, keeper, process of egress and destination are real.

use std::process::{Child, Stdio};

use serde_json::Value;

use crate::{
    approvals,
    home::Ran,
    keeper::until,
    way::{HOST, World, for_everybody},
    ways::{Served, stdout},
};

/// A call that sends one request, and who waits for it.
fn sends(world: &World, body: &str) -> Child {
    let url = world.url("/v1/orders?x=1");
    let field = "X-Order: seven";
    let words = ["curl", "-sS", "-X", "POST", "-H", field, "-d", body, &url];
    let words = [&["call", "--json", "--thread", "t", "--"], &words[..]].concat();
    let mut call = world.home.casemate(words);
    let call = call.stdout(Stdio::piped()).stderr(Stdio::piped());
    call.spawn().unwrap()
}

const WAITS: &str = "approval = \"always\"";

/// R105, R163, R174: a request that a person has to consent to waits while its call runs, is shown whole, and is sent once, when
/// somebody has signed the hash of exactly that.
#[test]
fn a_request_is_sent_once_when_a_person_consents() {
    for_everybody(|world| {
        let served = Served::start(world, "thread", WAITS);
        approvals::enlist(&world.home, "alice", &[]);
        let running = sends(world, "{\"amount\":7}");
        let held = approvals::waits(&world.home, 1).remove(0);
        assert_eq!(world.upstream.connections(), 0);
        let decision = approvals::text(&held, "decision");
        let shown = world
            .home
            .run(["approvals", "show", &decision])
            .exits(0)
            .stdout();
        for part in [
            "egress.request",
            "POST",
            &format!("https://{HOST}:{}/v1/orders?x=1", world.upstream.port),
            "{\"amount\":7}",
            "field x-order: seven",
            "field content-type: application/x-www-form-urlencoded",
            "field user-agent: curl/",
            &approvals::text(&held, "action"),
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        approvals::approve(&world.home, &held, "alice").exits(0);
        let answer = Ran(running.wait_with_output().unwrap());
        let answer: Value = serde_json::from_slice(&answer.0.stdout).unwrap();
        assert_eq!(stdout(&answer), "POST /v1/orders?x=1 HTTP/1.1", "{answer}");
        assert_eq!(world.upstream.requests(), 1);
        // What was asked is kept, and what was sent no longer.
        until("its body is dropped", || {
            let show = ["approvals", "show", &decision];
            let shown = world.home.run(show).exits(0).stdout();
            assert!(shown.contains("/v1/orders?x=1"), "{shown}");
            !shown.contains("{\"amount\":7}")
        });
        // Nobody answers what is not shown.
        approvals::approve(&world.home, &held, "alice")
            .exits(123)
            .says("consumed");
        let kinds: Vec<_> = served
            .requests()
            .iter()
            .filter(|record| record["decision"] == *decision)
            .map(|record| record["kind"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(kinds, ["held", "allowed", "outcome"]);
        // The same again is another request.
        let running = sends(world, "{\"amount\":7}");
        let again = approvals::waits(&world.home, 1).remove(0);
        assert_ne!(again["decision"], held["decision"]);
        assert_eq!(world.upstream.requests(), 1);
        let deny = approvals::text(&again, "decision");
        let words = [
            "approvals",
            "deny",
            &deny,
            "--key",
            "alice.key",
            "--reason",
            "once is enough",
        ];
        world.home.run(words).exits(0);
        let answer = running.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(told.contains("approval_required"), "{told}");
        assert_eq!(world.upstream.requests(), 1);
        let kinds: Vec<_> = served
            .requests()
            .iter()
            .filter(|record| record["decision"] == *deny)
            .map(|record| record["kind"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(kinds, ["held", "denied"]);
        drop(served);
        world.home.run(["audit", "verify"]).exits(0);
    });
}

/// A consent to a request whose call has ended, or whose sender has gone, is no consent to anything.
#[test]
fn a_request_that_nobody_waits_for_is_not_sent() {
    for_everybody(|world| {
        let served = Served::start(world, "thread", WAITS);
        approvals::enlist(&world.home, "alice", &[]);
        let url = world.url("/v1/a");
        let until_there = |file: &str| format!("while [ ! -e {file} ]; do sleep 0.1; done");
        let (first, second, third) = (
            until_there("first"),
            until_there("second"),
            until_there("third"),
        );
        for (script, files) in [
            // The program goes on, and curl has given up.
            (
                format!("curl -sS {url} & {first}; kill $!; wait; {second}"),
                ["first", "second"],
            ),
            // The program ends while curl waits.
            (format!("curl -sS {url} & {third}"), ["third", "fourth"]),
        ] {
            let call = ["call", "--json", "--thread", "t", "--", "sh", "-c", &script];
            let mut call = world.home.casemate(call);
            let running = call
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let held = approvals::waits(&world.home, 1).remove(0);
            served.ran(&["--thread", "t", "--", "touch", files[0]]);
            until("it waits no more", || {
                approvals::listed(&world.home, "pending").is_empty()
            });
            served.ran(&["--thread", "t", "--", "touch", files[1]]);
            let ran = Ran(running.wait_with_output().unwrap());
            let late = approvals::approve(&world.home, &held, "alice");
            assert_ne!(late.0.status.code(), Some(0), "{late:?} {ran:?}");
            assert_eq!(world.upstream.connections(), 0);
            let requests = served.requests();
            let mine = requests
                .iter()
                .filter(|one| one["decision"] == held["decision"]);
            let kinds: Vec<_> = mine.map(|one| one["kind"].as_str().unwrap()).collect();
            assert_eq!(kinds, ["held", "denied"], "{requests:?}");
        }
        drop(served);
        world.home.run(["audit", "verify"]).exits(0);
    });
}

/// A gateway that dies takes its calls along, and with them the requests that wait: the next one has nobody asked about them.
#[test]
fn a_request_does_not_outlive_its_gateway() {
    for_everybody(|world| {
        let served = Served::start(world, "thread", WAITS);
        approvals::enlist(&world.home, "alice", &[]);
        let mut running = sends(world, "{}");
        let held = approvals::waits(&world.home, 1).remove(0);
        drop(served);
        running.kill().unwrap();
        running.wait().unwrap();
        let served = Served::start(world, "thread", WAITS);
        assert_eq!(approvals::listed(&world.home, "pending").len(), 0);
        let late = approvals::approve(&world.home, &held, "alice");
        assert_ne!(late.0.status.code(), Some(0), "{late:?}");
        assert_eq!(world.upstream.connections(), 0);
        let kinds: Vec<_> = served
            .requests()
            .iter()
            .map(|record| record["kind"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(kinds, ["held", "denied"]);
        drop(served);
        world.home.run(["audit", "verify"]).exits(0);
    });
}

/// R116: a destination that has answered an agent is new no more: in the same call, in the next one, and after the gateway was killed. One that
/// only refused or failed is as new as it was, and so is another port.
#[test]
fn a_destination_that_has_answered_is_not_new() {
    for_everybody(|world| {
        let more = "approval = \"new_destination\"";
        let served = Served::start(world, "thread", more);
        approvals::enlist(&world.home, "alice", &[]);
        let (good, hangs) = (world.url("/v1/a"), world.url("/v1/hang"));
        let script = format!("curl -sS -m 1 {hangs}; curl -sS {good}; curl -sS {good}");
        let words = ["call", "--json", "--thread", "t", "--", "sh", "-c", &script];
        let running = |words: &[&str]| {
            let mut call = world.home.casemate(words);
            call.stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let call = running(&words);
        // The first is given up while it waits: that is no answer.
        let first = approvals::waits(&world.home, 1).remove(0);
        until("it is given up", || {
            approvals::listed(&world.home, "pending")
                .iter()
                .all(|one| one["decision"] != first["decision"])
        });
        let second = approvals::waits(&world.home, 1).remove(0);
        approvals::approve(&world.home, &second, "alice").exits(0);
        let answer = Ran(call.wait_with_output().unwrap());
        let answer: Value = serde_json::from_slice(&answer.0.stdout).unwrap();
        assert_eq!(
            stdout(&answer).matches("GET /v1/a HTTP/1.1").count(),
            2,
            "{answer}"
        );
        let answer = served.ran(&["--thread", "u", "--", "curl", "-sS", &good]);
        assert_eq!(stdout(&answer), "GET /v1/a HTTP/1.1", "{answer}");
        drop(served);
        let served = Served::start(world, "thread", more);
        let answer = served.ran(&["--thread", "v", "--", "curl", "-sS", &good]);
        assert_eq!(stdout(&answer), "GET /v1/a HTTP/1.1", "{answer}");
        drop(served);
        // The same agent, at another door; another agent has not been there, and here nobody can be asked.
        world.rule(more);
        let runs = |agent: &str| {
            let words = [
                "run",
                "--agent",
                agent,
                "--profile",
                "p.toml",
                "--",
                "curl",
                "-sS",
                &good,
            ];
            Ran(world.casemate(&words).output().unwrap()).stdout()
        };
        assert_eq!(runs("local"), "GET /v1/a HTTP/1.1");
        let told = runs("other");
        assert!(told.contains("new_destination"), "{told}");
        world.home.run(["audit", "verify"]).exits(0);
    });
}

//! Unmodified clients in real sandboxes, and destinations that write down what arrives: each reaches what its rule allows, and
//! nothing else, whether it knows of a proxy or not.

mod table;
mod trust;

use std::sync::Arc;

use serde_json::Value;

use self::table::{
    BARE, CLIENTS, CURL, Client, GIT, GRPC, HTTPX, HTTPX_H2, NODE, PIP, PYTHON, REQUESTS,
    WEBSOCKETS,
};
use crate::{
    home::{Ran, User, users},
    images::Wheel,
    services::Services,
    upstream::Upstream,
    way::{HOST, World},
    ways::{Served, stdout},
};

/// A user, a destination with all services, and what arrives there.
fn shop(user: User) -> (World, Arc<Services>) {
    let services = Services::new();
    let world = World::before(user, |roots| Upstream::of_services(roots, HOST, &services));
    Wheel::of("one").write(&services.packages());
    world.rule("websocket = \"text\"");
    // From now on there is a log.
    world.run(&["true"]).exits(0);
    (world, services)
}

/// Runs a command with room: where there is no cgroup for it, the limit of memory is one of addresses, of which `fetch` of Node
/// takes ten gibibytes for its parser in WebAssembly.
fn roomy(world: &World, command: &[&str]) -> Ran {
    world.run_with(&["--memory", "16GiB"], command)
}

/// The answer is the one to what was sent, all of which arrived, and each request is on record as allowed.
#[track_caller]
fn assert_reached(
    client: &Client,
    answer: &Value,
    services: &Services,
    log: &[Value],
    knows_proxy: bool,
) {
    assert_eq!(
        stdout(answer).trim(),
        client.says.trim(),
        "{:?} {answer}",
        client.words
    );
    assert_eq!(services.arrived(), client.sends, "{:?}", client.words);
    let requests = client
        .sends
        .iter()
        .filter(|sent| !sent.starts_with("message"));
    let kinds: Vec<_> = log
        .iter()
        .map(|record| record["kind"].as_str().unwrap())
        .collect();
    let allowed = kinds.iter().filter(|kind| **kind == "allowed");
    assert_eq!(allowed.count(), requests.count(), "{log:?}");
    let ended = kinds.iter().filter(|kind| **kind == "outcome");
    assert_eq!(2 * ended.count(), kinds.len(), "{log:?}");
    for record in log {
        let summary = &record["summary"];
        let through = if knows_proxy && client.asks_proxy {
            "connect"
        } else {
            "transparent"
        };
        if client.asks_proxy || !knows_proxy {
            assert_eq!(summary["entry"], through, "{:?} {log:?}", client.words);
        }
        assert_eq!(summary["call"], answer["decision"]);
        assert_eq!(summary["rule"], "orders");
        assert!(summary["trace_id"].is_string());
    }
}

/// It is refused on record, with its code, and nothing has arrived.
#[track_caller]
fn assert_refused(
    client: &Client,
    answer: &Value,
    services: &Services,
    log: &[Value],
    because: &[&str],
) {
    let words = client.words;
    assert_ne!(answer["exit_code"], 0, "{words:?} {answer}");
    assert_eq!(services.arrived(), [""; 0], "{words:?} {answer}");
    assert!(!log.is_empty(), "{words:?} {answer}");
    for record in log {
        assert_eq!(record["kind"], "denied", "{words:?} {log:?}");
        let summary = &record["summary"];
        assert!(
            because.contains(&summary["code"].as_str().unwrap()),
            "{words:?} {log:?}"
        );
        assert_eq!(summary["call"], answer["decision"]);
        assert!(summary["trace_id"].is_string());
    }
}

/// In a sandbox of its own for each call, by everybody.
fn under_run(client: &Client) {
    if !client.is_here() {
        return;
    }
    for user in users() {
        let (world, services) = shop(user);
        let fresh = |words: &[&str]| {
            let before = world.requests().len();
            let answer = roomy(&world, words).json();
            (answer, world.requests().split_off(before))
        };
        for knows_proxy in [true, false] {
            let url = world.url(client.path);
            let (answer, log) = fresh(&client.words(knows_proxy, &url));
            assert_reached(client, &answer, &services, &log, knows_proxy);

            // A path that no rule has.
            let elsewhere = url.replace("/v1/", "/v2/");
            let (answer, log) = fresh(&client.words(knows_proxy, &elsewhere));
            assert_refused(client, &answer, &services, &log, &["egress_denied"]);
            assert_eq!(log.len(), 1, "{log:?}");
            assert_eq!(log[0]["summary"]["trace_id"], answer["trace_id"]);

            // And a host: to who knows no proxy its name does not exist.
            let connections = world.upstream.connections();
            let elsewhere = url.replace(HOST, "other.way.example");
            let (answer, log) = fresh(&client.words(knows_proxy, &elsewhere));
            assert_refused(client, &answer, &services, &log, &["egress_denied"]);
            assert_eq!(world.upstream.connections(), connections);
        }
        world.home.run(["audit", "verify"]).exits(0);
    }
}

macro_rules! under_run {
    ($($name:ident: $client:expr;)*) => {$(
        /// R105, R106, R107, I4, I5.
        #[test]
        fn $name() {
            under_run(&$client);
        }
    )*};
}

under_run! {
    curl_reaches_what_is_allowed: CURL;
    git_clones_what_is_allowed: GIT;
    pip_downloads_what_is_allowed: PIP;
    requests_reaches_what_is_allowed: REQUESTS;
    httpx_reaches_what_is_allowed: HTTPX;
    httpx_reaches_what_is_allowed_over_http2: HTTPX_H2;
    fetch_of_node_reaches_what_is_allowed: NODE;
    grpc_calls_what_is_allowed: GRPC;
    websockets_talks_to_what_is_allowed: WEBSOCKETS;
}

/// R103, R104, R105, R106, R107: in one session, with its process of egress, each client reaches what is allowed and nothing else.
#[test]
fn clients_of_a_session_reach_what_is_allowed() {
    let (world, services) = shop(User::Tester);
    let served = Served::start(&world, "thread", "websocket = \"text\"");
    let room = served.ran(&["--thread", "t", "--", "sh", "-c", "ulimit -v"]);
    let has_room = stdout(&room) == "unlimited\n";
    for client in CLIENTS.iter().filter(|client| client.is_here()) {
        if client.words[0] == "node" && !has_room {
            continue;
        }
        for knows_proxy in [true, false] {
            let url = world.url(client.path);
            let elsewhere = url.replace("/v1/", "/v2/");
            let call = |url: &str| {
                let before = served.requests().len();
                let words = client.words(knows_proxy, url);
                let answer = served.ran(&[&["--thread", "t", "--"], &words[..]].concat());
                (answer, served.requests().split_off(before))
            };
            let (answer, log) = call(&url);
            assert_reached(client, &answer, &services, &log, knows_proxy);
            let (answer, log) = call(&elsewhere);
            assert_refused(client, &answer, &services, &log, &["egress_denied"]);
        }
    }
    drop(served);
    world.home.run(["audit", "verify"]).exits(0);
}

/// R106, R120: who may read a repository pushes nothing into it; nothing of the push arrives but the question what is there.
#[test]
fn a_push_that_a_rule_denies_does_not_arrive() {
    let push = "cd /tmp && git clone -q $1 p && cd p && echo x > x && git add x && git -c user.name=t -c user.email=t@example.com commit -q -m pushed && git push -q";
    let deny = format!(
        "[[egress.rules]]\nname = \"no-push\"\neffect = \"deny\"\nhost = \"{HOST}\"\npaths = [\"/v1/*/git-receive-pack\"]"
    );
    for user in users() {
        let (world, services) = shop(user);
        let url = world.url(GIT.path);
        for bare in [&[][..], BARE] {
            world.rule(&deny);
            let ran = world.run(&[bare, &["sh", "-c", push, "sh", &url]].concat());
            assert_ne!(ran.json()["exit_code"], 0, "{ran:?}");
            let arrived = services.arrived();
            assert!(
                !arrived.iter().any(|sent| sent.contains("receive-pack")),
                "{arrived:?}"
            );
            assert_eq!(services.commits(), "a\n");
            let log = world.requests();
            let denied = log.iter().filter(|record| record["kind"] == "denied");
            let codes: Vec<_> = denied.map(|record| &record["summary"]["code"]).collect();
            assert_eq!(codes.last().unwrap(), &"egress_denied", "{log:?}");
        }
        // Without the rule it does.
        world.rule("");
        world.run(&["sh", "-c", push, "sh", &url]).exits(0);
        assert_eq!(services.commits(), "pushed\na\n");
        assert!(
            services
                .arrived()
                .contains(&"POST /v1/repo.git/git-receive-pack".to_owned())
        );
    }
}

/// R103, R120: of a WebSocket only such messages pass as its rule allows.
#[test]
fn a_message_that_the_rule_refuses_does_not_arrive() {
    if !WEBSOCKETS.is_here() {
        return;
    }
    let talk = r"
import sys
from websockets.sync.client import connect
with connect('wss' + sys.argv[1].removeprefix('https')) as socket:
    socket.send('hello')
    print(socket.recv())
    socket.send(b'bytes!!')
    try: print(socket.recv())
    except Exception as closed: print(type(closed).__name__)
";
    for user in users() {
        let (world, services) = shop(user);
        for (bare, websocket, said, arrived) in [
            (
                &[][..],
                "text",
                "hello\nConnectionClosedError\n",
                &["message of 5"][..],
            ),
            (
                BARE,
                "text",
                "hello\nConnectionClosedError\n",
                &["message of 5"],
            ),
            (
                BARE,
                "binary",
                "hello\nb'bytes!!'\n",
                &["message of 5", "message of 7"],
            ),
        ] {
            world.rule(&format!("websocket = \"{websocket}\""));
            let url = world.url(WEBSOCKETS.path);
            let ran = world.run(&[bare, &[PYTHON, "-s", "-c", talk, &url]].concat());
            assert_eq!(ran.exits(0).json()["stdout"], said, "{ran:?}");
            assert_eq!(services.arrived(), [&["GET /v1/socket"], arrived].concat());
            let log = world.requests();
            let ended = &log.last().unwrap()["summary"];
            assert_eq!(
                ended["code"] == "frame_refused",
                websocket == "text",
                "{log:?}"
            );
        }
    }
}

/// Names with a slash in them, as registries of npm have them, reach a destination byte for byte where a rule says that it knows.
#[test]
fn an_escaped_slash_is_sent_where_a_rule_says_so() {
    for user in users() {
        let (world, services) = shop(user);
        let url = world.url("/v1/@scope%2Fname");
        for (more, arrives) in [("", false), ("escaped_slash = \"allowed\"", true)] {
            world.rule(more);
            for bare in [&[][..], BARE] {
                let ran = world.run(&[bare, &["curl", "-sS", "--path-as-is", &url]].concat());
                let answer = ran.json();
                let arrived = services.arrived();
                if arrives {
                    assert_eq!(answer["stdout"], "GET /v1/@scope%2Fname");
                    assert_eq!(arrived, ["GET /v1/@scope%2Fname"]);
                } else {
                    assert!(
                        answer["stdout"]
                            .as_str()
                            .unwrap()
                            .contains("path_ambiguous"),
                        "{answer}"
                    );
                    assert_eq!(arrived, [""; 0]);
                    let log = world.requests();
                    assert_eq!(log.last().unwrap()["summary"]["code"], "path_ambiguous");
                }
            }
        }
    }
}

//! The ways in: each meets the same policy.

use std::net::SocketAddr;

use casemate_egress::{Code, Entry, Host, Route, Scheme, Stage, Target};
use tokio::io::AsyncWriteExt as _;

use crate::{
    client::{ask, config, hello, is_closed, read, tls, tunnel},
    upstream::{Manner, Roots, Upstream},
    world::{Rule, World},
};

async fn good() -> (World, Upstream) {
    let roots = Roots::new();
    let upstream = Upstream::tls(
        roots.server(&["good.test"], &[b"http/1.1"], |_| {}),
        Manner::Echo,
    )
    .await;
    let world = World::new(&roots.pem, Vec::new());
    world.allow("good.test", Rule::local(upstream.port));
    (world, upstream)
}

/// A path with an escaped slash is sent byte for byte where its rule says that the destination keeps it apart, and nowhere else.
#[tokio::test]
async fn an_escaped_slash_is_sent_where_a_rule_says_so() {
    let (world, upstream) = good().await;
    let authority = format!("good.test:{}", upstream.port);
    let stream = tunnel(world.connect(), &authority).await;
    let mut stream = tls(stream, "good.test", config(&world.proxy, &[b"http/1.1"]))
        .await
        .unwrap();
    let request = format!("GET /@scope%2Fname?a=%2f HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let answer = ask(&mut stream, request.clone()).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.head.contains("casemate-denied: path_ambiguous"),
        "{}",
        answer.head
    );
    assert_eq!(upstream.connections(), 0);
    world
        .rules
        .change("good.test", |rule| rule.escaped_slash = true);
    let answer = ask(&mut stream, request).await;
    assert!(
        answer
            .text()
            .starts_with("GET /@scope%2Fname?a=%2f HTTP/1.1\n"),
        "{}",
        answer.text()
    );
    let records = world.records(3).await;
    assert_eq!(records[0].stage, Stage::Denied(Code::PathAmbiguous));
    assert_eq!(upstream.requests(), 1);
}

/// R103, R105, R119: a tunnel is intercepted with the agent's own authority, each request of it is judged, and the
/// connection to the destination is used again.
#[tokio::test]
async fn requests_in_a_tunnel_are_judged_and_sent() {
    let (world, upstream) = good().await;
    let authority = format!("good.test:{}", upstream.port);
    let stream = tunnel(world.connect(), &authority).await;
    let mut stream = tls(stream, "good.test", config(&world.proxy, &[b"http/1.1"]))
        .await
        .unwrap();
    for path in ["/a?b=1", "/c"] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nX-One: 1\r\nProxy-Connection: keep-alive\r\n\r\n"
        );
        let answer = ask(&mut stream, request).await;
        assert_eq!(answer.status, 200);
        assert!(
            answer.text().starts_with(&format!("GET {path} HTTP/1.1\n")),
            "{}",
            answer.text()
        );
        assert!(answer.text().contains("x-one: 1") && !answer.text().contains("proxy-connection"));
        assert!(
            !answer.head.contains("alt-svc") && !answer.head.contains("keep-alive"),
            "{}",
            answer.head
        );
    }
    assert_eq!((upstream.connections(), upstream.requests()), (1, 2));
    let records = world.records(4).await;
    assert!(records.iter().all(|record| record.entry == Entry::Connect));
    assert_eq!(
        records
            .iter()
            .filter(|record| record.stage == Stage::Ended(None))
            .count(),
        2
    );
    assert_eq!(records[0].server_name.as_deref(), Some("good.test"));
    assert_eq!(records[0].path.as_deref(), Some("/a"));
    assert_eq!(records[0].decision, records[1].decision);
}

/// R107, R115, R246: whatever is not allowed is refused before the tunnel is open, and recorded once with its trace.
#[tokio::test]
async fn a_destination_without_a_rule_is_refused_before_anything_is_sent() {
    let (world, upstream) = good().await;
    let answer = ask(
        &mut world.connect(),
        format!("CONNECT evil.test:{} HTTP/1.1\r\n\r\n", upstream.port),
    )
    .await;
    assert_eq!(
        (answer.status, answer.code().as_deref()),
        (403, Some("egress_denied"))
    );
    assert!(!answer.text().contains("evil"), "{}", answer.text());
    assert_eq!(world.denied().await, Code::EgressDenied);
    let records = world.records(1).await;
    assert_eq!(records[0].origin, world.origin);
    assert!(answer.text().contains(&records[0].decision.to_string()));
    assert!(world.addresses.asked.lock().unwrap().is_empty());
    assert_eq!(upstream.connections(), 0);
}

/// A whole URL of plain HTTP needs a rule that says so. (T24)
#[tokio::test]
async fn plain_http_is_refused_unless_a_rule_allows_it() {
    let upstream = Upstream::plain(Manner::Echo).await;
    let roots = Roots::new();
    let world = World::new(&roots.pem, Vec::new());
    world.allow("good.test", Rule::local(upstream.port));
    let authority = format!("good.test:{}", upstream.port);
    let request = format!("GET http://{authority}/x HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let answer = ask(&mut world.connect(), &request).await;
    assert_eq!(
        (answer.status, answer.code().as_deref()),
        (403, Some("plaintext_denied"))
    );
    assert_eq!(
        (world.denied().await, upstream.connections()),
        (Code::PlaintextDenied, 0)
    );

    world
        .rules
        .change("good.test", |rule| rule.plaintext = true);
    let answer = ask(&mut world.connect(), &request).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().starts_with("GET /x HTTP/1.1\n"));
    assert_eq!(world.records(3).await[1].entry, Entry::Absolute);

    // And never with a credential.
    world
        .rules
        .change("good.test", |rule| rule.credential = Some("key".to_owned()));
    let answer = ask(&mut world.connect(), &request).await;
    assert_eq!(answer.code().as_deref(), Some("plaintext_denied"));
    assert_eq!(
        world
            .credentials
            .rendered
            .load(std::sync::atomic::Ordering::Relaxed),
        0
    );
    assert_eq!(upstream.requests(), 1);
}

/// A base URL of the proxy stands for a destination, under the same rules.
#[tokio::test]
async fn base_urls_lead_to_their_destination() {
    let roots = Roots::new();
    let upstream = Upstream::tls(
        roots.server(&["good.test"], &[b"http/1.1"], |_| {}),
        Manner::Echo,
    )
    .await;
    let target = |host: &str| Target {
        scheme: Scheme::Https,
        host: Host::parse(host).unwrap(),
        port: upstream.port,
    };
    let routes = vec![
        Route::new("ai", target("good.test"), "/v1").unwrap(),
        Route::new("evil", target("evil.test"), "").unwrap(),
    ];
    let world = World::new(&roots.pem, routes);
    world.allow("good.test", Rule::local(upstream.port));
    let mut stream = world.connect();
    let answer = ask(
        &mut stream,
        "POST /ai/chat?x=1 HTTP/1.1\r\nHost: proxy\r\nContent-Length: 2\r\n\r\nhi",
    )
    .await;
    assert_eq!(answer.status, 200);
    let text = answer.text();
    assert!(
        text.starts_with("POST /v1/chat?x=1 HTTP/1.1\n") && text.ends_with("\n\nhi"),
        "{text}"
    );
    assert!(text.contains(&format!("host: good.test:{}\n", upstream.port)));
    assert_eq!(world.records(2).await[0].entry, Entry::Route);
    let answer = ask(&mut stream, "GET /evil/x HTTP/1.1\r\nHost: proxy\r\n\r\n").await;
    assert_eq!(answer.code().as_deref(), Some("egress_denied"));
    let answer = ask(
        &mut world.connect(),
        "GET /other HTTP/1.1\r\nHost: proxy\r\n\r\n",
    )
    .await;
    assert_eq!(answer.code().as_deref(), Some("egress_denied"));
    // Whatever is not spelled as a route is, or wants to be more than requests, is none.
    let before = upstream.requests();
    let upgrade = "GET /ai/chat HTTP/1.1\r\nHost: proxy\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for (request, code) in [
        (
            "GET /a%69/chat HTTP/1.1\r\nHost: proxy\r\n\r\n",
            "path_ambiguous",
        ),
        (
            "GET /x/../ai/chat HTTP/1.1\r\nHost: proxy\r\n\r\n",
            "path_ambiguous",
        ),
        (
            "GET /./ai/chat HTTP/1.1\r\nHost: proxy\r\n\r\n",
            "path_ambiguous",
        ),
        (
            "GET //ai/chat HTTP/1.1\r\nHost: proxy\r\n\r\n",
            "path_ambiguous",
        ),
        (
            "GET /ai/../../chat HTTP/1.1\r\nHost: proxy\r\n\r\n",
            "path_ambiguous",
        ),
        (
            "GET /AI/chat HTTP/1.1\r\nHost: proxy\r\n\r\n",
            "egress_denied",
        ),
        (
            "GET /air/chat HTTP/1.1\r\nHost: proxy\r\n\r\n",
            "egress_denied",
        ),
        (
            "GET http://proxy/ai/chat HTTP/1.1\r\nHost: proxy\r\n\r\n",
            "egress_denied",
        ),
        (
            "GET http://proxy.test/ai/chat HTTP/1.1\r\nHost: proxy.test\r\n\r\n",
            "egress_denied",
        ),
        ("CONNECT proxy.test:443 HTTP/1.1\r\n\r\n", "egress_denied"),
        (upgrade, "upgrade_refused"),
    ] {
        let answer = ask(&mut world.connect(), request).await;
        assert_eq!(answer.code().as_deref(), Some(code), "{request}");
    }
    assert_eq!(upstream.requests(), before);
    assert_eq!(upstream.requests(), 1);
}

/// A question for the address of a name.
fn question(name: &str, kind: u8) -> Vec<u8> {
    let mut message = vec![1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, kind, 0, 1]);
    message
}

/// The address that is made up for `name`.
pub(crate) async fn address(world: &World, name: &str) -> [u8; 4] {
    let question = question(name, 1);
    let answer = world.proxy.answer_dns(&question, &world.origin).await;
    let answer = answer.unwrap();
    answer[answer.len() - 4..].try_into().unwrap()
}

/// I3: a program that knows of no proxy gets a made-up address, and meets the same policy at it. (D06)
#[tokio::test]
async fn a_program_without_a_proxy_meets_the_same_policy() {
    let (world, upstream) = good().await;
    let address = address(&world, "good.test").await;
    let original = SocketAddr::from((address, upstream.port));
    let stream = world.connect_to(original);
    let mut stream = tls(stream, "good.test", config(&world.proxy, &[]))
        .await
        .unwrap();
    let request = format!(
        "GET /x HTTP/1.1\r\nHost: good.test:{}\r\n\r\n",
        upstream.port
    );
    assert_eq!(ask(&mut stream, request).await.status, 200);
    assert_eq!(world.records(2).await[0].entry, Entry::Transparent);

    // Another name at this address.
    let mut stream = world.connect_to(original);
    stream
        .write_all(&hello("evil.test", config(&world.proxy, &[])))
        .await
        .unwrap();
    assert!(is_closed(&mut stream).await);
    // Another port of it.
    let mut stream = world.connect_to(SocketAddr::from((address, 22)));
    stream
        .write_all(&hello("good.test", config(&world.proxy, &[])))
        .await
        .unwrap();
    assert!(is_closed(&mut stream).await);
    // An address that nobody made up.
    let mut stream = world.connect_to("8.8.8.8:443".parse().unwrap());
    stream
        .write_all(&hello("good.test", config(&world.proxy, &[])))
        .await
        .unwrap();
    assert!(is_closed(&mut stream).await);
    let codes: Vec<_> = world.records(5).await[2..]
        .iter()
        .map(|record| record.stage)
        .collect();
    let denied = [
        Code::AuthorityMismatch,
        Code::EgressDenied,
        Code::AddrLiteral,
    ]
    .map(Stage::Denied);
    assert_eq!(codes, denied);
    // Plain HTTP.
    let answer = ask(
        &mut world.connect_to(original),
        format!(
            "GET / HTTP/1.1\r\nHost: good.test:{}\r\n\r\n",
            upstream.port
        ),
    )
    .await;
    assert_eq!(answer.code().as_deref(), Some("plaintext_denied"));
    assert_eq!(upstream.requests(), 1);
}

/// Names that are not allowed do not exist, and nobody is asked about them. (D06, D09)
#[tokio::test]
async fn names_that_are_not_allowed_do_not_exist() {
    let (world, _upstream) = good().await;
    let answer = world
        .proxy
        .answer_dns(&question("c2VjcmV0.evil.test", 1), &world.origin)
        .await
        .unwrap();
    assert_eq!(answer[3] & 15, 3);
    assert_eq!(world.denied().await, Code::EgressDenied);
    let record = &world.records(1).await[0];
    assert_eq!(record.entry, Entry::Dns);
    assert_eq!(record.server_name.as_deref(), Some("c2vjcmv0.evil.test"));
    let answer = world
        .proxy
        .answer_dns(&question("good.test", 28), &world.origin)
        .await
        .unwrap();
    assert_eq!((answer[3] & 15, answer[7]), (0, 0));
    assert!(
        world
            .proxy
            .answer_dns(b"no question", &world.origin)
            .await
            .is_none()
    );
    assert!(world.addresses.asked.lock().unwrap().is_empty());
}

/// A tunnel that says nothing is no decision; one request after the other is answered in order.
#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (world, upstream) = good().await;
    let authority = format!("good.test:{}", upstream.port);
    let stream = tunnel(world.connect(), &authority).await;
    let mut stream = tls(stream, "good.test", config(&world.proxy, &[]))
        .await
        .unwrap();
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    stream
        .write_all((one("/1") + &one("/2") + &one("/3")).as_bytes())
        .await
        .unwrap();
    for path in ["/1", "/2", "/3"] {
        assert!(
            read(&mut stream)
                .await
                .unwrap()
                .text()
                .starts_with(&format!("GET {path} "))
        );
    }
}

/// A connection to one destination is never used for another, whichever the client asks for in between.
#[tokio::test]
async fn connections_are_for_their_destination_only() {
    let (one, two) = (
        Upstream::plain(Manner::Echo).await,
        Upstream::plain(Manner::Echo).await,
    );
    let world = World::new(&Roots::new().pem, Vec::new());
    world.allow(
        "one.test",
        Rule {
            plaintext: true,
            ..Rule::local(one.port)
        },
    );
    world.allow(
        "two.test",
        Rule {
            plaintext: true,
            ..Rule::local(two.port)
        },
    );
    let mut stream = world.connect();
    for (host, port) in [
        ("one", one.port),
        ("two", two.port),
        ("one", one.port),
        ("one", one.port),
    ] {
        let authority = format!("{host}.test:{port}");
        let request =
            format!("GET http://{authority}/{host} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        let answer = ask(&mut stream, request).await;
        assert!(
            answer.text().contains(&format!("host: {authority}\n")),
            "{}",
            answer.text()
        );
    }
    assert_eq!((one.requests(), two.requests()), (3, 1));
    assert_eq!((one.connections(), two.connections()), (2, 1));
}

/// R113, R114: a destination that nobody classified is denied, whatever its rule says.
#[tokio::test]
async fn a_destination_without_a_class_is_denied() {
    let (world, upstream) = good().await;
    world.rules.change("good.test", |rule| {
        rule.class = casemate_model::DestinationClass::Unknown
    });
    let answer = ask(
        &mut world.connect(),
        format!("CONNECT good.test:{} HTTP/1.1\r\n\r\n", upstream.port),
    )
    .await;
    assert_eq!(
        (answer.status, answer.code().as_deref()),
        (403, Some("class_unknown"))
    );
    assert_eq!(
        (world.denied().await, upstream.connections()),
        (Code::ClassUnknown, 0)
    );
}

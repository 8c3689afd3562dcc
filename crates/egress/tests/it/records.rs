//! Nothing is sent without a record.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use casemate_egress::{
    Code, Entry, Room, Stage,
    limits::{MAX_CALL_CONNECTIONS, MAX_CALL_REQUESTS, MAX_CONNECTIONS, MAX_REQUESTS},
};
use tokio::io::AsyncWriteExt as _;

use crate::{
    client::{ask, config, is_closed, tls, tunnel},
    upstream::{Manner, Roots, Upstream},
    world::{Rule, World},
};

/// I1: when records cannot be written, nothing is sent.
#[tokio::test]
async fn no_record_no_request() {
    let roots = Roots::new();
    let upstream = Upstream::tls(roots.server(&["good.test"], &[], |_| {}), Manner::Echo).await;
    let world = World::new(&roots.pem, Vec::new());
    world.allow("good.test", Rule::local(upstream.port));
    world.records.is_down.store(true, Ordering::Relaxed);
    let authority = format!("good.test:{}", upstream.port);
    let stream = tunnel(world.connect(), &authority).await;
    let mut stream = tls(stream, "good.test", config(&world.proxy, &[]))
        .await
        .unwrap();
    let answer = ask(
        &mut stream,
        format!("GET / HTTP/1.1\r\nHost: {authority}\r\n\r\n"),
    )
    .await;
    assert_eq!(
        (answer.status, answer.code().as_deref()),
        (503, Some("record_unavailable"))
    );
    assert_eq!(upstream.requests(), 0);
}

/// A call has so many connections and no more, and so has its agent; each that is refused is recorded. Whatever one call does, another
/// gets through.
#[tokio::test]
async fn connections_are_bounded() {
    let (roots, room) = (Roots::new(), Room::default());
    let calls: Vec<_> = (0..=MAX_CONNECTIONS / MAX_CALL_CONNECTIONS)
        .map(|_| World::beside(&room, &roots.pem))
        .collect();
    let (last, calls) = calls.split_last().unwrap();
    let mut open = Vec::new();
    let fill = async |world: &World, open: &mut Vec<_>, count: usize| {
        let before = world.proxy.connections();
        open.extend((0..count).map(|_| world.connect()));
        while world.proxy.connections() < before + count {
            tokio::task::yield_now().await;
        }
    };
    for world in calls {
        fill(world, &mut open, MAX_CALL_CONNECTIONS).await;
        assert!(is_closed(&mut world.connect()).await);
        assert!(is_closed(&mut world.connect_to("198.18.0.1:443".parse().unwrap())).await);
        let records = world.records(2).await;
        assert_eq!(records[1].entry, Entry::Transparent);
        assert_eq!(records[0].stage, Stage::Denied(Code::TooMany));
        assert_eq!(ask(&mut last.connect(), REFUSED).await.status, 403);
        while last.proxy.connections() > open.len() {
            tokio::task::yield_now().await;
        }
    }
    // All of them together have what their agent has.
    let rest = MAX_CONNECTIONS - open.len();
    fill(last, &mut open, rest).await;
    assert!(is_closed(&mut last.connect()).await);
    drop(open.pop());
    while last.proxy.connections() == MAX_CONNECTIONS {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&mut last.connect(), REFUSED).await.status, 403);
}

const REFUSED: &str = "CONNECT evil.test:443 HTTP/1.1\r\n\r\n";

/// A call has so many requests at once and no more, those that wait for a person too; each that is refused is recorded, and
/// not even judged. Another call gets through, and when one has ended there is room again.
#[tokio::test]
async fn requests_are_bounded() {
    let (roots, room) = (Roots::new(), Room::default());
    let upstream = Upstream::plain(Manner::Echo).await;
    let world = World::beside(&room, &roots.pem);
    let waits = Rule {
        plaintext: true,
        delay: Some(Arc::default()),
        ..Rule::local(upstream.port)
    };
    world.allow("good.test", waits.clone());
    let request = format!(
        "GET http://good.test:{0}/ HTTP/1.1\r\nHost: good.test:{0}\r\n\r\n",
        upstream.port
    );
    let mut open = Vec::new();
    for _ in 0..MAX_CALL_REQUESTS {
        let mut stream = world.connect();
        stream.write_all(request.as_bytes()).await.unwrap();
        open.push(stream);
    }
    let judged = || world.rules.judged.lock().unwrap().len();
    while judged() < MAX_CALL_REQUESTS {
        tokio::task::yield_now().await;
    }
    let answer = ask(&mut world.connect(), &request).await;
    assert_eq!(
        (answer.status, answer.code().as_deref()),
        (429, Some("too_many"))
    );
    assert_eq!(world.denied().await, Code::TooMany);
    assert_eq!((judged(), upstream.requests()), (MAX_CALL_REQUESTS, 0));
    let other = World::beside(&room, &roots.pem);
    other.allow(
        "good.test",
        Rule {
            delay: None,
            ..waits
        },
    );
    assert_eq!(ask(&mut other.connect(), &request).await.status, 200);
    world.rules.change("good.test", |rule| rule.delay = None);
    // One that comes while the end of another is not yet recorded gets its place when it is.
    let mut next = world.connect();
    next.write_all(request.as_bytes()).await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    drop(open.pop());
    assert_eq!(ask(&mut next, "").await.status, 200);
    assert_eq!((judged(), upstream.requests()), (MAX_CALL_REQUESTS + 1, 2));
}

/// Calls together have what their agent has, and no more.
#[tokio::test]
async fn requests_of_an_agent_are_bounded() {
    let (roots, room) = (Roots::new(), Room::default());
    let upstream = Upstream::plain(Manner::Echo).await;
    let request = format!(
        "GET http://good.test:{0}/ HTTP/1.1\r\nHost: good.test:{0}\r\n\r\n",
        upstream.port
    );
    let (mut worlds, mut open) = (Vec::new(), Vec::new());
    for number in 0..=MAX_REQUESTS {
        if number % MAX_CALL_REQUESTS == 0 {
            let world = World::beside(&room, &roots.pem);
            let waits = Rule {
                plaintext: true,
                delay: Some(Arc::default()),
                ..Rule::local(upstream.port)
            };
            world.allow("good.test", waits);
            worlds.push(world);
        }
        let world = worlds.last().unwrap();
        let mut stream = world.connect();
        stream.write_all(request.as_bytes()).await.unwrap();
        open.push(stream);
        let judged = || world.rules.judged.lock().unwrap().len();
        while number < MAX_REQUESTS && judged() <= number % MAX_CALL_REQUESTS {
            tokio::task::yield_now().await;
        }
    }
    let last = worlds.last().unwrap();
    assert_eq!(last.denied().await, Code::TooMany);
    assert_eq!(upstream.requests(), 0);
}

/// Slow heads and slow hellos end. Time is the test's. (T02)
#[tokio::test(start_paused = true)]
async fn slow_clients_are_not_waited_for() {
    let world = World::new(&Roots::new().pem, Vec::new());
    world.allow("good.test", Rule::public());
    // A head that never ends.
    let answer = ask(&mut world.connect(), "GET / HT").await;
    assert_eq!(
        (answer.status, answer.code().as_deref()),
        (504, Some("timeout"))
    );
    // A hello that never ends.
    let mut stream = tunnel(world.connect(), "good.test:443").await;
    stream.write_all(&[22, 3, 1]).await.unwrap();
    assert!(is_closed(&mut stream).await);
    // Nothing at all where a hello should be.
    let mut stream = world.connect_to(SocketAddr::from(([8, 8, 8, 8], 443)));
    assert!(is_closed(&mut stream).await);
    // Nothing at all where a request should be is no decision.
    assert!(is_closed(&mut world.connect()).await);
    let codes: Vec<_> = world
        .records(3)
        .await
        .iter()
        .map(|record| record.stage)
        .collect();
    assert_eq!(
        codes,
        [Code::Timeout, Code::HelloTimeout, Code::HelloTimeout].map(Stage::Denied)
    );
}

/// The proxy is nobody's destination.
#[tokio::test]
async fn the_proxy_does_not_connect_to_itself() {
    let own: SocketAddr = "127.0.0.1:3128".parse().unwrap();
    let world = World::with(&Roots::new().pem, Vec::new(), [own].into());
    world.allow(
        "good.test",
        Rule {
            plaintext: true,
            ..Rule::local(3128)
        },
    );
    let answer = ask(
        &mut world.connect(),
        "GET http://good.test:3128/ HTTP/1.1\r\nHost: good.test:3128\r\n\r\n",
    )
    .await;
    assert_eq!(answer.code().as_deref(), Some("addr_self"));
    assert_eq!(world.denied().await, Code::AddrSelf);
}

/// I1: whoever is silent, at whatever step, nothing is sent; and there is one record when the client gives up.
#[tokio::test]
async fn silence_at_any_step_sends_nothing() {
    for silent in 0..4 {
        let roots = Roots::new();
        let upstream = Upstream::tls(roots.server(&["good.test"], &[], |_| {}), Manner::Echo).await;
        let world = World::new(&roots.pem, Vec::new());
        let credential = Some("key".to_owned());
        world.allow(
            "good.test",
            Rule {
                credential,
                ..Rule::local(upstream.port)
            },
        );
        let step = match silent {
            0 => &world.addresses.silent,
            1 => &world.credentials.silent,
            2 => &world.records.silent,
            _ => {
                world.rules.change("good.test", |rule| {
                    rule.delay = Some(std::sync::Arc::default())
                });
                &std::sync::atomic::AtomicBool::new(false)
            }
        };
        step.store(true, Ordering::Relaxed);
        let authority = format!("good.test:{}", upstream.port);
        let stream = tunnel(world.connect(), &authority).await;
        let mut stream = tls(stream, "good.test", config(&world.proxy, &[]))
            .await
            .unwrap();
        let request =
            format!("POST / HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 2\r\n\r\nhi");
        stream.write_all(request.as_bytes()).await.unwrap();
        while step.load(Ordering::Relaxed) && silent < 3
            || world.rules.judged.lock().unwrap().is_empty()
        {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        drop(stream);
        let stage = world.records(1).await[0].stage;
        // Whether a record was written that was given up, nobody knows; it was not sent.
        let gone = [
            Stage::Denied(Code::ClientGone),
            Stage::Ended(Some(Code::ClientGone)),
        ];
        assert!(gone.contains(&stage), "{silent}: {stage:?}");
        assert_eq!(upstream.requests(), 0, "{silent}");
    }
}

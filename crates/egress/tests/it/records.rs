//! Nothing is sent without a record.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use casemate_egress::{
    Code, Entry, Stage,
    limits::{MAX_CONNECTIONS, MAX_REQUESTS},
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

/// An agent has so many connections and no more; each that is refused is recorded.
#[tokio::test]
async fn connections_are_bounded() {
    let world = World::new(&Roots::new().pem, Vec::new());
    let mut open = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        open.push(world.connect());
    }
    while world.proxy.connections() < MAX_CONNECTIONS {
        tokio::task::yield_now().await;
    }
    assert!(is_closed(&mut world.connect()).await);
    assert!(is_closed(&mut world.connect_to("198.18.0.1:443".parse().unwrap())).await);
    assert_eq!(world.records(2).await[1].entry, Entry::Transparent);
    assert_eq!(
        world.records(2).await[0].stage,
        Stage::Denied(Code::TooMany)
    );
    drop(open.pop());
    while world.proxy.connections() == MAX_CONNECTIONS {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        ask(
            &mut world.connect(),
            "CONNECT evil.test:443 HTTP/1.1\r\n\r\n"
        )
        .await
        .status,
        403
    );
}

/// An agent has so many requests at once and no more, those that wait for a person too; each that is refused is recorded, and
/// not even judged. When one has ended there is room again.
#[tokio::test]
async fn requests_are_bounded() {
    let roots = Roots::new();
    let upstream = Upstream::plain(Manner::Echo).await;
    let world = World::new(&roots.pem, Vec::new());
    let waits = Rule {
        plaintext: true,
        delay: Some(Arc::default()),
        ..Rule::local(upstream.port)
    };
    world.allow("good.test", waits);
    let request = format!(
        "GET http://good.test:{0}/ HTTP/1.1\r\nHost: good.test:{0}\r\n\r\n",
        upstream.port
    );
    let mut open = Vec::new();
    for _ in 0..MAX_REQUESTS {
        let mut stream = world.connect();
        stream.write_all(request.as_bytes()).await.unwrap();
        open.push(stream);
    }
    let judged = || world.rules.judged.lock().unwrap().len();
    while judged() < MAX_REQUESTS {
        tokio::task::yield_now().await;
    }
    let answer = ask(&mut world.connect(), &request).await;
    assert_eq!(
        (answer.status, answer.code().as_deref()),
        (429, Some("too_many"))
    );
    assert_eq!(world.denied().await, Code::TooMany);
    assert_eq!((judged(), upstream.requests()), (MAX_REQUESTS, 0));
    world.rules.change("good.test", |rule| rule.delay = None);
    drop(open.pop());
    // Its place is free when its end is recorded.
    world.records(2).await;
    while ask(&mut world.connect(), &request).await.status == 429 {
        tokio::task::yield_now().await;
    }
    assert_eq!((judged(), upstream.requests()), (MAX_REQUESTS + 1, 1));
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

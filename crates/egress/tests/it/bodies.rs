//! Bodies while they pass: as they come, whole, within their budgets, and no longer than the right to them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use casemate_egress::{
    BodyLength, Code, Stage,
    limits::{MAX_CALL_HELD_BYTES, MAX_JUDGED_BODY_BYTES},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::client::TlsStream;

use crate::{
    client::{Duplex, ask, config, is_closed, read, read_head, tls, tunnel},
    upstream::{Manner, Roots, Upstream},
    world::{Rule, World},
};

struct Stage1 {
    world: World,
    upstream: Upstream,
    authority: String,
}

async fn start(manner: Manner) -> Stage1 {
    let roots = Roots::new();
    let upstream =
        Upstream::tls(roots.server(&["good.test"], &[b"http/1.1"], |_| {}), manner).await;
    let world = World::new(&roots.pem, Vec::new());
    world.allow("good.test", Rule::local(upstream.port));
    let authority = format!("good.test:{}", upstream.port);
    Stage1 {
        world,
        upstream,
        authority,
    }
}

impl Stage1 {
    async fn open(&self) -> TlsStream<impl Duplex + use<>> {
        let stream = tunnel(self.world.connect(), &self.authority).await;
        tls(stream, "good.test", config(&self.world.proxy, &[]))
            .await
            .unwrap()
    }

    fn post(&self, fields: &str, body: &str) -> String {
        format!(
            "POST /x HTTP/1.1\r\nHost: {}\r\n{fields}\r\n{body}",
            self.authority
        )
    }

    async fn get(&self, path: &str) -> (TlsStream<impl Duplex + use<>>, String) {
        let mut stream = self.open().await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.authority);
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await.unwrap();
        (stream, head)
    }
}

#[tokio::test]
async fn chunks_and_trailers_pass() {
    let test = start(Manner::Echo).await;
    let mut stream = test.open().await;
    let body = "3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Last: 1\r\n\r\n";
    let request = test.post("Transfer-Encoding: chunked\r\nTrailer: x-last\r\n", body);
    let answer = ask(&mut stream, request).await;
    assert!(answer.text().ends_with("\n\nabcdefg"), "{}", answer.text());
    let records = test.world.records(2).await;
    // Data and trailers, beside the head.
    assert_eq!(records[1].bytes_out - records[0].bytes_out, 7 + 7);
    assert_eq!(
        u64::try_from(answer.body.len()).unwrap(),
        records[1].bytes_in
    );
}

/// A body that breaks off or is no body is never a whole one at the destination.
#[tokio::test]
async fn a_broken_body_is_no_request() {
    let test = start(Manner::Echo).await;
    for body in [
        "3\r\nabc\r\nX\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3;x=y\r\nabc\r\n0\r\n\r\n",
        "0\r\nContent-Length: 3\r\n\r\n",
    ] {
        let mut stream = test.open().await;
        let answer = ask(
            &mut stream,
            test.post("Transfer-Encoding: chunked\r\n", body),
        )
        .await;
        assert_eq!(
            (answer.status, answer.code().as_deref()),
            (400, Some("framing")),
            "{body:?}"
        );
        assert!(is_closed(&mut stream).await);
    }
    // Nor does one begin whose client is gone before the decision.
    test.world
        .rules
        .change("good.test", |rule| rule.delay = Some(Arc::default()));
    let mut stream = test.open().await;
    let cut_off = test.post("Content-Length: 10\r\n", "abc");
    stream.write_all(cut_off.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let records = test.world.records(9).await;
    assert_eq!(records[8].stage, Stage::Denied(Code::ClientGone));
}

#[tokio::test]
async fn a_client_that_waits_is_told_to_go_on() {
    let test = start(Manner::Echo).await;
    let mut stream = test.open().await;
    let head = test.post("Content-Length: 3\r\nExpect: 100-continue\r\n", "");
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(
        read_head(&mut stream)
            .await
            .unwrap()
            .starts_with("HTTP/1.1 100 Continue")
    );
    stream.write_all(b"abc").await.unwrap();
    let answer = read(&mut stream).await.unwrap();
    assert!(
        answer.text().ends_with("\n\nabc") && !answer.text().contains("expect"),
        "{}",
        answer.text()
    );
}

/// Not before the decision. (H11)
#[tokio::test]
async fn a_client_that_waits_is_refused_without_its_body() {
    let test = start(Manner::Echo).await;
    test.world
        .rules
        .change("good.test", |rule| rule.paths = vec!["/other".to_owned()]);
    let mut stream = test.open().await;
    let answer = ask(
        &mut stream,
        test.post("Content-Length: 3\r\nExpect: 100-continue\r\n", ""),
    )
    .await;
    assert_eq!(answer.status, 403);
    assert!(
        answer.text().contains("\"because\":\"path_refused\""),
        "{}",
        answer.text()
    );
    assert_eq!(test.world.records(1).await[0].because, Some("path_refused"));
    assert_eq!(test.upstream.connections(), 0);
}

/// Events pass one by one, not when the answer ends.
#[tokio::test]
async fn events_pass_as_they_come() {
    let test = start(Manner::Echo).await;
    let (mut stream, head) = test.get("/events").await;
    assert!(head.contains("text/event-stream"));
    let mut got = Vec::new();
    while !got.windows(7).any(|part| part == b"data: 2") {
        assert_ne!(stream.read_buf(&mut got).await.unwrap(), 0);
    }
    // It goes on, and it ends with the client.
    assert_eq!(test.world.records(1).await[0].stage, Stage::Sent);
    drop(stream);
    assert_eq!(
        test.world.records(2).await[1].stage,
        Stage::Ended(Some(Code::ClientGone))
    );
}

/// An open answer is cut off when its rule is withdrawn, and not when another is. (X09)
#[tokio::test]
async fn a_withdrawn_rule_cuts_open_answers() {
    let test = start(Manner::Echo).await;
    let (mut stream, _) = test.get("/events").await;
    test.world.withdraw("other.test");
    assert_eq!(test.world.records(1).await.len(), 1);
    test.world.withdraw("good.test");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it must look cut off");
    assert_eq!(
        test.world.records(2).await[1].stage,
        Stage::Ended(Some(Code::Revoked))
    );
}

/// And a request that waits for its answer.
#[tokio::test]
async fn a_withdrawn_rule_ends_waiting_requests() {
    let test = start(Manner::Echo).await;
    let mut stream = test.open().await;
    let request = format!("GET /slow HTTP/1.1\r\nHost: {}\r\n\r\n", test.authority);
    stream.write_all(request.as_bytes()).await.unwrap();
    test.world.records(1).await;
    test.world.withdraw("good.test");
    assert_eq!(
        read(&mut stream).await.unwrap().code().as_deref(),
        Some("revoked")
    );
    assert_eq!(
        test.world.records(2).await[1].stage,
        Stage::Ended(Some(Code::Revoked))
    );
}

/// A decision that takes long is made before anything is connected, and is void if the rule went meanwhile.
#[tokio::test]
async fn nothing_is_connected_while_a_person_decides() {
    let test = start(Manner::Echo).await;
    let consent = Arc::new(tokio::sync::Notify::new());
    test.world
        .rules
        .change("good.test", |rule| rule.delay = Some(Arc::clone(&consent)));
    let mut stream = test.open().await;
    stream
        .write_all(test.post("Content-Length: 0\r\n", "").as_bytes())
        .await
        .unwrap();
    while test.world.rules.judged.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(test.upstream.connections(), 0);
    test.world.rules.withdraw("good.test");
    consent.notify_one();
    assert_eq!(
        read(&mut stream).await.unwrap().code().as_deref(),
        Some("revoked")
    );
    assert_eq!(
        (test.world.denied().await, test.upstream.connections()),
        (Code::Revoked, 0)
    );
}

/// A rule that goes while its connection is made lets nothing be sent, and nothing says that it was.
#[tokio::test]
async fn a_rule_that_goes_while_connecting_sends_nothing() {
    let test = start(Manner::Echo).await;
    let resolved = Arc::new(tokio::sync::Notify::new());
    *test.world.addresses.delay.lock().unwrap() = Some(Arc::clone(&resolved));
    let mut stream = test.open().await;
    stream
        .write_all(test.post("Content-Length: 0\r\n", "").as_bytes())
        .await
        .unwrap();
    while test.world.addresses.asked.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    test.world.withdraw("good.test");
    resolved.notify_one();
    assert_eq!(
        read(&mut stream).await.unwrap().code().as_deref(),
        Some("revoked")
    );
    assert_eq!(
        (test.world.denied().await, test.upstream.requests()),
        (Code::Revoked, 0)
    );
}

/// Whoever hangs up while a decision is made leaves one record, and nothing is sent, with a body or without.
#[tokio::test]
async fn hanging_up_before_the_decision_sends_nothing() {
    for (fields, body) in [
        ("Content-Length: 0\r\n", ""),
        ("Content-Length: 2\r\n", "hi"),
    ] {
        let test = start(Manner::Echo).await;
        test.world
            .rules
            .change("good.test", |rule| rule.delay = Some(Arc::default()));
        let mut stream = test.open().await;
        stream
            .write_all(test.post(fields, body).as_bytes())
            .await
            .unwrap();
        while test.world.rules.judged.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        drop(stream);
        assert_eq!(
            (test.world.denied().await, test.upstream.connections()),
            (Code::ClientGone, 0)
        );
    }
}

/// R205: what is judged whole is sent whole, and what is too long to be judged is not sent at all. (C20)
#[tokio::test]
async fn a_judged_body_is_judged_whole() {
    let test = start(Manner::Echo).await;
    test.world
        .rules
        .change("good.test", |rule| rule.body_bytes = Some(1_000));
    let mut stream = test.open().await;
    let answer = ask(&mut stream, test.post("Content-Length: 3\r\n", "abc")).await;
    assert!(answer.text().ends_with("\n\nabc"));
    let body = test.world.rules.judged.lock().unwrap()[0]
        .body
        .clone()
        .unwrap();
    assert_eq!(body.bytes, "abc");
    assert_eq!(test.world.records(2).await[1].body, Some(body.digest));
    let hidden = "a".repeat(900) + "DELETE";
    for (fields, body, code) in [
        ("Content-Length: 906\r\n", hidden.clone(), "egress_denied"),
        (
            "Transfer-Encoding: chunked\r\n",
            format!("38a\r\n{hidden}\r\n0\r\n\r\n"),
            "egress_denied",
        ),
        (
            "Content-Length: 1001\r\n",
            "a".repeat(1_001),
            "body_too_large",
        ),
        (
            "Transfer-Encoding: chunked\r\n",
            format!("3e9\r\n{}\r\n0\r\n\r\n", "a".repeat(1_001)),
            "body_too_large",
        ),
        (
            "Transfer-Encoding: chunked\r\n",
            "1\r\na\r\n0\r\nX: y\r\n\r\n".to_owned(),
            "framing",
        ),
    ] {
        let answer = ask(&mut test.open().await, test.post(fields, &body)).await;
        assert_eq!(answer.code().as_deref(), Some(code));
    }
    assert_eq!(test.upstream.requests(), 1);
}

/// A destination without TLS, whose requests are judged with their bodies, and the head of one.
async fn judged_whole() -> (World, Upstream, impl Fn(usize) -> String) {
    let upstream = Upstream::plain(Manner::Echo).await;
    let world = World::new(&Roots::new().pem, Vec::new());
    world.allow(
        "good.test",
        Rule {
            plaintext: true,
            body_bytes: Some(MAX_JUDGED_BODY_BYTES),
            ..Rule::local(upstream.port)
        },
    );
    let authority = format!("good.test:{}", upstream.port);
    let head = move |length| {
        format!(
            "POST http://{authority}/x HTTP/1.1\r\nHost: {authority}\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    (world, upstream, head)
}

/// What is held to be judged has a bound in total, and room again when it is not held any more. (T02)
#[tokio::test]
async fn bodies_that_are_judged_have_room_together() {
    let (world, upstream, head) = judged_whole().await;
    let consent = Arc::new(tokio::sync::Notify::new());
    world
        .rules
        .change("good.test", |rule| rule.delay = Some(Arc::clone(&consent)));
    let body = vec![b'a'; MAX_JUDGED_BODY_BYTES];
    let mut waiting = Vec::new();
    for _ in 0..MAX_CALL_HELD_BYTES / MAX_JUDGED_BODY_BYTES {
        let mut stream = world.connect();
        let request = [head(body.len()).as_bytes(), &body].concat();
        stream.write_all(&request).await.unwrap();
        waiting.push(stream);
    }
    while world.rules.judged.lock().unwrap().len() < waiting.len() {
        tokio::task::yield_now().await;
    }
    let answer = ask(&mut world.connect(), head(1) + "a").await;
    assert_eq!(
        (answer.status, answer.code().as_deref()),
        (429, Some("too_many"))
    );
    assert_eq!(world.denied().await, Code::TooMany);
    assert_eq!(upstream.connections(), 0);
    assert_eq!(world.rules.judged.lock().unwrap().len(), waiting.len());
    // The test keeps what was judged, too.
    waiting.clear();
    world
        .records(1 + MAX_CALL_HELD_BYTES / MAX_JUDGED_BODY_BYTES)
        .await;
    world.rules.judged.lock().unwrap().clear();
    consent.notify_one();
    let answer = ask(&mut world.connect(), head(1) + "a").await;
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.requests(), 1);
}

/// A body that stands still is not waited for, nor what was read of it kept. Time is the test's. (T02)
#[tokio::test(start_paused = true)]
async fn a_judged_body_that_stands_still_ends() {
    let (world, upstream, head) = judged_whole().await;
    let mut stream = world.connect();
    let answer = ask(&mut stream, head(3) + "ab").await;
    assert_eq!(
        (answer.status, answer.code().as_deref()),
        (504, Some("timeout"))
    );
    assert_eq!(world.denied().await, Code::Timeout);
    assert!(world.rules.judged.lock().unwrap().is_empty());
    assert_eq!(upstream.connections(), 0);
}

/// Budgets of bytes end both directions. (C33)
#[tokio::test]
async fn budgets_end_bodies() {
    let test = start(Manner::Echo).await;
    test.world
        .rules
        .change("good.test", |rule| rule.budget = Some(1_000));
    let body = "a".repeat(2_000);
    let answer = ask(
        &mut test.open().await,
        test.post("Content-Length: 2000\r\n", &body),
    )
    .await;
    assert_eq!(
        (answer.status, answer.code().as_deref()),
        (429, Some("budget_exhausted"))
    );
    assert_eq!(
        test.world.records(2).await[1].stage,
        Stage::Ended(Some(Code::BudgetExhausted))
    );
    test.world.rules.spent.store(0, Ordering::Relaxed);
    let mut stream = test.open().await;
    let body = "a".repeat(700);
    stream
        .write_all(test.post("Content-Length: 700\r\n", &body).as_bytes())
        .await
        .unwrap();
    let _ = is_closed(&mut stream).await;
    assert_eq!(
        test.world.records(4).await[3].stage,
        Stage::Ended(Some(Code::BudgetExhausted))
    );
}

/// What a head says is taken from the budget before it is sent, and is in the record. (C33)
#[tokio::test]
async fn budgets_count_heads() {
    let test = start(Manner::Echo).await;
    let secret = "a".repeat(2_000);
    let authority = &test.authority;
    let heads = [
        format!("GET /{secret} HTTP/1.1\r\nHost: {authority}\r\n\r\n"),
        format!("GET /x?{secret} HTTP/1.1\r\nHost: {authority}\r\n\r\n"),
        format!("GET /x HTTP/1.1\r\nHost: {authority}\r\nX: {secret}\r\n\r\n"),
        format!("GET /x HTTP/1.1\r\nHost: {authority}\r\n{secret}: x\r\n\r\n"),
    ];
    for (at, head) in heads.iter().enumerate() {
        test.world.rules.spent.store(0, Ordering::Relaxed);
        test.world
            .rules
            .change("good.test", |rule| rule.budget = Some(1_000));
        let answer = ask(&mut test.open().await, head.clone()).await;
        assert_eq!(
            (answer.status, answer.code().as_deref()),
            (429, Some("budget_exhausted"))
        );
        let records = test.world.records(3 * at + 1).await;
        assert_eq!(records[3 * at].stage, Stage::Denied(Code::BudgetExhausted));
        assert_eq!(records[3 * at].bytes_out, 0);
        assert_eq!(test.upstream.requests(), at);
        test.world
            .rules
            .change("good.test", |rule| rule.budget = None);
        assert_eq!(ask(&mut test.open().await, head.clone()).await.status, 200);
        let records = test.world.records(3 * at + 3).await;
        assert!(records[3 * at + 1].bytes_out > 2_000);
        assert_eq!(records[3 * at + 2].bytes_out, records[3 * at + 1].bytes_out);
    }
}

/// Answers that could be read in two ways do not pass, and their connection is not used again. (H15, H16)
#[tokio::test]
async fn answers_that_could_be_two_are_held_back() {
    for raw in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 0\r\n\r\n",
        "SSH-2.0-nothing\r\n",
    ] {
        let test = start(Manner::Raw(raw.into())).await;
        let mut stream = test.open().await;
        let answer = ask(&mut stream, test.post("Content-Length: 0\r\n", "")).await;
        assert_eq!(
            (answer.status, answer.code().as_deref()),
            (502, Some("upstream_protocol")),
            "{raw:?}"
        );
        let records = test.world.records(2).await;
        assert_eq!(records[1].stage, Stage::Ended(Some(Code::UpstreamProtocol)));
        let _ = ask(&mut stream, test.post("Content-Length: 0\r\n", "")).await;
        assert_eq!(test.upstream.connections(), 2, "{raw:?}");
    }
    // Bytes behind an answer that has none are not the next answer.
    let test = start(Manner::Raw(
        "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil".into(),
    ))
    .await;
    let mut stream = test.open().await;
    assert_eq!(
        ask(&mut stream, test.post("Content-Length: 0\r\n", ""))
            .await
            .status,
        204
    );
    let second = ask(&mut stream, test.post("Content-Length: 0\r\n", "")).await;
    assert_eq!((second.status, test.upstream.connections()), (204, 2));
}

/// R205: a body that is longer than its rule allows is not sent, or cut off as soon as that is seen.
#[tokio::test]
async fn long_bodies_are_refused_or_cut_off() {
    let test = start(Manner::Echo).await;
    test.world.rules.change("good.test", |rule| rule.most = 10);
    let answer = ask(
        &mut test.open().await,
        test.post("Content-Length: 11\r\n", "abc"),
    )
    .await;
    assert_eq!(
        (answer.status, answer.code().as_deref()),
        (413, Some("body_too_large"))
    );
    assert_eq!(test.upstream.connections(), 0);
    let chunks = "5\r\nabcde\r\n6\r\nfghijk\r\n0\r\n\r\n";
    let answer = ask(
        &mut test.open().await,
        test.post("Transfer-Encoding: chunked\r\n", chunks),
    )
    .await;
    assert_eq!(answer.code().as_deref(), Some("body_too_large"));
    assert_eq!(
        test.world.records(3).await[2].stage,
        Stage::Ended(Some(Code::BodyTooLarge))
    );
    let answer = ask(
        &mut test.open().await,
        test.post("Content-Length: 10\r\n", "0123456789"),
    )
    .await;
    assert_eq!(answer.status, 200);
    let judged = test.world.rules.judged.lock().unwrap();
    let lengths: Vec<_> = judged.iter().map(|facts| facts.length).collect();
    assert_eq!(
        lengths,
        [
            BodyLength::Bytes(11),
            BodyLength::Unknown,
            BodyLength::Bytes(10)
        ]
    );
    assert!(judged.iter().all(|facts| facts.origin == test.world.origin));
}

//! Credentials: for the right request, to the proven destination, and never back.

use std::sync::atomic::Ordering;

use casemate_egress::{Code, InjectError, Stage};
use rcgen::{BasicConstraints, CertificateParams, IsCa, date_time_ymd};

use crate::{
    client::{ask, config, tls, tunnel},
    upstream::{Manner, Roots, Upstream},
    world::{Rule, World},
};

async fn start(
    change: impl FnOnce(&mut CertificateParams),
    names: &[&str],
    manner: Manner,
) -> (World, Upstream) {
    let roots = Roots::new();
    let upstream = Upstream::tls(roots.server(names, &[b"http/1.1"], change), manner).await;
    let world = World::new(&roots.pem, Vec::new());
    let rule = Rule {
        credential: Some("key".to_owned()),
        ..Rule::local(upstream.port)
    };
    world.allow("good.test", rule);
    (world, upstream)
}

async fn get(world: &World, upstream: &Upstream, fields: &str) -> crate::client::Answer {
    let authority = format!("good.test:{}", upstream.port);
    let stream = tunnel(world.connect(), &authority).await;
    let mut stream = tls(stream, "good.test", config(&world.proxy, &[]))
        .await
        .unwrap();
    ask(
        &mut stream,
        format!("GET /x HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n"),
    )
    .await
}

/// What the client would prove itself with goes, ours comes in its place, and nothing nominates it away. (C27, C35, H12)
#[tokio::test]
async fn our_credential_takes_the_place_of_the_clients() {
    let (world, upstream) = start(|_| {}, &["good.test"], Manner::Echo).await;
    let theirs = "Authorization: Bearer theirs\r\nCookie: theirs\r\nX-Api-Key: theirs\r\nX-Goog-Api-Key: theirs\r\n\
        Range: bytes=0-0\r\nAccept-Encoding: gzip\r\nX-Auth_Token: theirs\r\n";
    let answer = get(&world, &upstream, theirs).await;
    let text = answer.text();
    assert!(
        !text.contains("theirs")
            && !text.contains("range:")
            && text.contains("accept-encoding: identity"),
        "{text}"
    );
    // And it does not come back: not in a field, not in the body.
    let secret = world.credentials.secret.lock().unwrap().clone();
    assert!(!text.contains(&secret) && !answer.head.contains(&secret));
    assert!(
        text.contains("authorization: Bearer [removed]")
            && answer.head.contains("x-reflected: Bearer [removed]")
    );
    let records = world.records(2).await;
    assert_eq!(
        (records[1].hits, records[1].credential.as_deref()),
        (2, Some("key"))
    );
    assert!(!format!("{records:?}").contains(&secret));
    // It was asked for by the rule that let the request through.
    assert_eq!(*world.credentials.rules.lock().unwrap(), ["good.test"]);
}

/// Some credentials are a part of the query, or more than one field: they go behind what was judged, and in the place of the client's.
#[tokio::test]
async fn a_credential_may_be_in_the_query_and_in_several_fields() {
    let (world, upstream) = start(|_| {}, &["good.test"], Manner::Echo).await;
    *world.credentials.query.lock().unwrap() = Some("key=a%26b".to_owned());
    let authority = format!("good.test:{}", upstream.port);
    for (target, sent) in [
        ("/x", "GET /x?key=a%26b HTTP/1.1"),
        ("/x?", "GET /x?key=a%26b HTTP/1.1"),
        ("/x?page=2", "GET /x?page=2&key=a%26b HTTP/1.1"),
    ] {
        let stream = tunnel(world.connect(), &authority).await;
        let mut stream = tls(stream, "good.test", config(&world.proxy, &[]))
            .await
            .unwrap();
        let head =
            format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\nX-Amz-Date: theirs\r\n\r\n");
        let text = ask(&mut stream, head).await.text();
        assert!(text.contains(sent), "{target}: {text}");
        assert!(
            text.contains("x-amz-date: ours") && !text.contains("theirs"),
            "{text}"
        );
    }
    assert!(!format!("{:?}", world.records(6).await).contains("a%26b"));
}

/// A client's own value beside ours, of the same name to some server, is not sent, and neither is ours. (C27)
#[tokio::test]
async fn nothing_is_sent_beside_our_credential() {
    for (target, field) in [
        ("/x?key=theirs", ""),
        ("/x?a=1&%6Bey=theirs", ""),
        ("/x?a=1;key", ""),
        ("/x?KEY=theirs", ""),
        ("/x", "X_Amz_Date: theirs\r\n"),
        ("/x", "x-amz.date: theirs\r\n"),
    ] {
        let (world, upstream) = start(|_| {}, &["good.test"], Manner::Echo).await;
        *world.credentials.query.lock().unwrap() = Some("key=a%26b".to_owned());
        let authority = format!("good.test:{}", upstream.port);
        let stream = tunnel(world.connect(), &authority).await;
        let mut stream = tls(stream, "good.test", config(&world.proxy, &[]))
            .await
            .unwrap();
        let head = format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\n{field}\r\n");
        let answer = ask(&mut stream, head).await;
        assert_eq!(
            (answer.code().as_deref(), upstream.requests()),
            (Some("cred_scope"), 0),
            "{target} {field}"
        );
        assert_eq!(world.denied().await, Code::CredScope);
    }
}

/// R111, I5: a certificate that proves nothing costs no credential, and no request. (T17)
#[tokio::test]
async fn a_bad_certificate_never_costs_a_secret() {
    type Change = fn(&mut CertificateParams);
    let changes: &[(&str, Change)] = &[
        ("expired", |params| {
            params.not_after = date_time_ymd(2020, 1, 1)
        }),
        ("not yet valid", |params| {
            params.not_before = date_time_ymd(2090, 1, 1)
        }),
        ("an authority", |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)
        }),
        ("for clients", |params| {
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth]
        }),
    ];
    for (what, change) in changes {
        let (world, upstream) = start(change, &["good.test"], Manner::Echo).await;
        refused(&world, &upstream, what).await;
    }
    let (world, upstream) = start(|_| {}, &["evil.test"], Manner::Echo).await;
    refused(&world, &upstream, "another name").await;
    // Another authority, which nobody told us to believe.
    let (other, _) = start(|_| {}, &["good.test"], Manner::Echo).await;
    let (_, upstream) = start(|_| {}, &["good.test"], Manner::Echo).await;
    other
        .rules
        .change("good.test", |rule| rule.ports = vec![upstream.port]);
    refused(&other, &upstream, "unknown authority").await;
}

async fn refused(world: &World, upstream: &Upstream, what: &str) {
    let answer = get(world, upstream, "").await;
    assert_eq!(
        (answer.status, answer.code().as_deref()),
        (502, Some("upstream_cert")),
        "{what}"
    );
    assert_eq!(world.denied().await, Code::UpstreamCert);
    assert_eq!(
        (
            upstream.requests(),
            world.credentials.rendered.load(Ordering::Relaxed)
        ),
        (0, 0),
        "{what}"
    );
}

/// No credential, no request. (C02)
#[tokio::test]
async fn without_its_credential_nothing_is_sent() {
    for (error, code) in [
        (InjectError::Scope, Code::CredScope),
        (InjectError::Unavailable, Code::CredUnavailable),
    ] {
        let (world, upstream) = start(|_| {}, &["good.test"], Manner::Echo).await;
        *world.credentials.refuses.lock().unwrap() = Some(error);
        assert_eq!(
            get(&world, &upstream, "").await.code().as_deref(),
            Some(code.as_str())
        );
        assert_eq!((world.denied().await, upstream.requests()), (code, 0));
    }
}

/// R78, I2: a secret that could not be looked for in answers is not sent.
#[tokio::test]
async fn what_could_not_be_looked_for_is_not_sent() {
    let (world, upstream) = start(|_| {}, &["good.test"], Manner::Echo).await;
    world.filters.is_full.store(true, Ordering::Relaxed);
    let answer = get(&world, &upstream, "").await;
    assert_eq!(answer.code().as_deref(), Some("cred_unavailable"));
    assert_eq!(
        (world.denied().await, upstream.requests()),
        (Code::CredUnavailable, 0)
    );
}

/// R78, I2: a secret is looked for once it was sent, although the head of its own answer was refused: the destination has it, and may show
/// it in another answer.
#[tokio::test]
async fn a_secret_is_known_before_its_answer() {
    let raw = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: gzip\r\n\r\n";
    let (world, upstream) = start(|_| {}, &["good.test"], Manner::Raw(raw.into())).await;
    let answer = get(&world, &upstream, "").await;
    assert_eq!((answer.status, upstream.requests()), (502, 1));
    let secret = world.credentials.secret.lock().unwrap().clone();
    assert_eq!(*world.filters.learnt.lock().unwrap(), [secret]);
}

/// R78: where credentials may be in answers, each request asks for an answer that can be looked into, whole: not only the one with a
/// credential in it.
#[tokio::test]
async fn answers_without_a_credential_are_readable_too() {
    for looks in [false, true] {
        let (world, upstream) = start(|_| {}, &["good.test"], Manner::Echo).await;
        world
            .rules
            .change("good.test", |rule| rule.credential = None);
        world.filters.looks.store(looks, Ordering::Relaxed);
        let text = get(
            &world,
            &upstream,
            "Range: bytes=0-0\r\nAccept-Encoding: br\r\n",
        )
        .await
        .text();
        assert_eq!(text.contains("range: bytes=0-0"), !looks, "{text}");
        assert_eq!(text.contains("accept-encoding: br"), !looks, "{text}");
        assert_eq!(text.contains("accept-encoding: identity"), looks, "{text}");
    }
}

/// What cannot be looked at does not pass. (C08)
#[tokio::test]
async fn an_answer_that_cannot_be_checked_is_held_back() {
    let raw = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd";
    let (world, upstream) = start(|_| {}, &["good.test"], Manner::Raw(raw.into())).await;
    let answer = get(&world, &upstream, "").await;
    assert_eq!(
        (answer.status, answer.code().as_deref()),
        (502, Some("response_blocked"))
    );
    assert!(!answer.text().contains("abcd"));
    assert_eq!(
        world.records(2).await[1].stage,
        Stage::Ended(Some(Code::ResponseBlocked))
    );
}

//! HTTP/2: each stream on its own, on both sides.

use bytes::Bytes;
use casemate_egress::{Code, Stage};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::{
    client::{config, tls, tunnel},
    upstream::{Manner, Roots, Upstream},
    world::{Rule, World},
};

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

struct H2 {
    world: World,
    upstream: Upstream,
    authority: String,
    sender: SendRequest<Body>,
    served: tokio::task::JoinHandle<()>,
}

async fn start(upstream_alpn: &[&[u8]]) -> H2 {
    let roots = Roots::new();
    let upstream = Upstream::tls(
        roots.server(&["good.test"], upstream_alpn, |_| {}),
        Manner::Echo,
    )
    .await;
    let world = World::new(&roots.pem, Vec::new());
    world.allow("good.test", Rule::local(upstream.port));
    let authority = format!("good.test:{}", upstream.port);
    let (stream, served) = world.connect_held();
    let stream = tunnel(stream, &authority).await;
    let stream = tls(
        stream,
        "good.test",
        config(&world.proxy, &[b"h2", b"http/1.1"]),
    )
    .await
    .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    H2 {
        world,
        upstream,
        authority,
        sender,
        served,
    }
}

impl H2 {
    async fn get(&self, authority: &str, path: &str) -> Response<Incoming> {
        let request = Request::get(format!("https://{authority}{path}"))
            .body(Empty::new().boxed_unsync())
            .unwrap();
        self.sender.clone().send_request(request).await.unwrap()
    }
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(
        response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec(),
    )
    .unwrap()
}

/// R119: streams are judged one by one; another authority on the same connection is refused, and the rest goes on. (X02)
#[tokio::test]
async fn streams_are_judged_one_by_one() {
    let test = start(&[b"h2", b"http/1.1"]).await;
    let (one, two, other) = tokio::join!(
        test.get(&test.authority, "/1"),
        test.get(&test.authority, "/2"),
        test.get("evil.test", "/3"),
    );
    assert_eq!(other.status(), 421);
    assert_eq!(other.headers()["casemate-denied"], "authority_mismatch");
    assert!(
        text(one)
            .await
            .starts_with(&format!("GET https://{}/1 HTTP/2.0\n", test.authority))
    );
    assert!(text(two).await.contains("/2 HTTP/2.0\n"));
    assert_eq!(
        (test.upstream.connections(), test.upstream.requests()),
        (1, 2)
    );
    let records = test.world.records(5).await;
    let denied = records
        .iter()
        .filter(|record| record.stage == Stage::Denied(Code::AuthorityMismatch));
    assert_eq!(denied.count(), 1);
}

/// A destination that speaks only HTTP/1.1 gets that, with the same request in it.
#[tokio::test]
async fn a_destination_without_http2_is_spoken_to_in_http1() {
    let test = start(&[b"http/1.1"]).await;
    let (one, two) = tokio::join!(
        test.get(&test.authority, "/1"),
        test.get(&test.authority, "/2")
    );
    let text = text(one).await;
    assert!(
        text.starts_with("GET /1 HTTP/1.1\n")
            && text.contains(&format!("host: {}\n", test.authority)),
        "{text}"
    );
    assert_eq!(two.status(), 200);
    assert_eq!(test.upstream.requests(), 2);
}

/// H22, H17, H18, H10 on streams.
#[tokio::test]
async fn streams_are_read_as_strictly() {
    let test = start(&[b"h2"]).await;
    for (method, path, field, code) in [
        ("GET", "/a/../b", None, "path_ambiguous"),
        ("GET", "/a//b", None, "path_ambiguous"),
        ("TRACE", "/", None, "method_refused"),
        (
            "POST",
            "/",
            Some(("x-http-method-override", "DELETE")),
            "method_refused",
        ),
        ("POST", "/", Some(("content_length", "3")), "framing"),
        ("POST", "/", Some(("host", "evil.test")), "framing"),
        ("POST", "/", Some(("expect", "x")), "expectation"),
    ] {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", test.authority));
        if let Some((name, value)) = field {
            request = request.header(name, value);
        }
        let response = test
            .sender
            .clone()
            .send_request(request.body(Empty::new().boxed_unsync()).unwrap())
            .await
            .unwrap();
        assert_eq!(
            response.headers()["casemate-denied"],
            code,
            "{method} {path} {field:?}"
        );
    }
    assert_eq!(test.upstream.connections(), 0);
    assert_eq!(test.world.records(7).await.len(), 7);
}

/// gRPC: bodies that begin before they end, and trailers on both sides.
#[tokio::test]
async fn trailers_pass_both_ways() {
    let test = start(&[b"h2"]).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let frames = [
        Ok(Frame::data(Bytes::from("message"))),
        Ok(Frame::trailers(trailers)),
    ];
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
    let request = Request::post(format!("https://{}/service/Method", test.authority))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap();
    let response = test.sender.clone().send_request(request).await.unwrap();
    assert_eq!(response.status(), 202);
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    let text = String::from_utf8(collected.to_bytes().to_vec()).unwrap();
    assert!(
        text.contains("te: trailers\n") && text.ends_with("\n\nmessage"),
        "{text}"
    );
    assert_eq!(test.world.records(2).await[1].stage, Stage::Ended(None));
}

/// A stream ends when its rule is withdrawn, and its connection goes on. (X09)
#[tokio::test]
async fn a_withdrawn_rule_resets_streams() {
    let test = start(&[b"h2"]).await;
    let mut events = test.get(&test.authority, "/events").await.into_body();
    assert!(events.frame().await.unwrap().is_ok());
    test.world.withdraw("good.test");
    let mut last = events.frame().await;
    while let Some(Ok(_)) = last {
        last = events.frame().await;
    }
    assert!(last.unwrap().is_err());
    let refused = test.get(&test.authority, "/x").await;
    assert_eq!(refused.headers()["casemate-denied"], "revoked");
    let records = test.world.records(3).await;
    assert!(
        records
            .iter()
            .any(|record| record.stage == Stage::Ended(Some(Code::Revoked)))
    );
}

/// What a listener served ends with the listener, up to the destination.
#[tokio::test]
async fn streams_end_with_their_listener() {
    let test = start(&[b"h2"]).await;
    let mut events = test.get(&test.authority, "/events").await.into_body();
    assert!(events.frame().await.unwrap().is_ok());
    assert_eq!(
        test.upstream.open.load(std::sync::atomic::Ordering::SeqCst),
        1
    );
    test.served.abort();
    while test.upstream.open.load(std::sync::atomic::Ordering::SeqCst) > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let records = test.world.records(2).await;
    assert!(matches!(
        records[1].stage,
        Stage::Ended(Some(Code::ClientGone | Code::UpstreamProtocol))
    ));
    assert_eq!(test.world.proxy.connections(), 0);
}

/// Requests that are answered are no reason to end a connection, however many.
#[tokio::test]
async fn a_connection_serves_many_requests() {
    let test = start(&[b"h2"]).await;
    for _ in 0..=2 * casemate_egress::limits::MAX_CANCELLED {
        let response = test.get(&test.authority, "/x").await;
        assert_eq!(response.status(), 200);
        text(response).await;
    }
    assert_eq!(test.upstream.connections(), 1);
}

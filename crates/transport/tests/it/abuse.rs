//! I6, I15: bytes that are not what they should be are an answer that says so, never a hang, and never a request.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use bytes::Bytes;
use casemate_ports::SessionKeeper as _;
use casemate_transport::limits::{MAX_HEADER_BYTES, MAX_REQUEST_BYTES};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tokio::{io::AsyncWriteExt as _, net::UnixStream, time::timeout};

use crate::world::{World, owner, session};

type Sender = http2::SendRequest<Full<Bytes>>;

async fn sender(world: &World) -> Sender {
    let stream = UnixStream::connect(world.socket()).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

/// The status and the body of the answer, or nothing if the stream was reset.
async fn ask(
    sender: &mut Sender,
    method: Method,
    path: &str,
    body: impl Into<Bytes>,
) -> Option<(StatusCode, String)> {
    let request = Request::builder()
        .method(method)
        .uri(format!("http://keeper{path}"))
        .body(Full::new(body.into()))
        .unwrap();
    let exchange = async {
        let response = sender.send_request(request).await.ok()?;
        let status = response.status();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        Some((status, String::from_utf8_lossy(&body).into_owned()))
    };
    timeout(Duration::from_secs(10), exchange)
        .await
        .expect("an answer that does not come")
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_le_bytes().to_vec();
    frame.push(kind);
    frame.extend(payload);
    frame
}

/// A request that means nothing, the status of its answer, and a word of it.
type Case = (Method, &'static str, Vec<u8>, u16, &'static str);

async fn all_are_refused(cases: Vec<Case>) {
    let world = World::new();
    let mut sender = sender(&world).await;
    for (method, path, body, status, word) in cases {
        let shown: String = String::from_utf8_lossy(&body).chars().take(60).collect();
        let (got, said) = ask(&mut sender, method.clone(), path, body).await.unwrap();
        assert_eq!(got.as_u16(), status, "{method} {path} {shown}: {said}");
        assert!(said.contains(word), "{method} {path} {shown}: {said}");
    }
    assert_eq!(world.seen.count(), 0, "{:?}", world.seen.asked);
    world.keeper().await.sessions().await.unwrap();
}

fn of_session(rest: &str) -> String {
    let owner = serde_json::to_string(&owner()).unwrap();
    format!(r#"{{"session":"{}","owner":{owner}{rest}}}"#, session())
}

fn place_head(inputs: usize) -> Vec<u8> {
    let limits = serde_json::to_string(&casemate_model::Limits::default()).unwrap();
    let rest = format!(r#","limits":{limits},"context":null,"inputs":{inputs}"#);
    frame(1, of_session(&rest).as_bytes())
}

fn run(word: &str) -> Vec<u8> {
    let run = format!(r#"{{"argv":["{word}"],"env":{{}},"echo":null,"terminal":null}}"#);
    frame(6, run.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_a_request_is_an_answer_that_says_why() {
    const SESSIONS: &str = "/keeper/2/sessions";
    const CLOSE: &str = "/keeper/2/close";
    let of = || of_session("").into_bytes();
    let post = |path, body, status, word| (Method::POST, path, body, status, word);
    let large = vec![b' '; MAX_REQUEST_BYTES + 1];
    all_are_refused(vec![
        post("/", vec![], 404, "route"),
        post("/keeper/1/close", of(), 404, "route"),
        post("/keeper/2/close/", of(), 404, "route"),
        post("/keeper/2/../2/close", of(), 404, "route"),
        (Method::GET, SESSIONS, vec![], 405, "method"),
        (Method::PUT, SESSIONS, b"{}".to_vec(), 405, "method"),
        post(SESSIONS, vec![], 400, "json"),
        post(SESSIONS, b"{} {}".to_vec(), 400, "json"),
        post(SESSIONS, b"{\"x\":1}".to_vec(), 400, "json"),
        post(CLOSE, b"\xff".to_vec(), 400, "json"),
        post(CLOSE, vec![b'['; 100_000], 400, "json"),
        post(CLOSE, large, 413, "too_large"),
        post(CLOSE, of_session(",\"x\":1").into(), 400, "json"),
        post(
            CLOSE,
            of_session("").replace("ses_", "dec_").into(),
            400,
            "json",
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_the_frames_of_a_route_is_an_answer_that_says_why() {
    let place = |body, word| (Method::POST, "/keeper/2/place", body, 400, word);
    let half = [place_head(1), frame(2, b"name"), frame(3, b"half")].concat();
    let of = of_session("").into_bytes();
    all_are_refused(vec![
        place(vec![], "cut_off"),
        place(vec![1, 2, 3], "protocol"),
        place(frame(9, b""), "protocol"),
        place(frame(3, b"x"), "protocol"),
        place(frame(1, &of), "json"),
        place(place_head(1), "protocol"),
        place(place_head(usize::MAX), "spec"),
        place([place_head(1), run("true")].concat(), "protocol"),
        place(half, "cut_off"),
        (
            Method::POST,
            "/keeper/2/write-file",
            frame(4, b""),
            400,
            "protocol",
        ),
        (
            Method::POST,
            "/keeper/2/connect",
            frame(1, &of),
            400,
            "json",
        ),
    ])
    .await;
}

/// A place whose caller breaks the protocol is destroyed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_protocol_in_the_middle_is_the_end_of_the_place() {
    let world = World::new();
    let mut sender = sender(&world).await;
    let (head, run) = (place_head(0), run("wait"));
    let flood: Vec<u8> = (0..17).flat_map(|_| frame(3, b"x")).collect();
    let cases = [
        (
            "data before a command",
            [head.clone(), frame(3, b"x")].concat(),
        ),
        ("two heads", [head.clone(), head.clone()].concat()),
        (
            "two commands",
            [head.clone(), run.clone(), run.clone()].concat(),
        ),
        (
            "noise",
            [head.clone(), run.clone(), vec![0xff; 99]].concat(),
        ),
        (
            "more input than there is room for",
            [head.clone(), run, flood].concat(),
        ),
    ];
    for (count, (what, body)) in cases.into_iter().enumerate() {
        let (status, said) = ask(&mut sender, Method::POST, "/keeper/2/place", body)
            .await
            .unwrap();
        assert_eq!(status, 200, "{what}: {said}");
        assert!(said.contains(r#"{"protocol":"#), "{what}: {said}");
        crate::world::until(what, || world.seen.places_dropped.load(SeqCst) == count + 1).await;
    }
}

/// Noise instead of frames, and instead of HTTP/2, is never a request, and the keeper answers the next one.
#[test]
fn noise_is_never_a_request() {
    let world = World::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sender = runtime.block_on(sender(&world));
    let mut runner = TestRunner::new(Config::with_cases(150));
    let routes = prop_oneof![
        Just("place"),
        Just("write-file"),
        Just("connect"),
        Just("open"),
        Just("read-file")
    ];
    let property = runner.run(
        &(routes, vec(any::<u8>(), 0..3_000), 0_u8..10, any::<bool>()),
        |(route, noise, kind, framed)| {
            runtime.block_on(async {
                let body = if framed { frame(kind, &noise) } else { noise };
                let path = format!("/keeper/2/{route}");
                let (status, said) = ask(&mut sender.clone(), Method::POST, &path, body.clone())
                    .await
                    .unwrap();
                prop_assert!(status.is_client_error(), "{status} {said}");
                let mut raw = UnixStream::connect(world.socket()).await.unwrap();
                let _ = raw.write_all(&body).await;
                Ok(())
            })
        },
    );
    property.unwrap();
    assert_eq!(world.seen.count(), 0);
    runtime.block_on(async { world.keeper().await.sessions().await.unwrap() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_over_the_limit_are_refused() {
    let world = World::new();
    let mut sender = sender(&world).await;
    let request = Request::builder()
        .method(Method::POST)
        .uri("http://keeper/keeper/2/sessions")
        .header("x", "y".repeat(MAX_HEADER_BYTES as usize + 1))
        .body(Full::new(Bytes::from_static(b"{}")))
        .unwrap();
    let sent = timeout(Duration::from_secs(10), sender.send_request(request))
        .await
        .unwrap();
    if let Ok(response) = sent {
        assert_eq!(response.status(), 431);
    }
    assert_eq!(world.seen.count(), 0);
}

//! E2B's clients, in raw HTTP, with programs that run: what clients who leave, or say too much, do to them.

use std::time::Duration;

use casemate_api::limits::{MAX_E2B_CONTEXTS, MAX_E2B_WATCHES};
use casemate_callers::Role;
use futures_util::future::{join_all, select_all};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    client::until,
    e2b::{framed, inside, key, made, raw, with},
    remote::{Headers, Remote},
    session_keeper::{SPEAKS_HTTP, Step},
};

/// A gateway in which `shell` waits for nobody, the key of an operator of `acme`, and a sandbox.
async fn running() -> (Remote, Headers, Value) {
    let remote = Remote::with_shell().await;
    let (_, text) = remote.new_key("acme", &[Role::Operator]);
    let by = key(&text);
    let sandbox = made(&remote, &by).await;
    (remote, by, sandbox)
}

/// Writes a request, and says no more.
async fn begin(remote: &Remote, request: &str, headers: &Headers) -> TcpStream {
    let mut stream = TcpStream::connect(remote.address).await.unwrap();
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let (head, body) = request.split_once('\n').unwrap();
    let text = format!("{head} HTTP/1.1\r\nhost: casemate\r\n{headers}\r\n{body}");
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// An upload that breaks off outside of the workspace is killed before its program hears of an end.
#[tokio::test]
async fn an_upload_that_breaks_off_replaces_nothing() {
    let (remote, _, sandbox) = running().await;
    let octets = [("content-type", "application/octet-stream")];
    let headers = with(&inside(&sandbox, 49_983), &octets);
    let path = "/files?path=/tmp/x";
    let whole = raw(&remote, "POST", path, &headers, b"whole").await;
    assert_eq!(whole.status, 200, "{}", whole.json());
    let keeper = &remote.house.keeper;
    let taken = || {
        let steps = keeper.steps().into_iter();
        steps
            .filter(|step| matches!(step, Step::Files(_, "took")))
            .count()
    };
    assert_eq!(taken(), 1);
    let cut = with(&headers, &[("content-length", "100")]);
    let stream = begin(&remote, &format!("POST {path}\nhalf"), &cut).await;
    until(|| keeper.running() == 1).await;
    drop(stream);
    until(|| keeper.running() == 0).await;
    assert_eq!(taken(), 1);
}

/// A program behind a port learns nothing that proves who asks, wherever that stands.
#[tokio::test]
async fn a_program_at_a_port_gets_no_credential() {
    let (remote, _, sandbox) = running().await;
    let own = ("x-own", "of the program");
    let shown = [
        ("authorization", "Bearer secret"),
        ("x-api-key", "secret"),
        ("x-identity-header", "secret"),
        ("casemate-proof", "secret"),
        ("e2b-traffic-access-token", "secret"),
        ("proxy-authorization", "secret"),
        own,
    ];
    let headers = with(&inside(&sandbox, SPEAKS_HTTP), &shown);
    let answer = raw(&remote, "GET", "/path?query", &headers, b"").await;
    let head = String::from_utf8(answer.body).unwrap();
    assert_eq!(answer.status, 200, "{head}");
    assert!(head.starts_with("GET /path?query HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("x-own: of the program\r\n"), "{head}");
    let token = crate::e2b::text(&sandbox, "envdAccessToken");
    assert!(!head.contains("secret") && !head.contains(&token), "{head}");
    let names: Vec<_> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .collect();
    assert!(
        names
            .iter()
            .all(|(name, _)| ["x-own", "host"].contains(name)),
        "{head}"
    );
}

/// Of watches that stream, one more than there may be is refused, and the others go on.
#[tokio::test]
async fn a_sandbox_has_so_many_watches_that_stream() {
    let (remote, _, sandbox) = running().await;
    let stream = [
        ("content-type", "application/connect+json"),
        ("content-length", "20"),
    ];
    let headers = with(&inside(&sandbox, 49_983), &stream);
    let message = String::from_utf8(framed(0, br#"{"path":"/tmp"}"#)).unwrap();
    let request = format!("POST /filesystem.Filesystem/WatchDir\n{message}");
    let mut watches = Vec::new();
    for _ in 0..=MAX_E2B_WATCHES {
        watches.push(begin(&remote, &request, &headers).await);
    }
    let refused = watches.iter_mut().map(|watch| {
        Box::pin(async move {
            let (mut said, mut piece) = (String::new(), vec![0; 4_096]);
            while !said.contains("resource_exhausted") {
                let count = watch.read(&mut piece).await.unwrap();
                said.push_str(&String::from_utf8_lossy(&piece[..count]));
                assert!(count > 0, "{said}");
            }
        })
    });
    let refused = timeout(Duration::from_secs(10), select_all(refused)).await;
    assert!(refused.is_ok(), "none is refused");
}

/// However many contexts are made at once, there are no more than there may be.
#[tokio::test]
async fn contexts_that_are_made_at_once_have_places() {
    let (remote, _, sandbox) = running().await;
    let remote = &remote;
    let keeper = &remote.house.keeper;
    keeper.start_slowly();
    let headers = with(
        &inside(&sandbox, 49_999),
        &[("content-type", "application/json")],
    );
    let create = || raw(remote, "POST", "/contexts", &headers, b"{}");
    let many = join_all((0..=MAX_E2B_CONTEXTS).map(|_| create()));
    let opened = || {
        let steps = keeper.steps().into_iter();
        steps
            .filter(|step| matches!(step, Step::OpenContext(..)))
            .count()
    };
    let release = async {
        until(|| opened() >= MAX_E2B_CONTEXTS).await;
        keeper.release(MAX_E2B_CONTEXTS + 1);
    };
    let (answers, ()) = tokio::join!(many, release);
    let refused = answers.iter().filter(|answer| answer.status == 429).count();
    assert_eq!((refused, opened()), (1, MAX_E2B_CONTEXTS));
}

/// An interpreter whose client leaves before it is there is closed again.
#[tokio::test]
async fn a_context_whose_client_left_is_closed() {
    let (remote, _, sandbox) = running().await;
    let keeper = &remote.house.keeper;
    keeper.start_slowly();
    let more = [
        ("content-type", "application/json"),
        ("content-length", "2"),
    ];
    let headers = with(&inside(&sandbox, 49_999), &more);
    let client = begin(&remote, "POST /contexts\n{}", &headers).await;
    let find = |opens: bool| {
        keeper.steps().into_iter().find_map(|step| match step {
            Step::OpenContext(_, context) if opens => Some(context),
            Step::CloseContext(_, context) if !opens => Some(context),
            _ => None,
        })
    };
    until(|| find(true).is_some()).await;
    drop(client);
    // The server hears of it before the interpreter has started.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    keeper.release(1);
    until(|| find(false).is_some()).await;
    assert_eq!(find(false), find(true));
}

//! E2B's clients, in raw HTTP, with programs that run: what clients who leave, or say too much, do to them.

use casemate_callers::Role;
use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    client::until,
    e2b::{inside, key, made, raw, with},
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

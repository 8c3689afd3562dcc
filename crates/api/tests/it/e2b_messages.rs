//! E2B's clients, in raw HTTP: signed addresses, and whatever is no message.

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use serde_json::json;

use crate::{
    e2b::{end_of, framed, inside, made, raw, served, text, with},
    remote::Headers,
};

fn signature(path: &str, direction: &str, token: &str, expires: Option<i64>) -> String {
    let mut signed = format!("{path}:{direction}::{token}");
    if let Some(expires) = expires {
        signed.push_str(&format!(":{expires}"));
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, signed.as_bytes());
    format!("v1_{}", BASE64_STANDARD_NO_PAD.encode(digest))
        .replace('+', "%2B")
        .replace('/', "%2F")
}

/// A signed address is for one file, in one direction, until it expires; it does not name its sandbox.
#[tokio::test]
async fn a_signed_address_is_good_for_what_was_signed() {
    let (remote, by) = served().await;
    let sandbox = made(&remote, &by).await;
    let token = text(&sandbox, "envdAccessToken");
    let now_s = i64::try_from(remote.now_ms() / 1_000).unwrap();
    let octets = vec![("content-type", "application/octet-stream".to_owned())];
    let address = |path: &str, signature: &str, expires: Option<i64>| {
        let expires = expires.map_or_else(String::new, |expires| {
            format!("&signature_expiration={expires}")
        });
        format!("/files?path={path}&signature={signature}{expires}")
    };
    let write = signature("a.txt", "write", &token, Some(now_s + 10));
    let written = raw(
        &remote,
        "POST",
        &address("a.txt", &write, Some(now_s + 10)),
        &octets,
        b"hello",
    )
    .await;
    assert_eq!(written.status, 200, "{}", written.json());
    assert_eq!(written.json()[0]["path"], "/home/user/a.txt");
    let read = signature("a.txt", "read", &token, Some(now_s + 10));
    let found = raw(
        &remote,
        "GET",
        &address("a.txt", &read, Some(now_s + 10)),
        &Headers::new(),
        b"",
    )
    .await;
    assert_eq!((found.status, found.body.as_slice()), (200, &b"hello"[..]));
    let before = remote.happened();
    for (method, path, signature, expires) in [
        ("GET", "b.txt", &read, Some(now_s + 10)),
        ("GET", "a.txt", &read, Some(now_s + 11)),
        ("GET", "a.txt", &read, None),
        ("POST", "a.txt", &read, Some(now_s + 10)),
        ("GET", "a.txt", &write, Some(now_s + 10)),
        ("GET", "a.txt", &"v1_x".to_owned(), None),
    ] {
        let answer = raw(
            &remote,
            method,
            &address(path, signature, expires),
            &octets,
            b"x",
        )
        .await;
        assert_eq!(answer.status, 401, "{method} {path} {expires:?}");
    }
    let late = signature("a.txt", "read", &token, Some(now_s - 1));
    let late = raw(
        &remote,
        "GET",
        &address("a.txt", &late, Some(now_s - 1)),
        &Headers::new(),
        b"",
    )
    .await;
    assert_eq!(
        (late.status, text(&late.json(), "message").as_str()),
        (401, "signature is already expired")
    );
    // It opens no other port, on which a program of the sandbox listens.
    let mut elsewhere = inside(&sandbox, 3000);
    elsewhere.retain(|(name, _)| name.starts_with("e2b-sandbox"));
    let at_port = address("a.txt", &read, Some(now_s + 10));
    let at_port = raw(&remote, "GET", &at_port, &elsewhere, b"").await;
    assert_eq!(at_port.status, 401);
    assert_eq!(remote.happened(), before);
}

/// Whatever is no message is answered as Connect has it, and starts nothing.
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "most of them are tables")]
async fn what_is_no_message_starts_nothing() {
    let (remote, by) = served().await;
    let sandbox = made(&remote, &by).await;
    let headers = inside(&sandbox, 49_983);
    let before = remote.happened();
    let unary = "application/json";
    let stream = "application/connect+json";
    let large = vec![b' '; (8 << 20) + 1];
    let start = serde_json::to_vec(&json!({"process": {"cmd": "true"}})).unwrap();
    for (path, kind, more, body, code) in [
        (
            "/process.Process/List",
            unary,
            None,
            b"{".to_vec(),
            "invalid_argument",
        ),
        (
            "/process.Process/List",
            "application/proto",
            None,
            b"{}".to_vec(),
            "invalid_argument",
        ),
        (
            "/process.Process/List",
            unary,
            Some(("connect-protocol-version", "2")),
            b"{}".to_vec(),
            "invalid_argument",
        ),
        (
            "/process.Process/List",
            unary,
            Some(("content-encoding", "gzip")),
            b"{}".to_vec(),
            "unimplemented",
        ),
        (
            "/process.Process/List",
            unary,
            None,
            large,
            "resource_exhausted",
        ),
        (
            "/process.Process/Nothing",
            unary,
            None,
            b"{}".to_vec(),
            "unimplemented",
        ),
        ("/nothing.Service/List", unary, None, b"{}".to_vec(), "501"),
        (
            "/process.Process/SendSignal",
            unary,
            None,
            br#"{"process":{"pid":1},"signal":"SIGNAL_SIGKILL"}"#.to_vec(),
            "not_found",
        ),
        (
            "/process.Process/SendSignal",
            unary,
            None,
            br#"{"process":{"pid":1},"signal":"X"}"#.to_vec(),
            "invalid_argument",
        ),
        (
            "/process.Process/SendInput",
            unary,
            None,
            br#"{"process":{"pid":1},"input":{"stdin":"!"}}"#.to_vec(),
            "invalid_argument",
        ),
        (
            "/process.Process/CloseStdin",
            unary,
            None,
            b"{}".to_vec(),
            "invalid_argument",
        ),
        (
            "/filesystem.Filesystem/GetWatcherEvents",
            unary,
            None,
            br#"{"watcherId":"x"}"#.to_vec(),
            "not_found",
        ),
        (
            "/process.Process/Start",
            stream,
            None,
            framed(0, &start)[..6].to_vec(),
            "invalid_argument",
        ),
        (
            "/process.Process/Start",
            stream,
            None,
            framed(1, &start),
            "unimplemented",
        ),
        (
            "/process.Process/Start",
            stream,
            None,
            framed(2, &start),
            "invalid_argument",
        ),
        (
            "/process.Process/Start",
            stream,
            None,
            [framed(0, &start), framed(0, &start)].concat(),
            "invalid_argument",
        ),
        (
            "/process.Process/Start",
            stream,
            None,
            [&[0, 255, 255, 255, 255][..], b"x"].concat(),
            "resource_exhausted",
        ),
        (
            "/process.Process/Start",
            stream,
            None,
            b"".to_vec(),
            "invalid_argument",
        ),
        (
            "/process.Process/Start",
            stream,
            None,
            framed(0, b"{}"),
            "invalid_argument",
        ),
        (
            "/process.Process/Start",
            stream,
            None,
            framed(0, br#"{"process":{"cmd":"A=b"}}"#),
            "invalid_argument",
        ),
        (
            "/process.Process/Start",
            stream,
            None,
            framed(0, br#"{"process":{"cmd":""}}"#),
            "invalid_argument",
        ),
        (
            "/process.Process/Start",
            stream,
            Some(("connect-timeout-ms", "soon")),
            framed(0, &start),
            "invalid_argument",
        ),
        (
            "/process.Process/Start",
            stream,
            None,
            framed(
                0,
                br#"{"process":{"cmd":"true"},"pty":{"size":{"cols":70000}}}"#,
            ),
            "invalid_argument",
        ),
        (
            "/process.Process/Connect",
            stream,
            None,
            framed(0, br#"{"process":{"pid":7}}"#),
            "not_found",
        ),
        (
            "/process.Process/StreamInput",
            stream,
            None,
            framed(0, br#"{"data":{"input":{"stdin":"YQ=="}}}"#),
            "invalid_argument",
        ),
        (
            "/process.Process/StreamInput",
            stream,
            None,
            framed(0, b"{}")[..3].to_vec(),
            "invalid_argument",
        ),
    ] {
        let more: Vec<_> = more.into_iter().chain([("content-type", kind)]).collect();
        let answer = raw(&remote, "POST", path, &with(&headers, &more), &body).await;
        let found = match kind == stream {
            true => end_of(&answer)["code"].clone(),
            false => answer.json()["code"].clone(),
        };
        let found = found
            .as_str()
            .map_or_else(|| found.to_string(), str::to_owned);
        assert_eq!(found, code, "{path}: {}", answer.status);
        assert!(
            answer.status < 500 || answer.status == 501,
            "{path}: {}",
            answer.status
        );
    }
    for (path, more, body, status) in [
        (
            "/files",
            &[("content-type", "text/plain")][..],
            &b"x"[..],
            415,
        ),
        (
            "/files",
            &[("content-type", "application/octet-stream")],
            b"x",
            400,
        ),
        (
            "/files?path=a",
            &[("content-type", "multipart/form-data; boundary=b")],
            b"--b\r\nbroken",
            400,
        ),
        (
            "/files?path=a",
            &[("content-type", "multipart/form-data; boundary=b")],
            b"--b--\r\n",
            400,
        ),
        (
            "/files?path=a",
            &[
                ("content-type", "application/octet-stream"),
                ("content-encoding", "br"),
            ],
            b"x",
            400,
        ),
        (
            "/files?path=a%00b",
            &[("content-type", "application/octet-stream")],
            b"x",
            400,
        ),
        (
            "/files?path=.",
            &[("content-type", "application/octet-stream")],
            b"x",
            400,
        ),
    ] {
        let answer = raw(&remote, "POST", path, &with(&headers, more), body).await;
        assert_eq!(answer.status, status, "{path} {more:?}: {}", answer.json());
    }
    let headers = inside(&sandbox, 49_999);
    for (path, body, status) in [
        ("/execute", &b"{"[..], 400),
        ("/execute", br#"{"code":"1","language":"r"}"#, 400),
        (
            "/execute",
            br#"{"code":"1","language":"python","context_id":"python"}"#,
            400,
        ),
        ("/execute", br#"{"code":"1","context_id":"nope"}"#, 404),
        ("/contexts", br#"{"language":"java"}"#, 400),
        ("/contexts/nope/restart", b"", 404),
    ] {
        let answer = raw(&remote, "POST", path, &headers, body).await;
        assert_eq!(answer.status, status, "{path}");
    }
    for (name, value) in [
        ("e2b-sandbox-id", "../x"),
        ("e2b-sandbox-port", "0x1"),
        ("host", "80-a.test"),
    ] {
        let mut torn: Headers = headers
            .iter()
            .filter(|(other, _)| *other != name)
            .cloned()
            .collect();
        torn.push((name, value.to_owned()));
        assert_eq!(
            raw(&remote, "GET", "/contexts", &torn, b"").await.status,
            400,
            "{name}"
        );
    }
    assert_eq!(remote.happened(), before);
}

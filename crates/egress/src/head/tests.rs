use proptest::prelude::*;

use super::*;

fn head(text: &str) -> Result<Head, Code> {
    let end = Scan::default().end(text.as_bytes())?.ok_or(Code::Timeout)?;
    Head::parse(&text.as_bytes()[..end])
}

fn get(fields: &str) -> Result<Head, Code> {
    head(&format!(
        "GET / HTTP/1.1\r\nHost: good.test\r\n{fields}\r\n"
    ))
}

fn post(fields: &str) -> Result<Head, Code> {
    head(&format!(
        "POST / HTTP/1.1\r\nHost: good.test\r\n{fields}\r\n"
    ))
}

/// Two readers must not find two ends. (H01 to H03)
#[test]
fn a_length_that_could_be_two_is_refused() {
    for fields in [
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: Chunked\r\n",
        "Transfer-Encoding:\r\n",
        "Content-Length: 1\r\nContent-Length: 1\r\n",
        "Content-Length: 1\r\nContent-Length: 2\r\n",
        "Content-Length: 1, 1\r\n",
        "Content-Length: +1\r\n",
        "Content-Length: 0x1\r\n",
        "Content-Length: 01\r\n",
        "Content-Length: -1\r\n",
        "Content-Length:\r\n",
        "Content-Length: 1 1\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Transfer_Encoding: chunked\r\n",
        "Content.Length: 3\r\n",
        "Transfer-Encoding : chunked\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\tchunked\r\n",
        "Content-Length: 1\n",
        "X: a\rb\r\n",
        "X: a\0b\r\n",
        "X: \u{e9}\r\n",
        "X\r\n",
        ": y\r\n",
        "X y: z\r\n",
    ] {
        assert_eq!(post(fields).unwrap_err(), Code::Framing, "{fields:?}");
    }
    let old = "POST / HTTP/1.0\r\nHost: good.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(head(old).unwrap_err(), Code::Framing);
    assert_eq!(
        post("Content-Length: 5\r\n").unwrap().length,
        Length::Bytes(5)
    );
    assert_eq!(
        post("Transfer-Encoding: chunked\r\n").unwrap().length,
        Length::Chunked
    );
}

/// Lines, `Host`, and a target that says something else. (H04, H06, H07)
#[test]
fn odd_request_lines_and_hosts_are_refused() {
    for text in [
        "\r\nGET / HTTP/1.1\r\nHost: good.test\r\n\r\n",
        "GET / HTTP/1.1\nHost: good.test\n\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: good.test\r\nHost: good.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: good.test\r\nHost: evil.test\r\n\r\n",
        "GET\t/\tHTTP/1.1\r\nHost: good.test\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: good.test\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: good.test\r\n\r\n",
        "GET / http/1.1\r\nHost: good.test\r\n\r\n",
        "GET /\r\nHost: good.test\r\n\r\n",
        "GET http://good.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n",
        "GET http://good.test:81/ HTTP/1.1\r\nHost: good.test\r\n\r\n",
        "CONNECT good.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n",
        "CONNECT good.test:443 HTTP/1.1\r\nHost: good.test:444\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 3\r\n\r\n",
        "GET / HTTP/1.1\r\rHost: good.test\r\n\r\n",
    ] {
        assert_eq!(head(text).unwrap_err(), Code::Framing, "{text:?}");
    }
    for host in [
        "",
        "user@good.test",
        "good.test:443:1",
        "good.test/",
        "good.test, evil.test",
        "good test",
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(head(&text).unwrap_err(), Code::HostSyntax, "{host}");
    }
    for target in [
        "good.test",
        "good.test:0",
        "user@good.test:443",
        "http://good.test:443",
        "/",
    ] {
        let text = format!("CONNECT {target} HTTP/1.1\r\n\r\n");
        assert_eq!(head(&text).unwrap_err(), Code::HostSyntax, "{target}");
    }
    // What clients of older Pythons send.
    assert!(head("CONNECT good.test:443 HTTP/1.0\r\n\r\n").is_ok());
    // An answer in chunks is none to them.
    for old in ["GET http://good.test/", "GET /", "POST /"] {
        let old = format!("{old} HTTP/1.0\r\nHost: good.test\r\n\r\n");
        assert_eq!(head(&old).unwrap_err(), Code::Framing, "{old}");
    }
}

/// Methods that are not forwarded, and fields that hide one. (H17, H18)
#[test]
fn methods_are_a_closed_list() {
    for method in [
        "TRACE", "TRACK", "PROPFIND", "get", "GETX", "", "PRI", "DEBUG",
    ] {
        let text = format!("{method} / HTTP/1.1\r\nHost: good.test\r\n\r\n");
        assert_eq!(head(&text).unwrap_err(), Code::MethodRefused, "{method}");
    }
    for field in [
        "X-HTTP-Method-Override",
        "X-Method-Override",
        "X_HTTP_Method",
        "x-http-method",
    ] {
        assert_eq!(
            post(&format!("{field}: DELETE\r\n")).unwrap_err(),
            Code::MethodRefused
        );
    }
}

/// Nothing may be taken out, expected or upgraded to that we do not know. (H11 to H14)
#[test]
fn connection_expect_and_upgrade_are_closed_lists() {
    for nominated in [
        "authorization",
        "Host",
        "Content-Length",
        "cookie",
        "close, authorization",
        "x-api-key",
    ] {
        assert_eq!(
            post(&format!("Connection: {nominated}\r\n")).unwrap_err(),
            Code::Framing,
            "{nominated}"
        );
    }
    let dropped = get("Connection: x-policy, keep-alive\r\nX-Policy: 1\r\nX-Kept: 2\r\n").unwrap();
    assert!(!dropped.fields.contains_key("x-policy") && dropped.fields.contains_key("x-kept"));
    assert_eq!(
        post("Expect: 100-continue, x\r\nContent-Length: 1\r\n").unwrap_err(),
        Code::Expectation
    );
    assert_eq!(post("Expect: x\r\n").unwrap_err(), Code::Expectation);
    assert!(
        post("Expect: 100-continue\r\nContent-Length: 1\r\n")
            .unwrap()
            .continues
    );
    let key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    let good = format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{key}{version}");
    assert!(get(&good).unwrap().websocket);
    for bad in [
        "Connection: Upgrade\r\nUpgrade: h2c\r\n".to_owned(),
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n".to_owned(),
        "HTTP2-Settings: AAMAAABkAAQAAP__\r\n".to_owned(),
        "Connection: Upgrade\r\n".to_owned(),
        format!("Upgrade: websocket\r\n{key}{version}"),
        format!("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n{key}{version}"),
        format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{key}{key}{version}"),
        format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{version}"),
        format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{key}"),
    ] {
        assert_eq!(get(&bad).unwrap_err(), Code::UpgradeRefused, "{bad:?}");
    }
    assert_eq!(
        post(&format!("{good}Content-Length: 3\r\n")).unwrap_err(),
        Code::UpgradeRefused
    );
}

/// One spelling for each path. (H20, H22)
#[test]
fn ambiguous_paths_are_refused() {
    for path in [
        "/a/../b",
        "/..",
        "/.",
        "/a/./b",
        "/a/%2e%2e/b",
        "/a/%2E%2E/b",
        "/a%2f..%2fb",
        "/a%2F",
        "/a%2F..%2Fb",
        "//b",
        "/a//b",
        "/a\\..\\b",
        "/a%5Cb",
        "/a;x=1",
        "/a%3Bx",
        "/%252e",
        "/%2541",
        "/%c3%a9",
        "/%C0%AE",
        "/%C0%80",
        "/%E0%80%AF",
        "/%FF",
        "/%00",
        "/%0D%0A",
        "/%",
        "/%4",
        "/%zz",
        "/%41",
        "/a#frag",
        "/a?b#frag",
        "/a?b%",
        "/a?b%0",
        "/a|b",
        "/a\"b",
        "/a?\"",
        "/a?\\",
        "http:/x",
        "*",
        "ftp://good.test/",
        "HTTP://good.test/",
        "http://good.test?x",
    ] {
        let text = format!("GET {path} HTTP/1.1\r\nHost: good.test\r\n\r\n");
        let code = head(&text).unwrap_err();
        assert!(
            matches!(code, Code::PathAmbiguous | Code::HostSyntax),
            "{path}: {code}"
        );
    }
    for path in [
        "/",
        "/a/b/",
        "/a?b=/../c",
        "/%C3%A9",
        "/a%20b",
        "/100%25",
        "/x:y@z,(1)",
        "/a?b[]=%2f&c=%0d%0a",
        "/.a/..b",
        "/@scope%2Fname",
    ] {
        let text = format!("GET {path} HTTP/1.1\r\nHost: good.test\r\n\r\n");
        let Aim::Origin { path: parsed, .. } = head(&text).unwrap().aim else {
            panic!()
        };
        assert_eq!(parsed.joined(), path);
    }
}

/// Large heads end early. (H21)
#[test]
fn large_heads_are_refused_before_they_end() {
    let line = format!("GET /{}", "a".repeat(crate::limits::MAX_REQUEST_LINE_BYTES));
    assert_eq!(head(&line).unwrap_err(), Code::HeadTooLarge);
    let field = format!(
        "GET / HTTP/1.1\r\nX: {}",
        "a".repeat(crate::limits::MAX_HEAD_BYTES)
    );
    assert_eq!(head(&field).unwrap_err(), Code::HeadTooLarge);
    assert_eq!(
        get(&"X: y\r\n".repeat(101)).unwrap_err(),
        Code::HeadTooLarge
    );
}

proptest! {
    /// However the bytes come, the head ends in the same place, or is refused for the same reason.
    #[test]
    fn any_chunking_gives_the_same_end(
        text in "(GET|POST) /[a-z/]{0,6} HTTP/1.1\r\n(Host: good.test\r\n|X: [a-z\t\r\n]{0,3}\r\n|\r\n){0,4}[a-z\r\n]{0,6}",
        cuts in prop::collection::vec(0usize..80, 0..10),
    ) {
        let whole = Scan::default().end(text.as_bytes());
        let mut scan = Scan::default();
        let mut ends: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
        ends.sort_unstable();
        ends.push(text.len());
        let pieces = ends.into_iter().find_map(|end| match scan.end(&text.as_bytes()[..end]) {
            Ok(None) => None,
            found => Some(found),
        });
        prop_assert_eq!(pieces.unwrap_or(Ok(None)), whole);
    }

    /// A head that is accepted means the same to another parser.
    #[test]
    fn accepted_heads_mean_the_same_to_httparse(
        fields in prop::collection::vec("[A-Za-z_.-]{1,8}:[ a-z,\t]{0,8}|Content-Length: [0-9+]{1,3}|Transfer-Encoding: [a-z]{7}", 0..5),
        target in "/[a-z./%?;]{0,8}",
    ) {
        let text = format!("POST {target} HTTP/1.1\r\nHost: good.test\r\n{}\r\n", fields.iter().map(|field| format!("{field}\r\n")).collect::<String>());
        if let Ok(head) = head(&text) {
            let mut theirs = [httparse::EMPTY_HEADER; 16];
            let mut request = httparse::Request::new(&mut theirs);
            prop_assert!(request.parse(text.as_bytes()).unwrap().is_complete());
            prop_assert_eq!(request.method, Some("POST"));
            prop_assert_eq!(request.path, Some(target.as_str()));
            for (name, value) in &head.fields {
                prop_assert!(request.headers.iter().any(|field| field.name.eq_ignore_ascii_case(name.as_str()) && field.value.trim_ascii() == value.as_bytes()));
            }
        }
    }

    /// What the canonical path means does not change when somebody cleans it up.
    #[test]
    fn accepted_paths_are_fixed_points_of_the_url_standard(path in "/[a-zA-Z0-9./%;\\\\:@+é]{0,16}|/(%[0-9A-Fa-f]{2}|[a-z./]){0,8}") {
        if let Ok(parsed) = Path::parse(&path) {
            let url = url::Url::parse(&format!("http://good.test{path}")).unwrap();
            prop_assert_eq!(url.path(), parsed.path);
        }
    }
}

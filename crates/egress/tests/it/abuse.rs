//! HTTP/2, byte by byte: what no library sends.

use casemate_egress::{
    Code, Stage,
    limits::{MAX_CANCELLED, MAX_UNHEARD},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    client::{Duplex, config, tls, tunnel},
    upstream::{Manner, Roots, Upstream},
    world::{Rule, World},
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// No frame: the end of the connection.
const OVER: u8 = 255;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields, each as a literal that no table remembers.
fn fields(list: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in list {
        bytes.push(0);
        for text in [name, value] {
            match u8::try_from(text.len()) {
                Ok(short @ 0..127) => bytes.push(short),
                _ => {
                    bytes.push(127);
                    let mut rest = text.len() - 127;
                    while rest >= 128 {
                        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                        rest /= 128;
                    }
                    bytes.push(u8::try_from(rest).unwrap());
                }
            }
            bytes.extend(text.bytes());
        }
    }
    bytes
}

struct Raw {
    world: World,
    upstream: Upstream,
    stream: Box<dyn Duplex>,
    authority: String,
}

async fn start() -> Raw {
    let roots = Roots::new();
    let upstream = Upstream::tls(
        roots.server(&["good.test"], &[b"h2", b"http/1.1"], |_| {}),
        Manner::Echo,
    )
    .await;
    let world = World::new(&roots.pem, Vec::new());
    world.allow("good.test", Rule::local(upstream.port));
    let authority = format!("good.test:{}", upstream.port);
    let stream = tunnel(world.connect(), &authority).await;
    let mut stream = tls(stream, "good.test", config(&world.proxy, &[b"h2"]))
        .await
        .unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    Raw {
        world,
        upstream,
        stream: Box::new(stream),
        authority,
    }
}

impl Raw {
    async fn send(&mut self, bytes: &[u8]) {
        // It may be closed already.
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// Whether the connection has ended, or is about to.
    async fn is_over(&mut self) -> bool {
        let heard = self.hear().await;
        heard
            .iter()
            .any(|(kind, _)| *kind == GOAWAY || *kind == OVER)
    }

    /// The kinds of all frames until our ping comes back or the connection ends.
    async fn hear(&mut self) -> Vec<(u8, u32)> {
        self.send(&frame(PING, 0, 0, b"12345678")).await;
        let mut heard = Vec::new();
        loop {
            let mut head = [0; 9];
            if self.stream.read_exact(&mut head).await.is_err() {
                heard.push((OVER, 0));
                return heard;
            }
            let length =
                usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut payload = vec![0; length];
            if self.stream.read_exact(&mut payload).await.is_err() {
                return heard;
            }
            match head[3] {
                PING if head[4] & ACK == ACK => return heard,
                SETTINGS if head[4] & ACK == 0 => self.send(&frame(SETTINGS, ACK, 0, &[])).await,
                kind => heard.push((kind, u32::from_be_bytes(head[5..9].try_into().unwrap()))),
            }
        }
    }
}

/// Malformed streams never become requests. (X03, X04)
#[tokio::test]
async fn malformed_streams_are_never_requests() {
    let good: &[(&str, &str)] = &[(":method", "GET"), (":scheme", "https"), (":path", "/")];
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("upper case", &[("X-Upper", "1")]),
        ("connection", &[("connection", "close")]),
        ("transfer-encoding", &[("transfer-encoding", "chunked")]),
        ("upgrade", &[("upgrade", "h2c")]),
        ("a length of nothing", &[("content-length", "5")]),
        (
            "two lengths",
            &[("content-length", "0"), ("content-length", "0")],
        ),
        ("pseudo behind regular", &[("x", "y"), (":path", "/")]),
        ("two authorities", &[(":authority", "evil.test")]),
        ("a response", &[(":status", "200")]),
        ("an unknown pseudo", &[(":other", "x")]),
        ("a value with CR LF", &[("x", "y\r\nz: 1")]),
        ("a value with NUL", &[("x", "y\0")]),
        ("a name with a space", &[("x y", "z")]),
        ("a name with a colon", &[("x:y", "z")]),
        ("te", &[("te", "gzip")]),
        ("another host", &[("host", "evil.test")]),
    ];
    for (what, extra) in cases {
        let mut raw = start().await;
        let authority = raw.authority.clone();
        let all = [&[(":authority", authority.as_str())], good, *extra].concat();
        raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&all)))
            .await;
        raw.hear().await;
        refused(raw, what).await;
    }
    for (what, pseudo) in [
        (
            "a whole URL as a path",
            [
                (":method", "GET"),
                (":scheme", "https"),
                (":path", "https://evil.test/"),
            ],
        ),
        (
            "a path with a space",
            [(":method", "GET"), (":scheme", "https"), (":path", "/a b")],
        ),
        (
            "a path with CR LF",
            [
                (":method", "GET"),
                (":scheme", "https"),
                (":path", "/a\r\nX: y"),
            ],
        ),
        (
            "no path",
            [(":method", "GET"), (":scheme", "https"), (":path", "")],
        ),
        (
            "another scheme",
            [(":method", "GET"), (":scheme", "http"), (":path", "/")],
        ),
        (
            "a scheme that is more",
            [
                (":method", "GET"),
                (":scheme", "https://evil.test/?"),
                (":path", "/"),
            ],
        ),
        (
            "a method with a space",
            [(":method", "GET /x"), (":scheme", "https"), (":path", "/")],
        ),
        (
            "a tunnel",
            [(":method", "CONNECT"), (":scheme", "https"), (":path", "/")],
        ),
    ] {
        let mut raw = start().await;
        let authority = raw.authority.clone();
        let all = [&[(":authority", authority.as_str())], &pseudo[..]].concat();
        raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&all)))
            .await;
        raw.hear().await;
        refused(raw, what).await;
    }
    // X06: a tunnel with a protocol of its own (RFC 8441).
    let mut raw = start().await;
    let authority = raw.authority.clone();
    let all = [
        (":authority", authority.as_str()),
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", "/ws"),
    ];
    raw.send(&frame(HEADERS, END_HEADERS, 1, &fields(&all)))
        .await;
    raw.hear().await;
    refused(raw, "an extended CONNECT").await;
}

/// Nothing arrived, even after what may be on its way has had its time, and there is one record: also of what the library refused by
/// itself, when its connection has ended.
async fn refused(raw: Raw, what: &str) {
    let Raw {
        world,
        upstream,
        stream,
        ..
    } = raw;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    drop(stream);
    let [record] = world.records(1).await.try_into().unwrap();
    assert!(
        matches!(record.stage, Stage::Denied(_)),
        "{what}: {record:?}"
    );
    assert_eq!(
        record.target.unwrap().host.to_string(),
        "good.test",
        "{what}"
    );
    assert_eq!(upstream.connections(), 0, "{what}");
}

/// A well-formed request by the same means is answered: the others fail for their own reason.
#[tokio::test]
async fn a_well_formed_stream_is_a_request() {
    let mut raw = start().await;
    let authority = raw.authority.clone();
    let all = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/"),
        (":authority", authority.as_str()),
    ];
    raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&all)))
        .await;
    while !raw.hear().await.contains(&(DATA, 1)) {}
    assert_eq!(raw.upstream.requests(), 1);
}

/// Requests that are given up at once end the connection before they are many. (X07)
#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let mut raw = start().await;
    raw.world.rules.change("good.test", |rule| {
        rule.delay = Some(std::sync::Arc::default())
    });
    let authority = raw.authority.clone();
    let all = fields(&[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/"),
        (":authority", authority.as_str()),
    ]);
    let mut stream = 1;
    // Each is given up when it is being judged: the library counts only those that are given up before.
    for count in 0.. {
        assert!(count <= MAX_CANCELLED + 1, "it goes on");
        raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &all))
            .await;
        while raw.world.rules.judged.lock().unwrap().len() <= count && !raw.is_over().await {}
        raw.send(&frame(RESET, 0, stream, &8_u32.to_be_bytes()))
            .await;
        stream += 2;
        if raw.is_over().await {
            break;
        }
    }
    assert_eq!(raw.upstream.connections(), 0);
    let records = raw.world.records.all.lock().unwrap().clone();
    let too_many = Stage::Denied(Code::TooMany);
    assert_eq!(
        records
            .iter()
            .filter(|record| record.stage == too_many)
            .count(),
        1
    );
    // The last one may have come too late to be heard of.
    let unheard = Stage::Denied(Code::Framing);
    let unheard = records.iter().filter(|record| record.stage == unheard);
    assert!(unheard.count() <= 1);
    assert!(records.iter().all(|record| matches!(
        record.stage,
        Stage::Denied(Code::ClientGone | Code::TooMany | Code::Framing)
    )));
}

/// And requests that are given up before they are looked at.
#[tokio::test]
async fn a_burst_of_resets_ends_the_connection() {
    let mut raw = start().await;
    let authority = raw.authority.clone();
    let all = fields(&[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/"),
        (":authority", authority.as_str()),
    ]);
    let mut burst = Vec::new();
    for stream in (1..2_000).step_by(2) {
        burst.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &all));
        burst.extend(frame(RESET, 0, stream, &8_u32.to_be_bytes()));
    }
    raw.send(&burst).await;
    while !raw.is_over().await {}
    let Raw { world, stream, .. } = raw;
    let judged = || world.rules.judged.lock().unwrap().len();
    assert!(judged() < 500);
    // Each that was read has a record, and they are not without end.
    drop(stream);
    let unheard = || {
        let records = world.records.all.lock().unwrap();
        let unheard = Stage::Denied(Code::Framing);
        records.iter().filter(|one| one.stage == unheard).count()
    };
    while unheard() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(unheard() <= MAX_UNHEARD);
}

/// Header lists and continuations without end. (X08)
#[tokio::test]
async fn endless_header_lists_are_never_requests() {
    let mut raw = start().await;
    let authority = raw.authority.clone();
    let start_of = fields(&[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/"),
        (":authority", authority.as_str()),
    ]);
    raw.send(&frame(HEADERS, END_STREAM, 1, &start_of)).await;
    let more = fields(&[("x", "y".repeat(8_000).as_str())]);
    for _ in 0..100 {
        raw.send(&frame(CONTINUATION, 0, 1, &more)).await;
    }
    raw.send(&frame(CONTINUATION, END_HEADERS, 1, &[])).await;
    raw.hear().await;
    refused(raw, "a list without end").await;
}

//! Whatever is sent, a destination that reads with another library sees the requests that were judged, and no more.

use std::sync::atomic::Ordering;

use casemate_egress::Stage;
use proptest::{prelude::*, sample::select};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    upstream::{Manner, Roots, Upstream},
    world::{Rule, World},
};

/// How requests begin, go on and end: good and bad. `{good}` and `{evil}` are replaced.
const LINES: &[&str] = &[
    "GET http://{good}/ HTTP/1.1\r\nHost: {good}\r\n",
    "POST http://{good}/ HTTP/1.1\r\nHost: {good}\r\n",
    "POST http://{good}/a?b HTTP/1.1\r\nHost: {good}\r\n",
    "GET http://{evil}/ HTTP/1.1\r\nHost: {evil}\r\n",
    "GET http://{good}/ HTTP/1.1\r\nHost: {evil}\r\n",
    "GET / HTTP/1.1\r\nHost: {evil}\r\n",
    "CONNECT {evil} HTTP/1.1\r\n",
    "",
];
const FIELDS: &[&str] = &[
    "Content-Length: 0\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 15\r\n",
    "Content-Length: 43\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding:\u{b}chunked\r\n",
    "Transfer_Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Connection: content-length\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: h2c\r\nConnection: upgrade\r\n",
    "X: y\r\n",
    "X: y\r\n",
    "X: y\n",
    "X: y\rZ: a\r\n",
    " folded\r\n",
];
const ENDS: &[&str] = &["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n\r\n", ""];
const BODIES: &[&str] = &[
    "",
    "",
    "hello",
    "5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    "5;x\r\nhello\r\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: {evil}\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: {evil}\r\n\r\n",
];

/// A request, or nearly one.
fn message() -> impl Strategy<Value = String> {
    let fields = prop::collection::vec(select(FIELDS), 0..3);
    (select(LINES), fields, select(ENDS), select(BODIES))
        .prop_map(|(line, fields, end, body)| format!("{line}{}{end}{body}", fields.concat()))
}

struct Stand {
    runtime: tokio::runtime::Runtime,
    world: World,
    good: Upstream,
    evil: Upstream,
}

impl Stand {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (world, good, evil) = runtime.block_on(async {
            let (good, evil) = (
                Upstream::plain(Manner::Echo).await,
                Upstream::plain(Manner::Echo).await,
            );
            let world = World::new(&Roots::new().pem, Vec::new());
            world.allow(
                "good.test",
                Rule {
                    plaintext: true,
                    ..Rule::local(good.port)
                },
            );
            (world, good, evil)
        });
        Self {
            runtime,
            world,
            good,
            evil,
        }
    }

    /// Sends `bytes` in pieces, hears everything, and counts: requests that were sent, and requests that arrived.
    fn attack(&self, bytes: &[u8], piece: usize) -> (usize, usize) {
        let before = (self.sent(), self.good.requests());
        self.runtime.block_on(async {
            let (client, served) = self.world.connect_held();
            let (mut read, mut write) = tokio::io::split(client);
            let heard = tokio::spawn(async move {
                let mut all = Vec::new();
                let _ = read.read_to_end(&mut all).await;
            });
            for piece in bytes.chunks(piece) {
                if write.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            // A client that is done, and waits for what is still to come, for so long.
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            let _ = write.shutdown().await;
            served.await.unwrap();
            heard.abort();
            // When the destination has seen the end of every connection, nothing more can arrive.
            for turn in 0.. {
                assert!(turn < 5_000, "a connection to the destination stays open");
                if self.good.open.load(Ordering::SeqCst) == 0 {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            (self.sent() - before.0, self.good.requests() - before.1)
        })
    }

    fn sent(&self) -> usize {
        let all = self.world.records.all.lock().unwrap();
        all.iter()
            .filter(|record| record.stage == Stage::Sent)
            .count()
    }
}

/// R105: no bytes make a destination see a request that was not judged, or reach another destination.
#[test]
fn no_request_arrives_that_was_not_judged() {
    let stand = Stand::new();
    let (good, evil) = (
        format!("good.test:{}", stand.good.port),
        format!("evil.test:{}", stand.evil.port),
    );
    let config = ProptestConfig {
        cases: 1_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let messages = prop::collection::vec(message(), 1..4);
    proptest!(config, |(messages in messages, piece in 1..200_usize)| {
        let bytes = messages.concat().replace("{good}", &good).replace("{evil}", &evil);
        let (sent, arrived) = stand.attack(bytes.as_bytes(), piece);
        // A request whose client went away may be cut off on its way; more than were judged never arrive.
        prop_assert!(arrived <= sent, "{} arrived, {} were judged: {:?}", arrived, sent, bytes);
        prop_assert_eq!(stand.evil.connections(), 0, "{:?}", bytes);
    });
    // There are good ones among them, often enough for this to mean something.
    assert!(stand.good.requests() > 50, "{}", stand.good.requests());
}

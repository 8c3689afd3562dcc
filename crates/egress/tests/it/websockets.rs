//! WebSockets: only what both sides agreed to, message by message.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

/// Agrees, and says everything back.
pub(crate) fn accept(
    request: &mut Request<Incoming>,
) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let key = request
        .headers()
        .get(header::SEC_WEBSOCKET_KEY)
        .unwrap()
        .clone();
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let io = TokioIo::new(upgraded.await.unwrap());
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if !(message.is_text() || message.is_binary()) || socket.send(message).await.is_err() {
                break;
            }
        }
    });
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let fields = response.headers_mut();
    fields.insert(header::UPGRADE, "websocket".parse().unwrap());
    fields.insert(header::CONNECTION, "upgrade".parse().unwrap());
    fields.insert(
        header::SEC_WEBSOCKET_ACCEPT,
        derive_accept_key(key.as_bytes()).parse().unwrap(),
    );
    response
}

mod tests {
    use casemate_egress::{Code, Messages, Stage};
    use tokio::io::AsyncWriteExt as _;
    use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

    use super::*;
    use crate::{
        client::{Answer, Duplex, ask, config, read_head, tls, tunnel},
        upstream::{Manner, Roots, Upstream},
        world::{Rule, World},
    };

    const ASK: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";

    async fn start(manner: Manner) -> (World, Upstream) {
        let roots = Roots::new();
        let upstream =
            Upstream::tls(roots.server(&["good.test"], &[b"http/1.1"], |_| {}), manner).await;
        let world = World::new(&roots.pem, Vec::new());
        let messages = Some(Messages {
            text: true,
            binary: false,
            bytes: 100,
        });
        world.allow(
            "good.test",
            Rule {
                messages,
                ..Rule::local(upstream.port)
            },
        );
        (world, upstream)
    }

    async fn stream(world: &World, upstream: &Upstream) -> (impl Duplex + use<>, String) {
        let authority = format!("good.test:{}", upstream.port);
        let stream = tunnel(world.connect(), &authority).await;
        let stream = tls(stream, "good.test", config(&world.proxy, &[]))
            .await
            .unwrap();
        (
            stream,
            format!("GET /ws HTTP/1.1\r\nHost: {authority}\r\n{ASK}\r\n"),
        )
    }

    async fn open(world: &World, upstream: &Upstream) -> WebSocketStream<impl Duplex + use<>> {
        let (mut stream, request) = stream(world, upstream).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await.unwrap();
        assert!(
            head.starts_with("HTTP/1.1 101 ")
                && head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "{head}"
        );
        assert!(!head.contains("deflate"), "{head}");
        WebSocketStream::from_raw_socket(stream, Role::Client, None).await
    }

    #[tokio::test]
    async fn messages_pass_as_their_rule_says() {
        let (world, upstream) = start(Manner::Echo).await;
        let mut socket = open(&world, &upstream).await;
        socket.send(Message::text("hello")).await.unwrap();
        assert_eq!(
            socket.next().await.unwrap().unwrap(),
            Message::text("hello")
        );
        socket.close(None).await.unwrap();
        while socket.next().await.is_some() {}
        let records = world.records(2).await;
        assert_eq!(records[1].stage, Stage::Ended(None));
        let out = records[1].bytes_out - records[0].bytes_out;
        assert_eq!((out, records[1].bytes_in), (5, 5));
    }

    /// Binary and large messages, whole or in pieces, do not pass. (C24)
    #[tokio::test]
    async fn other_messages_end_the_connection() {
        for message in [Message::binary("data"), Message::text("a".repeat(101))] {
            let (world, upstream) = start(Manner::Echo).await;
            let mut socket = open(&world, &upstream).await;
            socket.send(message).await.unwrap();
            let end = socket.next().await.unwrap().unwrap();
            let Message::Close(Some(frame)) = end else {
                panic!("{end:?}")
            };
            assert_eq!(frame.code, CloseCode::Policy);
            assert_eq!(
                world.records(2).await[1].stage,
                Stage::Ended(Some(Code::FrameRefused))
            );
        }
    }

    /// Bytes that are no frames: not masked, or compressed without an agreement.
    #[tokio::test]
    async fn malformed_frames_end_the_connection() {
        for bytes in [
            &[0x81, 1, b'a'][..],
            &[0xc1, 0x81, 0, 0, 0, 0, b'a'],
            &[0x83, 0x80, 0, 0, 0, 0],
        ] {
            let (world, upstream) = start(Manner::Echo).await;
            let mut socket = open(&world, &upstream).await;
            socket.get_mut().write_all(bytes).await.unwrap();
            socket.get_mut().flush().await.unwrap();
            assert_eq!(
                world.records(2).await[1].stage,
                Stage::Ended(Some(Code::FrameRefused)),
                "{bytes:?}"
            );
        }
    }

    /// Whoever goes without a word is named in the record.
    #[tokio::test]
    async fn an_end_without_a_word_is_no_agreement() {
        let (world, upstream) = start(Manner::Echo).await;
        let mut socket = open(&world, &upstream).await;
        socket.get_mut().shutdown().await.unwrap();
        assert_eq!(
            world.records(2).await[1].stage,
            Stage::Ended(Some(Code::ClientGone))
        );
    }

    #[tokio::test]
    async fn a_withdrawn_rule_ends_websockets() {
        let (world, upstream) = start(Manner::Echo).await;
        let mut socket = open(&world, &upstream).await;
        world.withdraw("good.test");
        assert!(socket.next().await.unwrap().unwrap().is_close());
        assert_eq!(
            world.records(2).await[1].stage,
            Stage::Ended(Some(Code::Revoked))
        );
    }

    async fn refused(world: &World, upstream: &Upstream) -> Answer {
        let (mut stream, request) = stream(world, upstream).await;
        ask(&mut stream, request).await
    }

    /// Only a verified 101 makes a WebSocket. (H13, H15)
    #[tokio::test]
    async fn an_agreement_that_is_none_is_no_websocket() {
        let good = "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
        for raw in [
            good.replace("s3pP", "s3pQ"),
            good.replace("Upgrade: websocket", "Upgrade: h2c"),
            good.replace("Connection: upgrade\r\n", ""),
            format!("{good}Sec-WebSocket-Extensions: permessage-deflate\r\n"),
            format!("{good}Sec-WebSocket-Protocol: other\r\n"),
        ] {
            let (world, upstream) = start(Manner::Raw(format!("{raw}\r\n").into())).await;
            assert_eq!(
                refused(&world, &upstream).await.code().as_deref(),
                Some("upstream_protocol"),
                "{raw}"
            );
        }
        let (world, upstream) = start(Manner::Raw(format!("{good}\r\n").into())).await;
        open(&world, &upstream).await;
    }

    #[tokio::test]
    async fn a_rule_without_messages_allows_no_websocket() {
        let (world, upstream) = start(Manner::Echo).await;
        world.rules.change("good.test", |rule| rule.messages = None);
        assert_eq!(
            refused(&world, &upstream).await.code().as_deref(),
            Some("upgrade_refused")
        );
        assert_eq!(
            (world.denied().await, upstream.connections()),
            (Code::UpgradeRefused, 0)
        );
    }
}

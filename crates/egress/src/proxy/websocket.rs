//! WebSockets, message by message.

use std::{sync::Arc, sync::atomic::Ordering};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Response, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        error::{Error, ProtocolError},
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::{Inner, draft::Draft, stream::Io};
use crate::{
    Allowance, Code, Filter, Flow, Messages,
    limits::{BODY_IDLE_TIMEOUT, IDLE_TIMEOUT, MAX_MESSAGE_BYTES},
};

/// Checks that the destination agreed to the WebSocket that was asked for (RFC 6455, 4.1), without extensions.
pub(crate) fn verify(asked: &HeaderMap, answered: &HeaderMap) -> Result<(), Code> {
    let is = |name: header::HeaderName, value: &str| {
        let mut all = answered.get_all(name).iter();
        let first = all.next().and_then(|found| found.to_str().ok());
        first.is_some_and(|found| found.eq_ignore_ascii_case(value)) && all.next().is_none()
    };
    let key = asked
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or(Code::UpstreamProtocol)?;
    let accept = derive_accept_key(key.as_bytes());
    let accepted = answered.get(header::SEC_WEBSOCKET_ACCEPT);
    let protocols = answered.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let offered: Vec<_> = asked
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
        .collect();
    let protocol_is_offered = protocols.iter().count() <= 1
        && protocols
            .iter()
            .all(|one| one.to_str().is_ok_and(|one| offered.contains(&one)));
    let agreed = is(header::UPGRADE, "websocket")
        && is(header::CONNECTION, "upgrade")
        && accepted.is_some_and(|found| found.as_bytes() == accept.as_bytes())
        && !answered.contains_key(header::SEC_WEBSOCKET_EXTENSIONS)
        && protocol_is_offered;
    if agreed {
        Ok(())
    } else {
        Err(Code::UpstreamProtocol)
    }
}

/// Whoever sends in this direction went without a word.
const fn gone(flow: Flow) -> Code {
    match flow {
        Flow::Out => Code::ClientGone,
        Flow::In => Code::UpstreamProtocol,
    }
}

/// A WebSocket that both sides agreed to.
pub(crate) struct Switch {
    inner: Arc<Inner>,
    response: Response<Incoming>,
    filter: Option<Box<dyn Filter>>,
    allowance: Allowance,
    draft: Draft,
}

impl Switch {
    pub(crate) fn new(
        inner: Arc<Inner>,
        response: Response<Incoming>,
        filter: Option<Box<dyn Filter>>,
        allowance: Allowance,
        draft: Draft,
    ) -> Self {
        Self {
            inner,
            response,
            filter,
            allowance,
            draft,
        }
    }

    /// The fields of the answer.
    pub(crate) fn fields(&self) -> HeaderMap {
        let mut fields = self.response.headers().clone();
        fields.insert(
            header::CONNECTION,
            header::HeaderValue::from_static("upgrade"),
        );
        fields.insert(
            header::UPGRADE,
            header::HeaderValue::from_static("websocket"),
        );
        fields
    }

    /// Passes messages between the client and the destination until one of them ends it, or may not go on.
    pub(crate) async fn run(mut self, client: Io) {
        let code = self.pass(client).await;
        if let Some(filter) = &self.filter {
            self.draft.record.hits = filter.hits();
        }
        self.draft.end(code);
    }

    async fn pass(&mut self, client: Io) -> Option<Code> {
        let Ok(upgraded) = hyper::upgrade::on(&mut self.response).await else {
            return Some(Code::UpstreamProtocol);
        };
        let Some(messages) = self.allowance.messages else {
            return Some(Code::UpgradeRefused);
        };
        let config = |most| {
            WebSocketConfig::default()
                .max_message_size(Some(most))
                .max_frame_size(Some(most))
                .max_write_buffer_size(2 * MAX_MESSAGE_BYTES)
        };
        let upstream = TokioIo::new(upgraded);
        let mut upstream = WebSocketStream::from_raw_socket(
            upstream,
            Role::Client,
            Some(config(MAX_MESSAGE_BYTES)),
        )
        .await;
        let most = messages.bytes.min(MAX_MESSAGE_BYTES);
        let mut client =
            WebSocketStream::from_raw_socket(client, Role::Server, Some(config(most))).await;
        let mut cut = self.inner.cut(self.allowance.rule.clone());
        let code = loop {
            let (flow, message) = tokio::select! {
                () = &mut cut => break Some(Code::Revoked),
                message = client.next() => (Flow::Out, message),
                message = upstream.next() => (Flow::In, message),
                () = tokio::time::sleep(BODY_IDLE_TIMEOUT) => break Some(Code::Timeout),
            };
            let message = match message {
                Some(Ok(message)) => message,
                None | Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => break None,
                Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => {
                    break Some(gone(flow));
                }
                Some(Err(Error::Capacity(_) | Error::Protocol(_) | Error::Utf8(_))) => {
                    break Some(Code::FrameRefused);
                }
                Some(Err(_)) => break Some(gone(flow)),
            };
            let message = match self.judge(messages, flow, message) {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(code) => break Some(code),
            };
            let sent = match flow {
                Flow::Out => timeout(IDLE_TIMEOUT, upstream.send(message)).await,
                Flow::In => timeout(IDLE_TIMEOUT, client.send(message)).await,
            };
            match sent {
                Ok(Ok(())) => {}
                // Both have agreed to the end, and it was a message of that.
                Ok(Err(Error::ConnectionClosed)) => break None,
                // It is the other side that did not take it.
                Ok(Err(_)) => {
                    break Some(gone(match flow {
                        Flow::Out => Flow::In,
                        Flow::In => Flow::Out,
                    }));
                }
                Err(_) => break Some(Code::Timeout),
            }
        };
        if code.is_some() {
            let close = || {
                Some(CloseFrame {
                    code: CloseCode::Policy,
                    reason: "".into(),
                })
            };
            // Whoever does not want to hear it is cut off anyway.
            let _ = timeout(IDLE_TIMEOUT, client.close(close())).await;
            let _ = timeout(IDLE_TIMEOUT, upstream.close(close())).await;
        }
        code
    }

    /// Whether a message may pass, and what of it. Pings end here: each side is answered by its own neighbour, and what
    /// they carry would be bytes that no rule is about.
    fn judge(
        &mut self,
        messages: Messages,
        flow: Flow,
        message: Message,
    ) -> Result<Option<Message>, Code> {
        let bytes = u64::try_from(message.len()).unwrap_or(u64::MAX);
        self.inner
            .judge
            .spend(&self.allowance, flow, bytes)
            .map_err(|denial| denial.code)?;
        match flow {
            Flow::Out => {
                self.draft.moved.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            Flow::In => self.draft.record.bytes_in += bytes,
        }
        Ok(Some(match message {
            Message::Text(_) if !messages.text => return Err(Code::FrameRefused),
            Message::Binary(_) if !messages.binary => return Err(Code::FrameRefused),
            Message::Frame(_) => return Err(Code::FrameRefused),
            Message::Ping(_) | Message::Pong(_) => return Ok(None),
            Message::Close(frame) => Message::Close(frame.map(|frame| CloseFrame {
                code: frame.code,
                reason: "".into(),
            })),
            message if flow == Flow::Out => message,
            Message::Text(text) => {
                let passed = self.filtered(Bytes::from(text))?;
                Message::Text(passed.try_into().map_err(|_| Code::ResponseBlocked)?)
            }
            Message::Binary(data) => Message::Binary(self.filtered(data)?),
        }))
    }

    fn filtered(&mut self, bytes: Bytes) -> Result<Bytes, Code> {
        match &mut self.filter {
            None => Ok(bytes),
            Some(filter) => filter.message(bytes).map_err(|_| Code::ResponseBlocked),
        }
    }
}

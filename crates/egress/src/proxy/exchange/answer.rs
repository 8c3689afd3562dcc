//! Sending, and what comes back.

use std::sync::atomic::Ordering;

use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::{
    super::{
        draft::Draft,
        flow::Answered,
        links::{Borrowed, Sender},
        reply::Reply,
        websocket::{self, Switch},
    },
    Leg,
    steps::Ready,
};
use crate::{Allowance, Code, Denial, Facts, Filter, limits::ANSWER_TIMEOUT};

/// An answer whose head may pass.
pub(super) struct Answer {
    response: Response<Incoming>,
    filter: Option<Box<dyn Filter>>,
    allowance: Allowance,
    link: Option<Borrowed>,
}

impl Ready {
    /// Sends the request, and reads the head of the answer.
    pub(super) async fn send(self, leg: &Leg, draft: &mut Draft) -> Result<Answer, Denial> {
        let Self {
            request,
            sender,
            facts,
            allowance,
            injection,
        } = self;
        let offered = facts.websocket.then(|| request.headers().clone());
        let mut cut = leg.inner.cut(allowance.rule.clone());
        let (sent, link) = {
            let send = async {
                match sender {
                    Sender::Http2(mut sender) => (sender.send_request(request).await, None),
                    Sender::Http1(mut link) => {
                        (link.sender.send_request(request).await, Some(link))
                    }
                }
            };
            tokio::select! {
                biased;
                () = &mut cut => return Err(Code::Revoked.into()),
                sent = timeout(ANSWER_TIMEOUT, send) => sent.map_err(|_| Code::Timeout)?,
            }
        };
        // A body that was cut off says why; otherwise it is the destination's fault.
        let mut response = sent.map_err(|_| {
            draft
                .moved
                .why
                .get()
                .copied()
                .unwrap_or(Code::UpstreamProtocol)
        })?;
        let status = response.status();
        draft.record.status = Some(status.as_u16());
        draft.record.bytes_out = draft.moved.bytes.load(Ordering::Relaxed);
        check_framing(&response, &facts)?;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let offered = offered.ok_or(Code::UpstreamProtocol)?;
            websocket::verify(&offered, response.headers())?;
        }
        strip(response.headers_mut());
        let mut filter = leg.inner.filters.filter(&facts, injection.as_ref());
        if let Some(filter) = &mut filter {
            filter
                .head(status, response.headers_mut())
                .map_err(|_| Code::ResponseBlocked)?;
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        Ok(Answer {
            response,
            filter,
            allowance,
            link,
        })
    }
}

/// Refuses answers whose end could be in two places; their connection is not used again.
fn check_framing(response: &Response<Incoming>, facts: &Facts) -> Result<(), Code> {
    let fields = response.headers();
    let lengths = fields.get_all(header::CONTENT_LENGTH).iter().count();
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    let (coding, more) = (codings.next(), codings.next().is_some());
    let coded = coding.is_some();
    let chunked = coding.is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if more || !chunked {
        return Err(Code::UpstreamProtocol);
    }
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let interim = response.status().is_informational() && !switched;
    if lengths > 1 || (coded && lengths > 0) || interim || (switched && !facts.websocket) {
        return Err(Code::UpstreamProtocol);
    }
    Ok(())
}

impl Answer {
    /// What the client gets: the answer, with a body that closes the record at its end.
    pub(super) fn reply(self, leg: &Leg, draft: Draft) -> Reply {
        let Self {
            response,
            filter,
            allowance,
            link,
        } = self;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let inner = std::sync::Arc::clone(&leg.inner);
            let switch = Switch::new(inner, response, filter, allowance, draft);
            return Reply::Switch(Box::new(switch));
        }
        let (parts, body) = response.into_parts();
        let body = Answered::new(body, filter, &leg.inner, allowance, draft, link);
        Reply::Response(Response::from_parts(parts, body.boxed_unsync()))
    }
}

/// Takes out what ends here, and what would lead a client round the proxy.
pub(crate) fn strip(fields: &mut HeaderMap) {
    const ENDS_HERE: &[&str] = &[
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authentication-info",
        "te",
        "transfer-encoding",
        "upgrade",
        "alt-svc",
    ];
    let nominated: Vec<_> = fields
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::CONTENT_TYPE)
        .collect();
    for name in nominated {
        fields.remove(name);
    }
    for name in ENDS_HERE {
        fields.remove(*name);
    }
}

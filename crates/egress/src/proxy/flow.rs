//! Bodies while they pass: counted, taken from budgets, looked at, and cut off when the right to them ends.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::{
    Cut, Inner,
    draft::{Draft, Moved},
    exchange::strip,
    links::Borrowed,
    reply::{Body, BodyError},
};
use crate::{Allowance, Code, Filter, Flow, head::is_trailer, limits::BODY_IDLE_TIMEOUT};

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

/// Something that must move.
struct Pulse(Pin<Box<Sleep>>);

impl Pulse {
    fn new() -> Self {
        Self(Box::pin(sleep(BODY_IDLE_TIMEOUT)))
    }

    fn beat(&mut self) {
        self.0.as_mut().reset(Instant::now() + BODY_IDLE_TIMEOUT);
    }

    fn has_stopped(&mut self, context: &mut Context<'_>) -> bool {
        self.0.as_mut().poll(context).is_ready()
    }
}

/// Bytes of fields, in a head or behind a body.
pub(crate) fn field_bytes(fields: &HeaderMap) -> u64 {
    fields
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .fold(0, |sum, bytes| {
            u64::try_from(bytes).map_or(u64::MAX, |bytes| bytes.saturating_add(sum))
        })
}

/// Takes a piece of a body, or the fields behind it, from the budgets; how many bytes it is.
fn spend(
    inner: &Inner,
    allowance: &Allowance,
    flow: Flow,
    frame: &Frame<Bytes>,
) -> Result<u64, Code> {
    let bytes = match (frame.data_ref(), frame.trailers_ref()) {
        (Some(data), _) => u64::try_from(data.len()).unwrap_or(u64::MAX),
        (None, fields) => fields.map_or(0, field_bytes),
    };
    inner
        .judge
        .spend(allowance, flow, bytes)
        .map_err(|denial| denial.code)?;
    Ok(bytes)
}

/// A request's body on its way out.
pub(crate) struct Outgoing {
    body: Body,
    inner: Arc<Inner>,
    allowance: Allowance,
    moved: Arc<Moved>,
    /// Bytes of the body, without the head.
    bytes: u64,
    cut: Cut,
    pulse: Pulse,
}

impl Outgoing {
    pub(crate) fn new(body: Body, inner: &Arc<Inner>, allowance: Allowance, draft: &Draft) -> Self {
        Self {
            body,
            cut: inner.cut(allowance.rule.clone()),
            inner: Arc::clone(inner),
            allowance,
            moved: Arc::clone(&draft.moved),
            bytes: 0,
            pulse: Pulse::new(),
        }
    }

    fn fail(&self, code: Code) -> Polled {
        // The first reason is the reason.
        let _ = self.moved.why.set(code);
        Poll::Ready(Some(Err(BodyError(code))))
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        if this.cut.as_mut().poll(context).is_ready() {
            return this.fail(Code::Revoked);
        }
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Pending if this.pulse.has_stopped(context) => this.fail(Code::Timeout),
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => this.fail(error.0),
            Poll::Ready(Some(Ok(frame))) => {
                this.pulse.beat();
                // Behind a body there is no second chance to say where it ends, or who sends it.
                if !frame
                    .trailers_ref()
                    .is_none_or(|fields| fields.keys().all(is_trailer))
                {
                    return this.fail(Code::Framing);
                }
                match spend(&this.inner, &this.allowance, Flow::Out, &frame) {
                    Err(code) => this.fail(code),
                    Ok(bytes) => {
                        this.moved.bytes.fetch_add(bytes, Ordering::Relaxed);
                        this.bytes = this.bytes.saturating_add(bytes);
                        if this.bytes > this.allowance.body_bytes {
                            return this.fail(Code::BodyTooLarge);
                        }
                        Poll::Ready(Some(Ok(frame)))
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body on its way in. With its end the record is closed, and its connection is free again.
pub(crate) struct Answered {
    pub(crate) body: hyper::body::Incoming,
    pub(crate) filter: Option<Box<dyn Filter>>,
    pub(crate) inner: Arc<Inner>,
    pub(crate) allowance: Allowance,
    pub(crate) draft: Draft,
    pub(crate) link: Option<Borrowed>,
    cut: Cut,
    pulse: Pulse,
    trailers: Option<HeaderMap>,
    ended: bool,
}

impl Answered {
    pub(crate) fn new(
        body: hyper::body::Incoming,
        filter: Option<Box<dyn Filter>>,
        inner: &Arc<Inner>,
        allowance: Allowance,
        draft: Draft,
        link: Option<Borrowed>,
    ) -> Self {
        Self {
            body,
            filter,
            cut: inner.cut(allowance.rule.clone()),
            inner: Arc::clone(inner),
            allowance,
            draft,
            link,
            pulse: Pulse::new(),
            trailers: None,
            ended: false,
        }
    }

    fn fail(&mut self, code: Code) -> Polled {
        self.ended = true;
        self.close(Some(code));
        Poll::Ready(Some(Err(BodyError(code))))
    }

    fn close(&mut self, code: Option<Code>) {
        if let Some(filter) = &self.filter {
            self.draft.record.hits = filter.hits();
        }
        self.draft.end(code);
        if let (Some(link), None) = (self.link.take(), code) {
            link.give_back();
        }
    }

    /// The end of the body, with what the filter held back and what comes behind it.
    fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<Option<Frame<Bytes>>, Code> {
        let mut held = Bytes::new();
        let mut trailers = trailers;
        if let Some(filter) = &mut self.filter {
            held = filter.finish().map_err(|_| Code::ResponseBlocked)?;
            if let Some(fields) = &mut trailers {
                filter.trailers(fields).map_err(|_| Code::ResponseBlocked)?;
            }
        }
        self.ended = true;
        self.close(None);
        if held.is_empty() {
            return Ok(trailers.map(Frame::trailers));
        }
        self.trailers = trailers;
        Ok(Some(Frame::data(held)))
    }

    /// A piece of the body; what may pass of it now.
    fn pass(&mut self, frame: Frame<Bytes>) -> Result<Option<Frame<Bytes>>, Code> {
        self.pulse.beat();
        let bytes = spend(&self.inner, &self.allowance, Flow::In, &frame)?;
        self.draft.record.bytes_in += bytes;
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                let mut fields = frame.into_trailers().unwrap_or_default();
                strip(&mut fields);
                let odd: Vec<_> = fields
                    .keys()
                    .filter(|name| !is_trailer(name))
                    .cloned()
                    .collect();
                for name in odd {
                    fields.remove(name);
                }
                return self.finish(Some(fields));
            }
        };
        let data = match &mut self.filter {
            None => data,
            Some(filter) => filter.data(data).map_err(|_| Code::ResponseBlocked)?,
        };
        Ok(Some(Frame::data(data))
            .filter(|frame| frame.data_ref().is_some_and(|data| !data.is_empty())))
    }
}

impl http_body::Body for Answered {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(
                this.trailers
                    .take()
                    .map(|fields| Ok(Frame::trailers(fields))),
            );
        }
        if this.cut.as_mut().poll(context).is_ready() {
            return this.fail(Code::Revoked);
        }
        loop {
            let passed = match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Pending if this.pulse.has_stopped(context) => {
                    return this.fail(Code::Timeout);
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => this.finish(None),
                Poll::Ready(Some(Err(_))) => return this.fail(Code::UpstreamProtocol),
                Poll::Ready(Some(Ok(frame))) => this.pass(frame),
            };
            match passed {
                Err(code) => return this.fail(code),
                Ok(None) if this.ended => return Poll::Ready(None),
                Ok(None) => {}
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.filter {
            None => self.body.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}

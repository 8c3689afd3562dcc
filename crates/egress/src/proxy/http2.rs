//! The client's side of HTTP/2: each stream is a request of its own.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::Notify;

use super::{
    exchange::{Leg, answer},
    opened::{Counted, Opened},
    reply::{Body, BodyError, Reply, refusal},
    stream::Duplex,
};
use crate::{
    Code,
    head::Head,
    limits::{
        CONNECTION_WINDOW_BYTES, IDLE_TIMEOUT, MAX_CANCELLED, MAX_HEADER_LIST_BYTES, MAX_RESETS,
        MAX_STREAMS, STREAM_WINDOW_BYTES,
    },
};

/// Counts requests that were given up before they were answered: each has cost us more than its client.
#[derive(Default)]
struct Cancelled {
    count: AtomicUsize,
    too_many: Notify,
}

/// One request that is not answered yet.
struct Unanswered<'a>(&'a Cancelled);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.0.count.fetch_add(1, Ordering::Relaxed) >= MAX_CANCELLED {
            self.0.too_many.notify_one();
        }
    }
}

/// Serves one connection until it ends.
pub(crate) async fn serve(stream: impl Duplex + 'static, leg: Arc<Leg>) {
    let cancelled = Arc::new(Cancelled::default());
    let (requests, counted) = (Arc::clone(&leg), Arc::clone(&cancelled));
    let opened = Opened::new(Arc::clone(&leg));
    let stream = Counted::new(stream, &opened);
    let service = service_fn(move |request| {
        opened.heard();
        let (leg, cancelled) = (Arc::clone(&requests), Arc::clone(&counted));
        async move {
            let unanswered = Unanswered(&cancelled);
            let response = stream_of(&leg, request).await;
            std::mem::forget(unanswered);
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(STREAM_WINDOW_BYTES as usize)
        .keep_alive_interval(IDLE_TIMEOUT)
        .auto_date_header(false);
    let connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // Why a connection broke is its client's to say.
        _ = connection => {}
        () = cancelled.too_many.notified() => {
            if let Some(mut draft) = leg.draft() {
                draft.deny(&Code::TooMany.into()).await;
            }
        }
    }
}

/// Answers one stream.
async fn stream_of(leg: &Leg, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let head = Head::of_stream(&parts, body.is_end_stream());
    // A stream breaks when its client resets it.
    let body = body.map_err(|_| BodyError(Code::ClientGone)).boxed_unsync();
    match Box::pin(answer(leg, head, body)).await {
        Reply::Response(response) => response,
        // Nobody can ask for it here.
        Reply::Switch(_) => refusal(&Code::UpgradeRefused.into(), None),
    }
}

//! HTTP/2 as both ports speak it, the keeper's and that of egress: the same bounds at both ends of each.

use hyper::{client, server};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    body::OutBody,
    limits::{
        CONNECTION_WINDOW_BYTES, MAX_HEADER_BYTES, MAX_HTTP_FRAME_BYTES, MAX_STREAMS,
        PING_INTERVAL, PING_TIMEOUT, STREAM_WINDOW_BYTES,
    },
};

/// Takes requests for a connection.
pub(crate) type Sender = client::conn::http2::SendRequest<OutBody>;

/// The asking end of `stream`, as long as somebody holds a sender.
pub(crate) async fn ask_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> hyper::Result<Sender> {
    let (sender, connection) = client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(MAX_HTTP_FRAME_BYTES)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_send_buf_size(STREAM_WINDOW_BYTES as usize)
        .initial_max_send_streams(MAX_STREAMS as usize)
        // Every call may be dropped at once, with answers to it still on their way.
        .max_concurrent_reset_streams(MAX_STREAMS as usize)
        .max_local_error_reset_streams(None)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await?;
    // Why it broke is told to every request that was on it.
    tokio::spawn(connection);
    Ok(sender)
}

/// The answering end.
pub(crate) fn answering<E: Clone>(executor: E) -> server::conn::http2::Builder<E> {
    let mut builder = server::conn::http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(MAX_HTTP_FRAME_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_send_buf_size(STREAM_WINDOW_BYTES as usize)
        // A gateway may drop all of its calls at once.
        .max_pending_accept_reset_streams(MAX_STREAMS as usize)
        .max_local_error_reset_streams(MAX_STREAMS as usize)
        .auto_date_header(false);
    builder
}

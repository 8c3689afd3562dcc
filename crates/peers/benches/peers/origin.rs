//! A destination that answers as fast as it can.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What an ordinary answer has.
const ORDINARY: usize = 1_024;
/// How a large one is sent.
const PIECE: usize = 64 * 1_024;
/// How often an endless one goes on.
const BEAT: Duration = Duration::from_millis(2);

/// Serves `/` with 1 KB, `/bytes/N` with N bytes, `/endless` without an end. Its port.
pub(crate) async fn serve(config: ServerConfig) -> std::io::Result<u16> {
    let tls = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let ordinary = Bytes::from(vec![b'x'; ORDINARY]);
    let piece = Bytes::from(
        (0..PIECE)
            .map(|_| fastrand::alphanumeric() as u8)
            .collect::<Vec<_>>(),
    );
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let (tls, ordinary, piece) = (tls.clone(), ordinary.clone(), piece.clone());
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else {
                    return;
                };
                let service = service_fn(move |request| {
                    let answer = answer(&request, &ordinary, &piece);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok(port)
}

fn answer(
    request: &Request<Incoming>,
    ordinary: &Bytes,
    piece: &Bytes,
) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let path = request.uri().path();
    if let Some(count) = path
        .strip_prefix("/bytes/")
        .and_then(|count| count.parse::<usize>().ok())
    {
        let pieces = stream::iter(std::iter::repeat_n(piece.clone(), count / PIECE));
        let body = StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece))));
        let mut response = Response::new(body.boxed_unsync());
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, (count / PIECE * PIECE).into());
        return response;
    }
    if path == "/endless" {
        let beats = stream::unfold(piece.slice(..ORDINARY), |beat| async move {
            tokio::time::sleep(BEAT).await;
            Some((Ok(Frame::data(beat.clone())), beat))
        });
        return Response::new(StreamBody::new(beats).boxed_unsync());
    }
    Response::new(Full::new(ordinary.clone()).boxed_unsync())
}

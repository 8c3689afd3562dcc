//! Destinations on this machine, which count whoever comes.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
pub(crate) use casemate_attacks::Roots;
use futures_util::StreamExt as _;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// What a destination does with whoever connects.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    /// Answers with what was sent: the head as lines, then the body.
    Echo,
    /// Says these bytes once it has a head, and no more.
    Raw(Vec<u8>),
}

/// A destination.
pub(crate) struct Upstream {
    pub(crate) port: u16,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) requests: Arc<AtomicUsize>,
    /// Connections that have not ended.
    pub(crate) open: Arc<AtomicUsize>,
}

impl Upstream {
    /// One that speaks TLS.
    pub(crate) async fn tls(config: ServerConfig, manner: Manner) -> Self {
        Self::start(Some(TlsAcceptor::from(Arc::new(config))), manner).await
    }

    /// One that does not.
    pub(crate) async fn plain(manner: Manner) -> Self {
        Self::start(None, manner).await
    }

    async fn start(tls: Option<TlsAcceptor>, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, requests) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let open = Arc::new(AtomicUsize::new(0));
        let counted = (
            Arc::clone(&connections),
            Arc::clone(&requests),
            Arc::clone(&open),
        );
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.0.fetch_add(1, Ordering::SeqCst);
                counted.2.fetch_add(1, Ordering::SeqCst);
                let open = Arc::clone(&counted.2);
                let (tls, manner, requests) = (tls.clone(), manner.clone(), Arc::clone(&counted.1));
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, false, manner, requests).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                                serve(stream, h2, manner, requests).await;
                            }
                        }
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            port,
            connections,
            requests,
            open,
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn serve<S>(mut stream: S, h2: bool, manner: Manner, requests: Arc<AtomicUsize>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if let Manner::Raw(bytes) = manner {
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read_buf(&mut head).await {
                Ok(1..) => {}
                _ => return,
            }
        }
        requests.fetch_add(1, Ordering::SeqCst);
        stream.write_all(&bytes).await.unwrap();
        let _ = stream.flush().await;
        // It stays, so that what comes next is not hidden by its end.
        let _ = stream.read_to_end(&mut head).await;
        return;
    }
    let service = service_fn(move |request| {
        requests.fetch_add(1, Ordering::SeqCst);
        async move { Ok::<_, Infallible>(echo(request).await) }
    });
    let io = TokioIo::new(stream);
    if h2 {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(io, service)
            .await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(io, service)
            .with_upgrades()
            .await;
    }
}

type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn echo(mut request: Request<Incoming>) -> Reply {
    match request.uri().path() {
        "/events" => return events(),
        "/ws" => return crate::websockets::accept(&mut request),
        "/slow" => std::future::pending().await,
        _ => {}
    }
    let mut text = format!(
        "{} {} {:?}\n",
        request.method(),
        request.uri(),
        request.version()
    );
    for (name, value) in request.headers() {
        text += &format!("{name}: {}\n", value.to_str().unwrap());
    }
    let reflected = request.headers().get("authorization").cloned();
    // A body that is cut off has no answer that anybody hears.
    let Ok(collected) = request.into_body().collect().await else {
        return Response::new(Full::new(Bytes::new()).boxed_unsync());
    };
    let trailers = collected.trailers().cloned().unwrap_or_default();
    for (name, value) in &trailers {
        text += &format!("trailer {name}: {}\n", value.to_str().unwrap());
    }
    text += "\n";
    let bytes = [text.into_bytes(), collected.to_bytes().to_vec()].concat();
    let mut response = Response::new(Full::new(Bytes::from(bytes)).boxed_unsync());
    let fields = response.headers_mut();
    fields.insert("alt-svc", "h3=\":443\"".parse().unwrap());
    fields.insert("keep-alive", "timeout=5".parse().unwrap());
    if let Some(value) = reflected {
        fields.insert("x-reflected", value);
    }
    if !trailers.is_empty() {
        *response.status_mut() = StatusCode::ACCEPTED;
        let (parts, body) = response.into_parts();
        return Response::from_parts(
            parts,
            body.with_trailers(async move { Some(Ok(trailers)) })
                .boxed_unsync(),
        );
    }
    response
}

/// Two events and then silence.
fn events() -> Reply {
    let events = futures_util::stream::iter(["data: 1\n\n", "data: 2\n\n"])
        .map(|text| Ok(Frame::data(Bytes::from(text))))
        .chain(futures_util::stream::pending());
    let mut response = Response::new(StreamBody::new(events).boxed_unsync());
    response
        .headers_mut()
        .insert("content-type", "text/event-stream".parse().unwrap());
    response
}

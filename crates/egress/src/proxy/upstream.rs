//! Connecting to a destination: resolve, vet, dial, verify, in this order. The only place that dials.

use std::{future::Future, net::IpAddr, pin::Pin, sync::Arc};

use bytes::BytesMut;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Inner,
    draft::Draft,
    flow::Outgoing,
    presenting::Presenting,
    stream::{Duplex, Io},
};
use crate::{
    ClientCertificate, Code, Destination, Host, Scheme, Vetted,
    limits::{
        CONNECT_TIMEOUT, CONNECTION_WINDOW_BYTES, HANDSHAKE_TIMEOUT, IDLE_TIMEOUT, MAX_FIELDS,
        MAX_HEAD_BYTES, MAX_HEADER_LIST_BYTES, RESOLVE_TIMEOUT, STREAM_WINDOW_BYTES,
    },
};

/// A connection whose other end has proven who it is.
pub(crate) struct Connected {
    pub(crate) sender: Sender,
    pub(crate) driver: Driver,
}

/// What moves the bytes of a connection, as long as it is polled.
pub(crate) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) enum Sender {
    Http1(http1::SendRequest<Outgoing>),
    Http2(http2::SendRequest<Outgoing>),
}

/// Connects to `destination`. All addresses of its name are judged before one is dialled.
pub(crate) async fn connect(
    inner: &Inner,
    destination: &Destination,
    offers_h2: bool,
    draft: &mut Draft,
) -> Result<Connected, Code> {
    let stream = reach(inner, destination, draft).await?;
    if destination.target().scheme == Scheme::Http {
        return over_http1(stream).await;
    }
    let config = if offers_h2 {
        &inner.dial.h2
    } else {
        &inner.dial.http1
    };
    let stream = secure(config, destination, stream).await?;
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => over_http2(stream).await,
        None | Some(b"http/1.1") => over_http1(stream).await,
        Some(_) => Err(Code::UpstreamProtocol),
    }
}

/// Proves to a destination that was reached who the client is, once it has proven who it is itself. It is on record before.
pub(crate) async fn present(
    inner: &Inner,
    destination: &Destination,
    stream: TcpStream,
    certificate: ClientCertificate,
    draft: &mut Draft,
) -> Result<Connected, Code> {
    draft.sent().await?;
    let presenting = Presenting::new(certificate);
    let config = presenting.config(&inner.dial.presenting);
    let stream = secure(&config, destination, stream).await;
    // What is not asked for is not lent, and a request without it is not sent.
    if presenting.has_failed() || stream.is_ok() && !presenting.is_presented() {
        return Err(Code::CredUnavailable);
    }
    over_http1(stream?).await
}

/// Connects to a server of PostgreSQL, which has to encrypt and to prove who it is. Nothing was said to it but that.
pub(crate) async fn connect_postgres(
    inner: &Inner,
    destination: &Destination,
    draft: &mut Draft,
) -> Result<Io, Code> {
    let mut stream = reach(inner, destination, draft).await?;
    let asking = async {
        let mut question = BytesMut::new();
        postgres_protocol::message::frontend::ssl_request(&mut question);
        stream.write_all(&question).await?;
        // One byte, and no more: what came behind it nobody encrypted.
        stream.read_u8().await
    };
    let answer = timeout(HANDSHAKE_TIMEOUT, asking)
        .await
        .map_err(|_| Code::Timeout)?;
    match answer {
        Ok(b'S') => {}
        Ok(b'N') => return Err(Code::PlaintextDenied),
        Ok(_) | Err(_) => return Err(Code::UpstreamProtocol),
    }
    let stream = secure(&inner.dial.postgres, destination, stream).await?;
    Ok(Io::new(stream))
}

/// A connection to one of the addresses, all of which were judged.
pub(crate) async fn reach(
    inner: &Inner,
    destination: &Destination,
    draft: &mut Draft,
) -> Result<TcpStream, Code> {
    let target = destination.target();
    let addresses = addresses(inner, &target.host).await?;
    draft.record.addresses.clone_from(&addresses);
    let vetted = inner.vetting.vet(
        &addresses,
        target.port,
        destination.class(),
        destination.pins(),
    )?;
    dial(&vetted).await
}

/// Has the destination prove who it is.
async fn secure(
    config: &Arc<ClientConfig>,
    destination: &Destination,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Code> {
    let name = match &destination.target().host {
        Host::Address(address) => ServerName::from(*address),
        Host::Name(name) => ServerName::try_from(name.to_string()).map_err(|_| Code::HostSyntax)?,
    };
    let connecting = TlsConnector::from(Arc::clone(config)).connect(name, stream);
    timeout(HANDSHAKE_TIMEOUT, connecting)
        .await
        .map_err(|_| Code::Timeout)?
        .map_err(|error| why(&error))
}

async fn addresses(inner: &Inner, host: &Host) -> Result<Vec<IpAddr>, Code> {
    match host {
        Host::Address(address) => Ok(vec![*address]),
        Host::Name(name) => match timeout(RESOLVE_TIMEOUT, inner.resolver.resolve(name)).await {
            Ok(Ok(addresses)) => Ok(addresses),
            _ => Err(Code::DnsFail),
        },
    }
}

/// The first of the addresses that accepts a connection.
async fn dial(vetted: &[Vetted]) -> Result<TcpStream, Code> {
    for address in vetted {
        if let Ok(Ok(stream)) = timeout(CONNECT_TIMEOUT, TcpStream::connect(address.get())).await {
            // Small writes of one request must not wait for each other.
            stream
                .set_nodelay(true)
                .map_err(|_| Code::UpstreamConnect)?;
            return Ok(stream);
        }
    }
    Err(Code::UpstreamConnect)
}

fn why(error: &std::io::Error) -> Code {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Code::UpstreamCert
        }
        Some(_) => Code::UpstreamProtocol,
        None => Code::UpstreamConnect,
    }
}

async fn over_http1(stream: impl Duplex + 'static) -> Result<Connected, Code> {
    let (sender, connection) = http1::Builder::new()
        .max_headers(MAX_FIELDS)
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Code::UpstreamProtocol)?;
    // Why a connection broke is seen by the request on it.
    let driver = Box::pin(async move { drop(connection.with_upgrades().await) });
    Ok(Connected {
        sender: Sender::Http1(sender),
        driver,
    })
}

async fn over_http2(stream: impl Duplex + 'static) -> Result<Connected, Code> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .keep_alive_interval(IDLE_TIMEOUT)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Code::UpstreamProtocol)?;
    let driver = Box::pin(async move { drop(connection.await) });
    Ok(Connected {
        sender: Sender::Http2(sender),
        driver,
    })
}

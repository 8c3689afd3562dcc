//! Connections that should be TLS: a whole ClientHello, the right name, then the agent's own certificate.

use std::sync::Arc;

use rustls::AlertDescription;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Inner, exchange::Leg, http1, http2, postgres, stream::Io};
use crate::{
    Code, Denial, Destination, Entry, Host, Name, Origin, Scheme, Target,
    hello::{self, Hello},
    limits::{HANDSHAKE_TIMEOUT, HELLO_TIMEOUT},
};

/// Serves what a client sends through a tunnel to `target`, which was admitted.
pub(crate) async fn intercept(
    inner: Arc<Inner>,
    mut io: Io,
    entry: Entry,
    target: Target,
    origin: Origin,
) {
    let leg = |name| {
        Leg::fixed(
            Arc::clone(&inner),
            origin.clone(),
            entry,
            target.clone(),
            name,
        )
    };
    let hello = match read_hello(&mut io).await {
        Ok(Some(hello)) => hello,
        // It said nothing.
        Ok(None) => return,
        Err(code) => return refuse(&leg(None), &code.into()).await,
    };
    let leg = leg(hello.server_name.clone());
    match handshake(&inner, io, &target, &hello).await {
        Ok(stream) => serve(stream, leg).await,
        Err(code) => refuse(&leg, &code.into()).await,
    }
}

/// Serves a connection to `host` that knows of no proxy.
pub(crate) async fn transparent(
    inner: Arc<Inner>,
    mut io: Io,
    host: Host,
    port: u16,
    origin: Origin,
) {
    // Rules say what is spoken there, not whoever comes.
    let login = Target {
        scheme: Scheme::Postgres,
        host: host.clone(),
        port,
    };
    let judge = inner.judge.as_ref();
    if judge.is_for_logins(&login, &origin)
        && let Ok(destination) = Destination::new(login, &origin, judge, &inner.vetting)
    {
        return Box::pin(postgres::serve(inner, io, destination, origin)).await;
    }
    let is_tls = match timeout(HELLO_TIMEOUT, io.peek()).await {
        Ok(Ok(1..)) => io
            .front()
            .first()
            .is_some_and(|byte| !byte.is_ascii_uppercase()),
        Ok(_) => return,
        Err(_) => {
            let target = Target {
                scheme: Scheme::Https,
                host,
                port,
            };
            let leg = Leg::fixed(inner, origin, Entry::Transparent, target, None);
            return refuse(&leg, &Code::HelloTimeout.into()).await;
        }
    };
    // No letter begins a TLS record, and every method does with one.
    let scheme = if is_tls { Scheme::Https } else { Scheme::Http };
    let target = Target { scheme, host, port };
    if is_tls {
        // As for `CONNECT`: the destination is judged before anything is answered.
        let admitted = Destination::new(
            target.clone(),
            &origin,
            inner.judge.as_ref(),
            &inner.vetting,
        );
        match admitted {
            Ok(_) => Box::pin(intercept(inner, io, Entry::Transparent, target, origin)).await,
            Err(denial) => {
                let leg = Leg::fixed(inner, origin, Entry::Transparent, target, None);
                refuse(&leg, &denial).await;
            }
        }
    } else {
        let leg = Leg::fixed(inner, origin, Entry::Transparent, target, None);
        http1::serve(io, Arc::new(leg)).await;
    }
}

/// The ClientHello, left in front of the connection; `None` when it ends without a byte.
pub(super) async fn read_hello(io: &mut Io) -> Result<Option<Hello>, Code> {
    let reading = async {
        loop {
            if let Some(hello) = hello::read(io.front())? {
                return Ok(Some(hello));
            }
            match io.peek().await {
                Ok(1..) => {}
                _ if io.front().is_empty() => return Ok(None),
                _ => return Err(Code::NotTls),
            }
        }
    };
    timeout(HELLO_TIMEOUT, reading)
        .await
        .map_err(|_| Code::HelloTimeout)?
}

/// Answers a ClientHello as `target`, if it is for that.
async fn handshake(
    inner: &Inner,
    io: Io,
    target: &Target,
    hello: &Hello,
) -> Result<TlsStream<Io>, Code> {
    check_name(target, hello)?;
    if hello.offers_no_http {
        return Err(Code::TlsHandshake);
    }
    let config = inner
        .leaves
        .serve(&target.host)
        .map_err(|_| Code::TlsHandshake)?;
    let accepting = TlsAcceptor::from(config).accept(io);
    let stream = timeout(HANDSHAKE_TIMEOUT, accepting)
        .await
        .map_err(|_| Code::Timeout)?
        .map_err(|error| why(&error))?;
    check_seen(stream.get_ref().1.server_name(), hello)?;
    Ok(stream)
}

/// Whether a ClientHello is for `target`.
pub(super) fn check_name(target: &Target, hello: &Hello) -> Result<(), Code> {
    match (&target.host, &hello.server_name) {
        (_, None) => Ok(()),
        (Host::Name(host), Some(name)) if host == name => Ok(()),
        (Host::Name(_) | Host::Address(_), Some(_)) => Err(Code::AuthorityMismatch),
    }
}

/// Whether both readers of the ClientHello found the same name.
pub(super) fn check_seen(seen: Option<&str>, hello: &Hello) -> Result<(), Code> {
    match seen == hello.server_name.as_ref().map(Name::as_str) {
        true => Ok(()),
        false => Err(Code::AuthorityMismatch),
    }
}

pub(super) fn why(error: &std::io::Error) -> Code {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate,
        )) => Code::PinnedClient,
        _ => Code::TlsHandshake,
    }
}

async fn serve(stream: TlsStream<Io>, mut leg: Leg) {
    leg.speaks_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    if leg.speaks_h2 {
        http2::serve(stream, Arc::new(leg)).await;
    } else {
        http1::serve(Io::new(stream), Arc::new(leg)).await;
    }
}

/// Records why a connection is closed. There is nothing to say to whoever does not speak TLS.
async fn refuse(leg: &Leg, denial: &Denial) {
    if let Some(mut draft) = leg.draft() {
        draft.deny(denial).await;
    }
}

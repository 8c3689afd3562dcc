//! Clients that say exactly what a test wants.

use std::{io, sync::Arc};

use casemate_egress::Proxy;
use rustls::{ClientConfig, ClientConnection, RootCertStore, pki_types::ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// An answer, as far as a client without a library reads it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The code of a refusal.
    pub(crate) fn code(&self) -> Option<String> {
        let line = self
            .head
            .lines()
            .find_map(|line| line.strip_prefix("casemate-denied: "))?;
        Some(line.to_owned())
    }
}

/// Sends bytes and reads one answer.
pub(crate) async fn ask(stream: &mut (impl Duplex + ?Sized), bytes: impl AsRef<[u8]>) -> Answer {
    // A proxy that refuses may close before all was written.
    let _ = stream.write_all(bytes.as_ref()).await;
    let _ = stream.flush().await;
    read(stream).await.expect("an answer")
}

/// Reads one answer; `None` at the end of the connection.
pub(crate) async fn read(stream: &mut (impl Duplex + ?Sized)) -> Option<Answer> {
    let head = read_head(stream).await?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let field = |name: &str| {
        head.lines()
            .find_map(|line| line.strip_prefix(name).map(str::to_owned))
    };
    let mut body = Vec::new();
    if let Some(length) = field("content-length: ") {
        body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).await.unwrap();
    } else if field("transfer-encoding: ").is_some() {
        loop {
            let size = usize::from_str_radix(line(stream).await.ok()?.trim(), 16).unwrap();
            if size == 0 {
                while line(stream).await.ok()?.trim() != "" {}
                break;
            }
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).await.ok()?;
            body.extend(&chunk[..size]);
        }
    }
    Some(Answer { status, head, body })
}

pub(crate) async fn read_head(stream: &mut (impl Duplex + ?Sized)) -> Option<String> {
    let mut head = String::new();
    loop {
        let line = line(stream).await.ok()?;
        if line == "\r\n" {
            return Some(head);
        }
        head += &line;
    }
}

async fn line(stream: &mut (impl Duplex + ?Sized)) -> io::Result<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\n") {
        bytes.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(bytes).unwrap())
}

/// Whether the other end has closed without another byte.
pub(crate) async fn is_closed(stream: &mut (impl Duplex + ?Sized)) -> bool {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    rest.is_empty()
}

/// How a client that trusts the proxy's authority speaks TLS.
pub(crate) fn config(proxy: &Proxy, alpn: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(proxy.authority().certificate().clone()).unwrap();
    config_of(roots, alpn)
}

pub(crate) fn config_of(roots: RootCertStore, alpn: &[&[u8]]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(Now))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|one| one.to_vec()).collect();
    config
}

/// The time of the test's clock.
#[derive(Debug)]
struct Now;

impl rustls::time_provider::TimeProvider for Now {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        let now = std::time::Duration::from_millis(crate::world::NOW_MS);
        Some(rustls::pki_types::UnixTime::since_unix_epoch(now))
    }
}

/// A TLS client in a tunnel or on a connection.
pub(crate) async fn tls<S: Duplex>(
    stream: S,
    name: &str,
    config: ClientConfig,
) -> io::Result<TlsStream<S>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// The ClientHello that such a client begins with.
pub(crate) fn hello(name: &str, config: ClientConfig) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// Opens a tunnel.
pub(crate) async fn tunnel<S: Duplex>(mut stream: S, authority: &str) -> S {
    let answer = ask(
        &mut stream,
        format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    stream
}

//! Clients that say exactly what a test wants.

use std::{io, sync::Arc};

use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// No answer is longer.
const MAX_BODY: usize = 16 << 20;

/// A connection.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// An answer, as far as a client without a library reads it.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Its body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The code of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        let line = self
            .head
            .lines()
            .find_map(|line| line.strip_prefix("casemate-denied: "))?;
        Some(line.to_owned())
    }
}

/// Sends bytes and reads one answer.
pub async fn ask(stream: &mut (impl Duplex + ?Sized), bytes: impl AsRef<[u8]>) -> Answer {
    // A proxy that refuses may close before all was written.
    let _ = stream.write_all(bytes.as_ref()).await;
    let _ = stream.flush().await;
    read(stream).await.expect("an answer")
}

/// Reads one answer; `None` at the end of the connection.
pub async fn read(stream: &mut (impl Duplex + ?Sized)) -> Option<Answer> {
    let head = read_head(stream).await?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let field = |name: &str| {
        head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            let is_it = found.eq_ignore_ascii_case(name);
            is_it.then(|| value.trim().to_owned())
        })
    };
    let mut body = Vec::new();
    if matches!(status, 100..=199 | 204 | 304) {
        // They have none, whatever their fields say.
    } else if let Some(length) = field("content-length") {
        body = vec![0; length.parse::<usize>().ok()?.min(MAX_BODY)];
        stream.read_exact(&mut body).await.ok()?;
    } else if field("transfer-encoding").is_some() {
        loop {
            let size = usize::from_str_radix(line(stream).await.ok()?.trim(), 16).ok()?;
            if size == 0 {
                while line(stream).await.ok()?.trim() != "" {}
                break;
            }
            let mut chunk = vec![0; size.min(MAX_BODY) + 2];
            stream.read_exact(&mut chunk).await.ok()?;
            chunk.truncate(size);
            body.extend(chunk);
        }
    }
    Some(Answer { status, head, body })
}

/// Reads a head without the empty line behind it.
pub async fn read_head(stream: &mut (impl Duplex + ?Sized)) -> Option<String> {
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
    String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Whether the other end has closed without another byte.
pub async fn is_closed(stream: &mut (impl Duplex + ?Sized)) -> bool {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    rest.is_empty()
}

/// A TLS client in a tunnel or on a connection.
///
/// # Errors
/// When there is no TLS.
pub async fn tls<S: Duplex>(
    stream: S,
    name: &str,
    config: ClientConfig,
) -> io::Result<TlsStream<S>> {
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// The ClientHello that such a client begins with.
#[must_use]
pub fn hello(name: &str, config: ClientConfig) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// Opens a tunnel.
pub async fn tunnel<S: Duplex>(mut stream: S, authority: &str) -> S {
    let answer = ask(
        &mut stream,
        format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    stream
}

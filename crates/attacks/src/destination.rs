//! Destinations on this machine, which count whoever comes and look at what was sent.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::{
    Duplex, Roots,
    clear::{self, Length},
};

/// What came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Connections.
    pub connections: usize,
    /// Requests, from their heads on.
    pub requests: usize,
    /// Those that came to their end.
    pub whole: usize,
    /// Messages of WebSockets.
    pub messages: usize,
    /// What could be read in two ways.
    pub faults: Vec<String>,
}

impl Seen {
    /// What came since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            connections: self.connections - before.connections,
            requests: self.requests - before.requests,
            whole: self.whole - before.whole,
            messages: self.messages - before.messages,
            faults: self.faults[before.faults.len()..].to_vec(),
        }
    }
}

impl std::ops::Add for Seen {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self.connections += other.connections;
        self.requests += other.requests;
        self.whole += other.whole;
        self.messages += other.messages;
        self.faults.extend(other.faults);
        self
    }
}

/// A place to which connections can be made. It is gone when this is dropped.
#[derive(Debug)]
pub struct Destination {
    /// Its port.
    pub port: u16,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Inner {
    authority: String,
    seen: Mutex<Seen>,
    reply: Mutex<Option<Vec<u8>>>,
}

impl Drop for Destination {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Everywhere that attacks lead to.
#[derive(Debug)]
pub struct Destinations {
    /// `good.test`, with TLS.
    pub good: Destination,
    /// `good.test`, without.
    pub plain: Destination,
    /// Where no connection may arrive.
    pub elsewhere: Vec<Destination>,
    /// The authority that vouches for them.
    pub roots: Roots,
}

impl Destinations {
    /// Those of this machine's loopback.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn new() -> io::Result<Self> {
        let roots = Roots::new();
        let config = roots.server(&["good.test"], &[b"http/1.1"], |_| {});
        let tls = Some(TlsAcceptor::from(Arc::new(config)));
        Ok(Self {
            good: Destination::start("127.0.0.1:0", tls, true).await?,
            plain: Destination::start("127.0.0.1:0", None, true).await?,
            elsewhere: vec![Destination::trap("127.0.0.1:0").await?],
            roots,
        })
    }

    /// The port of `evil.test`.
    #[must_use]
    pub fn evil(&self) -> u16 {
        self.elsewhere.first().map_or(0, |evil| evil.port)
    }

    /// Connections where none may be.
    #[must_use]
    pub fn strays(&self) -> usize {
        let seen = self.elsewhere.iter().map(Destination::seen);
        seen.map(|seen| seen.connections).sum()
    }
}

impl Destination {
    /// One that nobody may connect to.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub async fn trap(address: &str) -> io::Result<Self> {
        Self::start(address, None, false).await
    }

    async fn start(address: &str, tls: Option<TlsAcceptor>, speaks: bool) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let port = SocketAddr::port(&listener.local_addr()?);
        let inner = Arc::new(Inner {
            authority: format!("good.test:{port}"),
            seen: Mutex::default(),
            reply: Mutex::default(),
        });
        let counted = Arc::clone(&inner);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                counted.count(|seen| seen.connections += 1);
                if !speaks {
                    continue;
                }
                let (tls, inner) = (tls.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    match tls {
                        None => inner.serve(stream).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => inner.serve(stream).await,
                            // Whoever has seen the certificate may end a handshake; other bytes are a tunnel's.
                            Err(error) if is_no_tls(&error) => {
                                inner.fault(&format!("no TLS: {error}"));
                            }
                            Err(_) => {}
                        },
                    }
                });
            }
        });
        Ok(Self { port, inner, task })
    }

    /// What came so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.inner.seen.lock().unwrap().clone()
    }

    /// From now on it answers with these bytes to whatever it is asked.
    pub fn reply(&self, bytes: Option<Vec<u8>>) {
        *self.inner.reply.lock().unwrap() = bytes;
    }
}

impl Inner {
    fn count(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap());
    }

    fn fault(&self, what: &str) {
        self.count(|seen| seen.faults.push(what.to_owned()));
    }

    async fn serve(&self, mut stream: impl Duplex) {
        let mut bytes = Vec::new();
        loop {
            let Some(head) = head(&mut stream, &mut bytes).await else {
                if !bytes.is_empty() {
                    self.fault("a piece of a request");
                }
                return;
            };
            self.count(|seen| seen.requests += 1);
            let length = match clear::read(&head, &self.authority) {
                Ok(length) => length,
                Err(why) => {
                    self.fault(why);
                    let _ = stream.write_all(&answer("GET")).await;
                    let _ = stream.flush().await;
                    return;
                }
            };
            if let Some(key) = key(&head) {
                self.count(|seen| seen.whole += 1);
                return self.frames(stream, &key).await;
            }
            let reply = self.reply.lock().unwrap().clone();
            // Whoever says something else does not wait for the body.
            let whole = match (&reply, length) {
                (Some(_), _) => Some(()),
                (None, Length::Bytes(count)) => exactly(&mut stream, &mut bytes, count).await,
                (None, Length::Chunks) => chunks(&mut stream, &mut bytes).await,
            };
            if whole.is_none() {
                return;
            }
            self.count(|seen| seen.whole += 1);
            let method = String::from_utf8_lossy(&head);
            let method = method.split(' ').next().unwrap_or_default();
            let reply = reply.unwrap_or_else(|| answer(method));
            if stream.write_all(&reply).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
    }

    /// Agrees to a WebSocket, and counts its messages.
    async fn frames(&self, mut stream: impl Duplex, key: &str) {
        let agreed = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        );
        let mut bytes = Vec::new();
        let _ = stream.write_all(agreed.as_bytes()).await;
        let _ = stream.flush().await;
        loop {
            if fill(&mut stream, &mut bytes, 2).await.is_none() {
                return;
            }
            let (kind, first) = (bytes[0] & 15, bytes[1]);
            let (wide, short) = match first & 127 {
                126 => (2, 0),
                127 => (8, 0),
                short => (0, usize::from(short)),
            };
            if fill(&mut stream, &mut bytes, 2 + wide).await.is_none() {
                return;
            }
            let long = bytes[2..2 + wide]
                .iter()
                .fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
            let mask = usize::from(first >> 7) * 4;
            let whole = 2 + wide + mask + short + long;
            if exactly(&mut stream, &mut bytes, whole).await.is_none() {
                return;
            }
            match kind {
                // By how it begins.
                1 | 2 => self.count(|seen| seen.messages += 1),
                8 => {
                    let _ = stream.write_all(&[0x88, 0]).await;
                    let _ = stream.flush().await;
                    return;
                }
                _ => {}
            }
        }
    }
}

fn is_no_tls(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    inner.is_some_and(|inner| !matches!(inner, rustls::Error::AlertReceived(_)))
}

fn answer(method: &str) -> Vec<u8> {
    let body = if method == "HEAD" { "" } else { "ok" };
    format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}").into_bytes()
}

/// The key of whoever asks for a WebSocket.
fn key(head: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(head);
    let value = |wanted: &str| {
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then_some(value.trim())
        })
    };
    value("upgrade")?
        .eq_ignore_ascii_case("websocket")
        .then_some(())?;
    Some(value("sec-websocket-key")?.to_owned())
}

/// Reads until there are so many bytes.
async fn fill(stream: &mut impl Duplex, bytes: &mut Vec<u8>, count: usize) -> Option<()> {
    while bytes.len() < count {
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(())
}

/// Takes so many bytes away.
async fn exactly(stream: &mut impl Duplex, bytes: &mut Vec<u8>, count: usize) -> Option<()> {
    fill(stream, bytes, count).await?;
    bytes.drain(..count);
    Some(())
}

async fn head(stream: &mut impl Duplex, bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            return Some(bytes.drain(..at + 4).collect());
        }
        // Lines without CR are a head to some.
        if let Some(at) = bytes.windows(2).position(|end| end == b"\n\n") {
            return Some(bytes.drain(..at + 2).collect());
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

async fn chunks(stream: &mut impl Duplex, bytes: &mut Vec<u8>) -> Option<()> {
    loop {
        let size = usize::from_str_radix(&line(stream, bytes).await?, 16).ok()?;
        if size == 0 {
            while !line(stream, bytes).await?.is_empty() {}
            return Some(());
        }
        exactly(stream, bytes, size + 2).await?;
    }
}

async fn line(stream: &mut impl Duplex, bytes: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(at) = bytes.windows(2).position(|end| end == b"\r\n") {
            let line: Vec<_> = bytes.drain(..at + 2).collect();
            return String::from_utf8(line[..at].to_vec()).ok();
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

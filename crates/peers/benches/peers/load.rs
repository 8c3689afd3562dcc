//! A client that does as little as it can.

use std::{sync::Arc, time::Instant};

use bytes::{Buf as _, BytesMut};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::Failure;

/// Where requests go, and through what.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) name: String,
    pub(crate) proxy: Option<u16>,
    pub(crate) origin: u16,
    pub(crate) trust: Arc<ClientConfig>,
}

/// A connection that is kept.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    bytes: BytesMut,
    host: String,
}

enum Length {
    Bytes(usize),
    Chunks,
}

impl Connection {
    pub(crate) async fn open(route: &Route) -> Result<Self, Failure> {
        let host = format!("{}:{}", route.name, route.origin);
        let mut stream =
            TcpStream::connect(("127.0.0.1", route.proxy.unwrap_or(route.origin))).await?;
        stream.set_nodelay(true)?;
        if route.proxy.is_some() {
            let request = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                answer.push(stream.read_u8().await?);
            }
            if !answer.starts_with(b"HTTP/1.1 200") {
                return Err(String::from_utf8_lossy(&answer).into_owned().into());
            }
        }
        let name = ServerName::try_from(route.name.clone())?;
        let stream = TlsConnector::from(Arc::clone(&route.trust))
            .connect(name, stream)
            .await?;
        Ok(Self {
            stream,
            bytes: BytesMut::with_capacity(128 << 10),
            host,
        })
    }

    /// Asks for a path; how many bytes the answer's body has.
    pub(crate) async fn get(&mut self, path: &str) -> Result<usize, Failure> {
        self.ask(path).await?;
        match self.head().await? {
            Length::Bytes(count) => {
                self.skip(count).await?;
                Ok(count)
            }
            Length::Chunks => {
                let mut all = 0;
                loop {
                    let size = self.size().await?;
                    self.skip(size + 2).await?;
                    all += size;
                    if size == 0 {
                        return Ok(all);
                    }
                }
            }
        }
    }

    pub(crate) async fn ask(&mut self, path: &str) -> Result<(), Failure> {
        self.say("GET", path).await
    }

    pub(crate) async fn say(&mut self, method: &str, path: &str) -> Result<(), Failure> {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// Reads until the connection ends.
    pub(crate) async fn drain(&mut self) {
        self.bytes.clear();
        while let Ok(1..) = self.stream.read_buf(&mut self.bytes).await {
            self.bytes.clear();
        }
    }

    /// Reads something.
    pub(crate) async fn some(&mut self) -> Result<(), Failure> {
        match self.stream.read_buf(&mut self.bytes).await? {
            0 => Err("the connection ended".into()),
            _ => Ok(()),
        }
    }

    /// The beginning of an answer.
    pub(crate) async fn status(&mut self) -> Result<String, Failure> {
        while self.bytes.len() < b"HTTP/1.1 200".len() {
            self.some().await?;
        }
        Ok(String::from_utf8_lossy(&self.bytes).into_owned())
    }

    async fn head(&mut self) -> Result<Length, Failure> {
        let end = loop {
            if let Some(at) = self.bytes.windows(4).position(|end| end == b"\r\n\r\n") {
                break at;
            }
            self.some().await?;
        };
        let head = String::from_utf8_lossy(&self.bytes[..end]).to_ascii_lowercase();
        self.bytes.advance(end + 4);
        if !head.starts_with("http/1.1 200") {
            return Err(head.into());
        }
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        Ok(match length {
            Some(length) => Length::Bytes(length.trim().parse()?),
            None => Length::Chunks,
        })
    }

    async fn size(&mut self) -> Result<usize, Failure> {
        let end = loop {
            if let Some(at) = self.bytes.windows(2).position(|end| end == b"\r\n") {
                break at;
            }
            self.some().await?;
        };
        let size = usize::from_str_radix(std::str::from_utf8(&self.bytes[..end])?, 16)?;
        self.bytes.advance(end + 2);
        Ok(size)
    }

    async fn skip(&mut self, mut count: usize) -> Result<(), Failure> {
        loop {
            let now = count.min(self.bytes.len());
            self.bytes.advance(now);
            count -= now;
            if count == 0 {
                return Ok(());
            }
            self.some().await?;
        }
    }
}

/// Requests a second over so many kept connections, and how many there were with the first of each.
pub(crate) async fn rate(
    route: &Route,
    connections: usize,
    seconds: f64,
) -> Result<(f64, f64), Failure> {
    let mut open = Vec::new();
    for _ in 0..connections {
        let mut connection = Connection::open(route).await?;
        connection.get("/").await?;
        open.push(connection);
    }
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for mut connection in open {
        tasks.spawn(async move {
            let mut count = 0_u32;
            while began.elapsed().as_secs_f64() < seconds {
                connection.get("/").await?;
                count += 1;
            }
            Ok::<_, Failure>(count)
        });
    }
    let mut all = 0.0;
    while let Some(count) = tasks.join_next().await {
        all += f64::from(count??);
    }
    let rate = all / began.elapsed().as_secs_f64();
    Ok((rate, all + connections as f64))
}

/// How long each request takes on one kept connection, in microseconds.
pub(crate) async fn latencies(route: &Route, seconds: f64) -> Result<Vec<f64>, Failure> {
    let mut connection = Connection::open(route).await?;
    connection.get("/").await?;
    let (began, mut all) = (Instant::now(), Vec::new());
    while began.elapsed().as_secs_f64() < seconds {
        let asked = Instant::now();
        connection.get("/").await?;
        all.push(asked.elapsed().as_secs_f64() * 1e6);
    }
    Ok(all)
}

/// How long a new connection takes to its first answer, in microseconds.
pub(crate) async fn fresh(route: &Route, count: usize) -> Result<Vec<f64>, Failure> {
    let mut all = Vec::new();
    for _ in 0..count {
        let asked = Instant::now();
        Connection::open(route).await?.get("/").await?;
        all.push(asked.elapsed().as_secs_f64() * 1e6);
    }
    Ok(all)
}

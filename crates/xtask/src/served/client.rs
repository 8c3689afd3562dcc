//! A small HTTP client on the gateway's socket or over a network, which keeps its connection.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// One connection, made anew when it is gone.
#[derive(Debug)]
pub(crate) struct Client {
    place: Place,
    sender: Option<http1::SendRequest<Full<Bytes>>>,
}

/// Where a gateway is heard.
#[derive(Clone, Debug)]
enum Place {
    Socket(PathBuf),
    /// Over a network, with an API key.
    Network(SocketAddr, String),
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// The `Server-Timing` header.
    pub(crate) timings: Option<String>,
}

impl Client {
    /// A client that connects when it has something to send. Needs a tokio runtime then.
    pub(crate) fn new(socket: &Path) -> Self {
        Self {
            place: Place::Socket(socket.to_owned()),
            sender: None,
        }
    }

    /// The same over a network.
    pub(crate) fn over_network(address: SocketAddr, key: &str) -> Self {
        Self {
            place: Place::Network(address, key.to_owned()),
            sender: None,
        }
    }

    /// Connects, unless it is connected.
    pub(crate) async fn connect(&mut self) -> Result<()> {
        if self.sender.as_ref().is_none_or(|sender| sender.is_closed()) {
            self.sender = Some(match &self.place {
                Place::Socket(socket) => over(UnixStream::connect(socket).await?).await?,
                Place::Network(address, _) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    over(stream).await?
                }
            });
        }
        Ok(())
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer> {
        self.connect().await.context("cannot connect")?;
        let sender = self.sender.as_mut().context("there is no connection")?;
        let mut request = Request::builder();
        if let Place::Network(_, key) = &self.place {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let request = request
            .method(method)
            .uri(path)
            .header(header::HOST, "casemate")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body.into()))?;
        let sent = async {
            sender.ready().await?;
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            let timings = response.headers().get("server-timing");
            let timings = timings.and_then(|timings| timings.to_str().ok());
            let timings = timings.map(str::to_owned);
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Answer {
                status,
                body,
                timings,
            })
        };
        let answer = sent.await;
        if answer.is_err() {
            self.sender = None;
        }
        Ok(answer?)
    }

    /// Sends JSON.
    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Result<Answer> {
        self.send("POST", path, body.to_string()).await
    }
}

/// HTTP over a connection.
async fn over<S>(stream: S) -> Result<http1::SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

impl Answer {
    /// The body as JSON; nothing is `null`.
    pub(crate) fn json(&self) -> Result<Value> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body).context("the answer is not JSON")
    }

    /// The body of an answer that says that all went well.
    pub(crate) fn success(&self) -> Result<Value> {
        ensure!(
            (200..300).contains(&self.status),
            "{}: {}",
            self.status,
            String::from_utf8_lossy(&self.body)
        );
        self.json()
    }
}

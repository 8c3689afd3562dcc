//! A small HTTP client on the gateway's socket, which keeps its connection.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// One connection, made anew when it is gone.
#[derive(Debug)]
pub(crate) struct Client {
    socket: PathBuf,
    sender: Option<http1::SendRequest<Full<Bytes>>>,
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
            socket: socket.to_owned(),
            sender: None,
        }
    }

    /// Connects, unless it is connected.
    pub(crate) async fn connect(&mut self) -> Result<()> {
        if self.sender.as_ref().is_none_or(|sender| sender.is_closed()) {
            let stream = UnixStream::connect(&self.socket).await?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            self.sender = Some(sender);
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
        let request = Request::builder()
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

//! One HTTP request on the gateway's socket.

use std::{env, future::Future, path::PathBuf};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http_body::Body;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, Response, StatusCode, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::UnixStream, runtime::Builder};

use crate::{
    exit::Exit,
    report::{self, Failure},
    serve::socket_in,
    state,
};

/// The largest answer that is read as a whole.
const MAX_ANSWER_BYTES: usize = 2 << 30;

/// Where the gateway is, if the caller says.
#[derive(Debug, clap::Args)]
pub(crate) struct Gateway {
    /// The gateway's socket, if it is not in the state directory
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Gateway {
    /// Connects.
    pub(crate) async fn connect(&self) -> Result<UnixStream, Failure> {
        // The variable by which the gateway itself is told.
        let told = env::var_os("CASEMATE_SOCKET").filter(|path| !path.is_empty());
        let socket = match self.socket.clone().or(told.map(PathBuf::from)) {
            Some(socket) => socket,
            None => socket_in(&state::path()?),
        };
        UnixStream::connect(&socket).await.map_err(|error| {
            Failure::failed(error)
                .context(format!("no gateway listens on `{}`", socket.display()))
                .hint("start one: `casemate up`, or `casemate serve`")
        })
    }

    /// Sends one request.
    pub(crate) async fn send<B>(&self, request: Request<B>) -> Result<Response<Incoming>, Failure>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = self.connect().await?;
        let sent = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            anyhow::Ok(sender.send_request(request).await?)
        };
        sent.await
            .map_err(|error| Failure::failed(error).context("the gateway does not answer"))
    }

    /// Sends one request without a body or with one in JSON, for an answer in JSON.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let response = self.send(request(method, path, body)?).await?;
        let status = response.status();
        let body = read(response).await?;
        if status.is_success() {
            return Ok(body);
        }
        Err(problem(status, &body))
    }
}

/// A request in JSON.
pub(crate) fn request(
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<Request<Full<Bytes>>, Failure> {
    let content = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "casemate")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(content.into()))
        .map_err(Failure::usage)
}

/// The whole of an answer; nothing is `null`.
pub(crate) async fn read(response: Response<Incoming>) -> Result<Value, Failure> {
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES);
    let body = body.collect().await.map_err(|error| {
        Failure::failed(anyhow!(error)).context("the gateway's answer was cut off")
    })?;
    let bytes = body.to_bytes();
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&bytes)
        .context("the gateway's answer is not JSON")
        .map_err(Failure::failed)
}

/// What the gateway says went wrong.
pub(crate) fn problem(status: StatusCode, body: &Value) -> Failure {
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let code = text("code").unwrap_or("failed");
    let detail = text("detail").unwrap_or_default();
    let error = anyhow!("{code}: {detail}");
    let failure = match text("code") {
        None if !status.is_client_error() => Failure::failed(error),
        _ => Failure::refused(error).exits(exit_of(code)),
    };
    match text("hint") {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// What a problem of this code means for how we exit: as `casemate run` does.
pub(crate) fn exit_of(code: &str) -> Exit {
    match code {
        "isolation_unavailable" => Exit::NoSandbox,
        "record_unavailable" | "failed" | "file_failed" => Exit::Failed,
        _ => Exit::Refused,
    }
}

/// Runs a client.
pub(crate) fn block_on<F: Future<Output = Result<Exit, Failure>>>(
    client: F,
) -> Result<Exit, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(error).context("cannot start"))?;
    let done = runtime.block_on(client);
    // A thread that reads a terminal would not let it end.
    runtime.shutdown_background();
    done
}

/// A word as a part of a path or a query.
pub(crate) fn encoded(word: &str) -> String {
    let mut text = String::with_capacity(word.len());
    for byte in word.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'/') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Prints JSON.
pub(crate) fn print(value: &Value) -> Result<Exit, Failure> {
    report::print(format_args!("{value}\n"))?;
    Ok(Exit::Success)
}

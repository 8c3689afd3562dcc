//! `casemate session shell`: a terminal in a session.

use std::io::{self, IsTerminal as _, Read as _};

use anyhow::anyhow;
use casemate_model::Stream;
use futures_util::{SinkExt as _, StreamExt as _};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::{Value, json};
use tokio::{
    net::UnixStream,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use super::session::Who;
use crate::{
    exit::Exit,
    report::{self, Failure},
    run::write_stream,
};

/// How much of the terminal is read at once.
const CHUNK_BYTES: usize = 4_096;

/// Gives the terminal back as it was.
struct Raw(Termios);

impl Raw {
    fn set() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is nobody whom one could tell.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

fn size() -> (u16, u16) {
    match tcgetwinsize(io::stdin()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
        _ => (24, 80),
    }
}

pub(super) async fn open(who: &Who, session: &str) -> Result<Exit, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(anyhow!("standard input is not a terminal")));
    }
    let (rows, columns) = size();
    let path = format!("{}&rows={rows}&columns={columns}", who.terminal(session));
    let request = format!("ws://casemate{path}")
        .into_client_request()
        .map_err(Failure::usage)?;
    let stream = who.gateway.connect().await?;
    let connected = client_async(request, stream).await;
    let (socket, _) = connected
        .map_err(|error| Failure::failed(error).context("the gateway opens no terminal"))?;
    let raw = Raw::set().map_err(Failure::failed)?;
    let ended = attend(socket).await;
    drop(raw);
    let ended = ended?;
    match ended.get("code").and_then(Value::as_str) {
        Some(code) => {
            let detail = ended.get("detail").and_then(Value::as_str);
            Err(Failure::refused(anyhow!(
                "{code}: {}",
                detail.unwrap_or_default()
            )))
        }
        None => {
            report::line("the terminal is closed");
            Ok(Exit::Success)
        }
    }
}

/// Passes bytes both ways until the shell ends.
async fn attend(mut socket: WebSocketStream<UnixStream>) -> Result<Value, Failure> {
    let (typed, mut keys) = mpsc::channel::<Vec<u8>>(16);
    std::thread::spawn(move || {
        let mut buffer = [0; CHUNK_BYTES];
        while let Ok(count @ 1..) = io::stdin().lock().read(&mut buffer) {
            let bytes = buffer.get(..count).unwrap_or_default().to_vec();
            if typed.blocking_send(bytes).is_err() {
                return;
            }
        }
    });
    let failed = |error| Failure::failed(anyhow::Error::new(error)).context("the terminal broke");
    let mut resized = signal(SignalKind::window_change()).map_err(Failure::failed)?;
    loop {
        let message = tokio::select! {
            Some(bytes) = keys.recv() => Message::Binary(bytes.into()),
            Some(()) = resized.recv() => {
                let (rows, columns) = size();
                let text = json!({ "resize": { "rows": rows, "columns": columns } });
                Message::Text(text.to_string().into())
            }
            message = socket.next() => match message.transpose().map_err(failed)? {
                Some(Message::Binary(bytes)) => {
                    write_stream(Stream::Stdout, &bytes).map_err(Failure::failed)?;
                    continue;
                }
                Some(Message::Text(text)) => {
                    let value: Value = serde_json::from_str(&text).map_err(Failure::failed)?;
                    return Ok(value.get("ended").cloned().unwrap_or_default());
                }
                Some(Message::Close(_)) | None => {
                    return Err(Failure::failed(anyhow!("the gateway went away")));
                }
                Some(_) => continue,
            },
        };
        socket.send(message).await.map_err(failed)?;
    }
}

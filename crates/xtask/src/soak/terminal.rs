//! A terminal, over a WebSocket.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{net::UnixStream, time::timeout};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use super::{
    actor::{Actor, Came},
    check,
};

/// How long a shell has to say something.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of a terminal.
enum Seen {
    /// It did what it should, and ended with this.
    Ended(Value),
    /// It was left in the middle.
    Left,
}

/// Opens one, lets it compute something, and ends it or goes away.
pub(super) async fn terminal(actor: &mut Actor) {
    let thread = actor.thread("thread");
    let agent = actor.agent();
    let body = json!({ "agent": agent, "route": "thread", "thread": thread }).to_string();
    let opened = actor
        .ask("terminal", ("POST", "/v1/sessions"), body, &[])
        .await;
    let Came::Good(opened) = opened else { return };
    let session = opened
        .get("session")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let address =
        format!("ws://casemate/v1/sessions/{session}/terminal?agent={agent}&route=thread");
    let leaves = actor.random.u32(0..4) == 0;
    let began = Instant::now();
    let sat = async {
        let stream = UnixStream::connect(actor.world.socket()).await?;
        let (socket, _) = client_async(address, stream).await?;
        if leaves {
            return Ok(Seen::Left);
        }
        sit(socket).await
    };
    let seen = match timeout(PATIENCE, sat).await {
        Ok(seen) => seen,
        Err(_) => Err(anyhow::anyhow!("nothing for {} s", PATIENCE.as_secs())),
    };
    let deaths = actor.world.deaths(began);
    match seen {
        Ok(Seen::Ended(ended)) => {
            let code = ended.get("code").and_then(Value::as_str);
            let status = ended
                .get("status")
                .and_then(Value::as_u64)
                .unwrap_or_default();
            let known = match code {
                None => ended.get("exit_code") == Some(&json!(7)),
                Some(code) => {
                    let status = u16::try_from(status).unwrap_or_default();
                    // A thread whose session was taken is told so at its next call.
                    let gone = code == "session_gone" && actor.world.took_sessions();
                    check::problem(&ended, status).is_some()
                        && (gone || check::is_excused(code, &deaths))
                }
            };
            if !known && deaths.is_empty() {
                actor.fault(format!("terminal: ended with {ended}"));
            }
            actor
                .world
                .count("terminal", code.unwrap_or("ended").to_owned());
        }
        Ok(Seen::Left) => actor.world.count("terminal", "left"),
        Err(error) => {
            if deaths.is_empty() {
                actor.fault(format!("terminal: {error:#}"));
            }
            actor.world.count("terminal", "cut off");
        }
    }
}

async fn sit(mut socket: WebSocketStream<UnixStream>) -> Result<Seen> {
    let resize = json!({ "resize": { "rows": 30, "columns": 100 } });
    socket
        .send(Message::Text(resize.to_string().into()))
        .await?;
    let line = "stty size; echo sum$((20 + 22)); exit 7\n";
    socket.send(Message::Binary(line.as_bytes().into())).await?;
    let mut shown = Vec::new();
    while let Some(message) = socket.next().await {
        match message? {
            Message::Binary(bytes) => shown.extend_from_slice(&bytes),
            Message::Text(text) => {
                let mut told: Value = serde_json::from_str(text.as_str())?;
                let ended = told.get_mut("ended").map(Value::take).unwrap_or_default();
                let shown = String::from_utf8_lossy(&shown);
                let exited = ended.get("cause") == Some(&json!("completed"));
                if exited && !(shown.contains("sum42") && shown.contains("30 100")) {
                    bail!("it showed {shown:?}");
                }
                return Ok(Seen::Ended(ended));
            }
            _ => {}
        }
    }
    bail!(
        "it ended without a word, after {:?}",
        String::from_utf8_lossy(&shown)
    )
}

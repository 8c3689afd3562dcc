//! A tunnel to a port of a session: the bytes of its connection, in binary messages.

use std::sync::Arc;

use axum::{
    extract::{
        State,
        ws::{Message, WebSocket},
    },
    response::Response,
};
use casemate_gateway::Done;
use casemate_ports::Connection;

use crate::{
    extract::{Asked, Named, Upgrade},
    limits::MAX_MESSAGE_BYTES,
    owner::{OfAgent, named},
    pipe::Pipe,
    problem::Problem,
    routes::{Keeps, Remembers},
    sessions::session,
    state::Api,
    who::Who,
};

/// `GET /v1/sessions/{id}/ports/{port}`
pub(crate) async fn connect<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named((id, port)): Named<(String, u16)>,
    Asked(OfAgent { agent }): Asked<OfAgent>,
    Upgrade(upgrade): Upgrade,
) -> Result<Response, Problem> {
    let (caller, session) = (who.caller(agent), session(&id)?);
    let connected =
        api.with(move |sessions| async move { sessions.connect(&caller, session, port).await });
    let Done { decision, value } = connected.await??;
    let upgrade = upgrade.max_message_size(MAX_MESSAGE_BYTES);
    let response = upgrade.on_upgrade(move |socket| tunnel(socket, value));
    Ok(named(decision, response))
}

async fn tunnel(mut socket: WebSocket, connection: Connection) {
    let Connection { to, mut from } = connection;
    let mut pipe = Pipe::new(to);
    loop {
        tokio::select! {
            bytes = from.recv() => match bytes {
                Some(bytes) => {
                    if socket.send(Message::Binary(bytes.into())).await.is_err() {
                        return;
                    }
                }
                None => {
                    drop(socket.send(Message::Close(None)).await);
                    return;
                }
            },
            () = pipe.pass(), if pipe.is_waiting() => {}
            message = socket.recv(), if !pipe.is_waiting() => match message {
                Some(Ok(Message::Binary(bytes))) => pipe.put(bytes.to_vec()),
                // The end of this direction; the other goes on.
                Some(Ok(Message::Text(text))) if text.as_str() == "end" => pipe.close(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Text(_) | Message::Close(_)) | Err(_)) | None => return,
            },
        }
    }
}

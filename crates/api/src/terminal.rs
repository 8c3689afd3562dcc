//! A terminal in a session: a shell as a call like any other, over a WebSocket.
//!
//! Binary messages are bytes of the terminal, in both directions. Text messages are JSON: from the client
//! `{"resize":{"rows":24,"columns":80}}`, `{"signal":15}` or `{"end":true}`; to it, at last, `{"ended":…}` with the call's
//! answer or problem.

use std::sync::Arc;

use axum::{
    extract::{
        State,
        ws::{Message, WebSocket},
    },
    response::Response,
};
use casemate_gateway::{Answer, Ask, Demand, Key, Told};
use casemate_model::{Limits, Within};
use casemate_ports::{Command, Control, Event, TerminalSize};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::{
    extract::{Asked, Named, Upgrade},
    limits::MAX_MESSAGE_BYTES,
    openapi::AgentName,
    owner::{agent, local},
    pipe::Pipe,
    problem::Problem,
    request::Size,
    routes::{Keeps, Remembers},
    sessions::session,
    state::{Api, Begun},
    who::Who,
};

/// The highest number of a signal.
pub(crate) const MAX_SIGNAL: u8 = 64;

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct TerminalQuery {
    #[serde(default = "local", deserialize_with = "agent")]
    #[schemars(with = "AgentName")]
    agent: String,
    #[serde(default = "rows")]
    rows: u16,
    #[serde(default = "columns")]
    columns: u16,
    #[serde(default = "bash")]
    command: String,
    route: Option<String>,
    timeout_ms: Option<u64>,
}

const fn rows() -> u16 {
    24
}

const fn columns() -> u16 {
    80
}

fn bash() -> String {
    "bash".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Wish {
    Resize(Size),
    Signal(u8),
    End(bool),
}

/// `GET /v1/sessions/{id}/terminal`
pub(crate) async fn open<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    Asked(query): Asked<TerminalQuery>,
    Upgrade(upgrade): Upgrade,
) -> Result<Response, Problem> {
    let session = session(&id)?;
    let within = Within {
        session: Some(session),
        ..Within::default()
    };
    let owner = who.owner(query.agent.clone());
    let policy = api
        .sessions
        .policy_for(&owner, query.route.as_deref(), Some(&within));
    let ceiling = policy.map(|policy| policy.sandbox.limits);
    let given = ceiling.map_or_else(Limits::default, |ceiling| Limits {
        // A person sits at it: the clock and the output of a call are not meant for that.
        wall_ms: ceiling.wall_ms,
        output_bytes: ceiling.output_bytes,
        ..Limits::default().at_most(&ceiling)
    });
    let ask = Ask {
        agent: query.agent,
        tool: "shell".to_owned(),
        command: Command {
            argv: vec![query.command.into()],
            terminal: Some(TerminalSize {
                rows: query.rows,
                columns: query.columns,
            }),
            ..Command::default()
        },
        code: None,
        limits: Limits {
            wall_ms: query.timeout_ms.unwrap_or(given.wall_ms),
            ..given
        },
        within: Some(within),
        destination: None,
        key: Key::Own,
        trace_id: None,
    };
    let upgrade = upgrade.max_message_size(MAX_MESSAGE_BYTES);
    let route = query.route;
    Ok(upgrade.on_upgrade(async move |mut socket| {
        match api.begin(&who, ask, Vec::new(), route, Demand::default()) {
            Ok(begun) => attend(socket, begun).await,
            Err(problem) => {
                let text = json!({ "ended": problem }).to_string();
                drop(socket.send(Message::Text(text.into())).await);
            }
        }
    }))
}

/// Passes bytes both ways until the call or the connection ends. When the connection ends, the call does.
async fn attend(mut socket: WebSocket, begun: Begun) {
    let Begun {
        call,
        stdin,
        control,
        mut events,
    } = begun;
    let mut pipe = Pipe::new(stdin);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(Event::Output(_, bytes)) => {
                    if socket.send(Message::Binary(bytes.into())).await.is_err() {
                        return;
                    }
                }
                None => break,
            },
            () = pipe.pass(), if pipe.is_waiting() => {}
            message = socket.recv(), if !pipe.is_waiting() => match message {
                Some(Ok(Message::Binary(bytes))) => pipe.put(bytes.to_vec()),
                Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                    // A program that takes no word any more has ended.
                    Ok(Wish::Resize(size)) => {
                        control.try_send(Control::Resize(size.into())).unwrap_or_default();
                    }
                    Ok(Wish::Signal(number)) if (1..=MAX_SIGNAL).contains(&number) => {
                        control.try_send(Control::Deliver(number)).unwrap_or_default();
                    }
                    Ok(Wish::End(true)) => pipe.close(),
                    // Whoever cannot be understood is not obeyed in part.
                    Ok(Wish::Signal(_) | Wish::End(false)) | Err(_) => return,
                },
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
        }
    }
    let told = call.ended().await;
    let ended = match &*told {
        Told::Released(released) => {
            let output = released.replayed().cloned().unwrap_or_default();
            json!(Answer::released(released, output))
        }
        told => json!(Problem::of_call(told)),
    };
    let text = json!({ "ended": ended }).to_string();
    if socket.send(Message::Text(text.into())).await.is_ok() {
        drop(socket.send(Message::Close(None)).await);
    }
}

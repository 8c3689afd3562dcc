//! Attaching to a call that runs, over a WebSocket.
//!
//! To the client, a binary message is one byte that names a stream (1 standard output, 2 standard error, 3 results) and bytes of it; text
//! messages are JSON: first `{"attached":{"decision":…,"drives":…}}`, `{"missed":…}` for pieces that are not kept any more, and at
//! last `{"ended":…}` with the call's answer or problem. From it, binary messages are bytes of standard input, and text messages
//! `{"resize":{"rows":24,"columns":80}}`, `{"signal":15}`, `{"end":true}` and `{"detach":true}`.
//!
//! Who made a call with `attach` and is the first to attach to it drives it: has its standard input, which is on record before, and takes
//! the call along by going away, unless it detaches. Others look on, and may signal.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{
        State,
        ws::{Message, WebSocket},
    },
    response::Response,
};
use casemate_callers::Permission;
use casemate_gateway::{Answer, Maker, Operation, Pieces, RunningCall, Told};
use casemate_model::{Reason, Stream};
use casemate_ports::Control;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, interval_at, timeout},
};

use crate::{
    calls::{From, find},
    extract::{Asked, Named, Upgrade},
    limits::{ATTACHED_CHECK_MS, ATTACHED_SEND_MS, MAX_MESSAGE_BYTES},
    pipe::Pipe,
    problem::Problem,
    request::Size,
    routes::{Keeps, Remembers},
    state::Api,
    terminal::MAX_SIGNAL,
    who::Who,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Wish {
    Resize(Size),
    Signal(u8),
    End(bool),
    Detach(bool),
}

/// `GET /v1/calls/{id}/attach`
pub(crate) async fn open<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    Asked(From { from }): Asked<From>,
    Upgrade(upgrade): Upgrade,
) -> Result<Response, Problem> {
    let call = find(&api, &who, &id)?;
    may_attend(&api, &who, &call)?;
    let upgrade = upgrade.max_message_size(MAX_MESSAGE_BYTES);
    Ok(upgrade.on_upgrade(async move |socket| {
        let mut attached = Attached::to(call, socket, &Maker::of(&who.claims()));
        attached.attend(&api, &who, from).await;
    }))
}

/// Whether no switch stops whoever comes to a call.
fn may_attend<K: Keeps, P: Remembers>(
    api: &Api<K, P>,
    who: &Who,
    call: &RunningCall,
) -> Result<(), Problem> {
    let may = api.sessions.may_attend(&who.claims(), call);
    may.map_err(|why| Problem::of_reason(Reason::KillSwitch, why))
}

/// Whether whoever is attached is still believed, and not stopped.
async fn still_may<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    who: &Who,
    call: &RunningCall,
) -> bool {
    may_attend(api, who, call).is_ok() && api.still_may(who, Permission::RunCalls).await
}

/// Puts on record who drives a call, before they do.
async fn record<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    who: &Who,
    call: &RunningCall,
) -> Result<(), Problem> {
    let attached = Operation {
        what: "call.attach",
        reason: Reason::Allowed,
        detail: format!("attached to {}, drives", call.id),
        alert: false,
        subject: json!({ "call": call.id, "drives": true }),
    };
    let claims = who.claims();
    let noted = api.blocking(move |api| api.sessions.journal().note(attached, &claims));
    let noted = noted.await?;
    noted.map(drop).map_err(|error| Problem::of_record(&error))
}

/// A client that is attached. Dropped while it drives the call, it takes the call along.
struct Attached {
    call: Arc<RunningCall>,
    socket: WebSocket,
    pipe: Option<Pipe>,
    /// The standard input, to give it back.
    stdin: Option<mpsc::Sender<Vec<u8>>>,
    drives: bool,
}

/// Passes on what waits, if something does.
async fn pass(pipe: Option<&mut Pipe>) {
    match pipe {
        Some(pipe) => pipe.pass().await,
        None => std::future::pending().await,
    }
}

/// How it goes on after something that a client wants.
enum Next {
    Go,
    Leave,
}

impl Drop for Attached {
    fn drop(&mut self) {
        if self.drives {
            self.call.cancel();
            // Its input stays open until it has ended: a program is not told that there is no more when it is interrupted.
            if let Some(stdin) = self.stdin.take() {
                self.call.keep_stdin(stdin);
            }
        }
    }
}

impl Attached {
    fn to(call: Arc<RunningCall>, socket: WebSocket, by: &Maker) -> Self {
        let stdin = call.take_stdin(by);
        Self {
            pipe: stdin.clone().map(Pipe::new),
            drives: stdin.is_some(),
            call,
            socket,
            stdin,
        }
    }

    /// Passes everything on until the call has ended, the client leaves, or it is not believed any more.
    async fn attend<K: Keeps, P: Remembers>(&mut self, api: &Arc<Api<K, P>>, who: &Who, from: u64) {
        if self.drives
            && let Err(problem) = record(api, who, &self.call).await
        {
            // It was given nothing: the input stays for the next.
            self.leave();
            self.say(&json!({ "ended": problem })).await;
            return;
        }
        let begun = json!({ "attached": { "decision": self.call.id, "drives": self.drives } });
        if !self.say(&begun).await {
            return;
        }
        let call = Arc::clone(&self.call);
        let every = Duration::from_millis(ATTACHED_CHECK_MS);
        let mut checks = interval_at(Instant::now() + every, every);
        let mut next = from;
        loop {
            let waits = self.pipe.as_ref().is_some_and(Pipe::is_waiting);
            let passing = pass(self.pipe.as_mut().filter(|_| waits));
            tokio::select! {
                seen = call.wait(next) => {
                    next = seen.next;
                    match self.show(&seen).await {
                        false => return,
                        // What came between the look at the output and the end is not lost.
                        true => if let Some(told) = seen.told
                            && call.pieces(next).pieces.is_empty()
                        {
                            return self.conclude(&told).await;
                        }
                    }
                }
                () = passing => {}
                message = self.socket.recv(), if !waits => match message {
                    Some(Ok(message)) => match self.obey(message) {
                        Next::Go => {}
                        Next::Leave => return,
                    },
                    Some(Err(_)) | None => return,
                },
                _ = checks.tick() => {
                    if !still_may(api, who, &call).await {
                        return;
                    }
                    // Whoever is gone without a word is found out by this, also while its bytes wait.
                    if !self.send(Message::Ping(Vec::new().into())).await {
                        return;
                    }
                }
            }
        }
    }

    /// Does what a client wants. Whoever cannot be understood is not obeyed in part.
    fn obey(&mut self, message: Message) -> Next {
        let wish = match message {
            Message::Ping(_) | Message::Pong(_) => return Next::Go,
            Message::Close(_) => return Next::Leave,
            Message::Binary(bytes) => {
                return match &mut self.pipe {
                    Some(pipe) => {
                        pipe.put(bytes.to_vec());
                        Next::Go
                    }
                    None => Next::Leave,
                };
            }
            Message::Text(text) => serde_json::from_str(&text),
        };
        match wish {
            Ok(Wish::Resize(size)) => self.call.control_with(Control::Resize(size.into())),
            Ok(Wish::Signal(number)) if (1..=MAX_SIGNAL).contains(&number) => {
                self.call.control_with(Control::Deliver(number));
            }
            Ok(Wish::End(true)) if self.drives => {
                self.stdin = None;
                if let Some(pipe) = &mut self.pipe {
                    pipe.close();
                }
            }
            Ok(Wish::Detach(true)) => {
                self.leave();
                return Next::Leave;
            }
            Ok(_) | Err(_) => return Next::Leave,
        }
        Next::Go
    }

    /// Leaves the call to others.
    fn leave(&mut self) {
        self.drives = false;
        if let Some(stdin) = self.stdin.take() {
            self.call.keep_stdin(stdin);
        }
    }

    async fn show(&mut self, seen: &Pieces) -> bool {
        if seen.missed > 0 && !self.say(&json!({ "missed": seen.missed })).await {
            return false;
        }
        for (stream, bytes) in &seen.pieces {
            let number = match stream {
                Stream::Stdout => 1,
                Stream::Stderr => 2,
                Stream::Results => 3,
            };
            let mut message = Vec::with_capacity(bytes.len() + 1);
            message.push(number);
            message.extend_from_slice(bytes);
            if !self.send(Message::Binary(message.into())).await {
                return false;
            }
        }
        true
    }

    async fn conclude(&mut self, told: &Told) {
        // There is nothing left to take along.
        self.drives = false;
        let ended = match told {
            Told::Released(released) => {
                // What was sent already is not sent again; a repeat sent nothing.
                let output = released.replayed().cloned().unwrap_or_default();
                json!(Answer::released(released, output))
            }
            told => json!(Problem::of_call(told)),
        };
        if self.say(&json!({ "ended": ended })).await {
            self.send(Message::Close(None)).await;
        }
    }

    async fn say(&mut self, what: &Value) -> bool {
        self.send(Message::Text(what.to_string().into())).await
    }

    /// Whether the client took it, in time.
    async fn send(&mut self, message: Message) -> bool {
        let sending = self.socket.send(message);
        let patience = Duration::from_millis(ATTACHED_SEND_MS);
        matches!(timeout(patience, sending).await, Ok(Ok(())))
    }
}

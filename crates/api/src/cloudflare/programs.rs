//! Programs of a sandbox: each is a call of the tool `shell`, and its client is told when it could not be one.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use casemate_gateway::{Ask, Demand, Key, Told};
use casemate_model::{Cause, Exit, Limits, Reason, SessionId, Stream, Text, Within};
use casemate_ports::{Command, Event};
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::{
    limits::{MAX_E2B_ANSWER_BYTES, UPLOAD_PIECE_BYTES},
    owner::named,
    problem::Problem,
    routes::{Keeps, Remembers},
    sse::{frame, response},
    state::{Api, Begun},
    who::Who,
};

/// What is told of a program whose time was over, as `timeout` does.
const TIMED_OUT: u8 = 124;
/// What is added to the number of a signal.
const KILLED: u8 = 128;

/// What is told of a program that wrote more than it may.
const CUT_OFF: &str =
    "its output was cut off: raise `sandbox.limits.max_output_bytes` of the profile, or the quota";

/// A program to start.
pub(super) struct Program {
    pub(super) argv: Vec<Text>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) has_stdin: bool,
}

/// Where it is to run.
pub(super) struct Sandbox<K: Keeps, P: Remembers> {
    pub(super) api: Arc<Api<K, P>>,
    pub(super) agent: String,
    pub(super) session: SessionId,
}

/// A program that may run.
pub(super) struct Running(Begun);

impl<K: Keeps, P: Remembers> Sandbox<K, P> {
    pub(super) fn begun(&self, who: &Who, program: Program) -> Result<Running, Problem> {
        let within = Within {
            session: Some(self.session),
            ..Within::default()
        };
        let owner = who.owner(self.agent.clone());
        let policy = self.api.sessions.policy_for(&owner, None, Some(&within));
        let standard = Limits::default();
        let given = policy.map_or(standard, |policy| {
            let ceiling = policy.sandbox.limits;
            Limits {
                output_bytes: ceiling.output_bytes,
                ..standard.at_most(&ceiling)
            }
        });
        let ask = Ask {
            agent: self.agent.clone(),
            tool: "shell".to_owned(),
            command: Command {
                argv: program.argv,
                ..Command::default()
            },
            code: None,
            limits: Limits {
                // A bound, and no demand.
                wall_ms: program
                    .timeout_ms
                    .map_or(given.wall_ms, |ms| ms.clamp(1, given.wall_ms)),
                ..given
            },
            within: Some(within),
            destination: None,
            key: Key::Own,
            trace_id: None,
        };
        let demand = Demand {
            has_stdin: program.has_stdin,
            ..Demand::default()
        };
        let begun = self.api.begin(who, ask, Vec::new(), None, demand)?;
        Ok(Running(begun))
    }
}

impl Running {
    /// Waits until it runs.
    async fn started(&self) -> Result<(), Problem> {
        let call = &self.0.call;
        tokio::select! {
            biased;
            () = call.progress.started() => Ok(()),
            held = call.held() => match held {
                true => {
                    call.goes_unattended();
                    let detail = format!("a person has to approve it first, and it goes on by itself then: {}", call.id);
                    Err(Problem::of_reason(Reason::ApprovalRequired, detail))
                }
                false => Problem::of_call(&*call.ended().await).map_or(Ok(()), Err),
            },
        }
    }

    /// Its output as events, and how it ended.
    pub(super) async fn events(self) -> Result<Response, Problem> {
        self.started().await?;
        let Begun {
            call,
            stdin,
            control,
            mut events,
        } = self.0;
        drop(stdin);
        let id = call.id;
        let (sender, response) = response();
        tokio::spawn(async move {
            // Whoever goes away takes it along.
            let _control = control;
            while let Some(Event::Output(stream, bytes)) = tokio::select! {
                event = events.recv() => event,
                () = sender.closed() => return,
            } {
                let name = match stream {
                    Stream::Stdout => "stdout",
                    Stream::Stderr | Stream::Results => "stderr",
                };
                let bytes = BASE64_STANDARD.encode(bytes);
                let event = format!("event: {name}\ndata: {bytes}\n\n");
                if sender.send(event.into_bytes()).await.is_err() {
                    return;
                }
            }
            let last = match code(&*call.ended().await) {
                Ok(code) => frame("exit", None, &json!({ "exit_code": code })),
                Err(why) => frame("error", None, &json!({ "error": format!("{why} ({id})") })),
            };
            drop(sender.send(last).await);
        });
        Ok(named(id, response))
    }

    /// Everything that it writes, if it ends well.
    pub(super) async fn archive(self) -> Result<Response, Problem> {
        self.started().await?;
        let Begun {
            call,
            stdin,
            control: _control,
            mut events,
        } = self.0;
        drop(stdin);
        let (mut archive, mut said) = (Vec::new(), Vec::new());
        while let Some(Event::Output(stream, bytes)) = events.recv().await {
            match stream {
                Stream::Stdout => archive.extend(bytes),
                Stream::Stderr | Stream::Results => said.extend(bytes),
            }
            if archive.len() + said.len() > MAX_E2B_ANSWER_BYTES {
                return Err(Problem::failed(format!(
                    "the archive has more than {MAX_E2B_ANSWER_BYTES} bytes: leave something out with `excludes`"
                )));
            }
        }
        well(&*call.ended().await, &said)?;
        Ok(named(call.id, archive))
    }

    /// It takes a body, and ends well.
    pub(super) async fn taken(self, mut body: Body) -> Result<Response, Problem> {
        self.started().await?;
        let Begun {
            call,
            stdin,
            control: _control,
            mut events,
        } = self.0;
        let feeding = async move {
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|_| Problem::invalid("the archive was cut off"))?;
                let data = frame.into_data().unwrap_or_default();
                for piece in data.chunks(UPLOAD_PIECE_BYTES) {
                    // A program that ended says why.
                    drop(stdin.send(piece.to_vec()).await);
                }
            }
            Ok::<(), Problem>(())
        };
        let mut said = Vec::new();
        let hearing = async {
            while let Some(Event::Output(_, bytes)) = events.recv().await {
                if said.len() < UPLOAD_PIECE_BYTES {
                    said.extend(bytes);
                }
            }
        };
        let hearing = async {
            hearing.await;
            Ok::<(), Problem>(())
        };
        // Left here, the call goes with its streams.
        tokio::try_join!(feeding, hearing)?;
        well(&*call.ended().await, &said)?;
        let body = Json(json!({ "ok": true })).into_response();
        Ok(named(call.id, body))
    }
}

/// With what a program ended, as shells have it; or why what it wrote is not what its client has.
fn code(told: &Told) -> Result<u8, String> {
    let Told::Released(released) = told else {
        return Err("the call has no answer".to_owned());
    };
    let outcome = released.outcome();
    if outcome.output_truncated {
        return Err(CUT_OFF.to_owned());
    }
    match (outcome.cause, outcome.exit) {
        (Cause::TimedOut, _) => Ok(TIMED_OUT),
        (Cause::Completed | Cause::NotExecutable, Some(Exit::Code(code))) => Ok(code),
        (Cause::Completed, Some(Exit::Signal(signal))) => Ok(KILLED.saturating_add(signal)),
        (cause, _) => Err(cause.as_str().to_owned()),
    }
}

fn well(told: &Told, said: &[u8]) -> Result<(), Problem> {
    match code(told) {
        Ok(0) => Ok(()),
        Ok(code) => {
            let said: String = String::from_utf8_lossy(said).chars().take(400).collect();
            Err(Problem::invalid(format!(
                "the archive cannot be made or taken ({code}): {}",
                said.escape_debug()
            )))
        }
        Err(why) => Err(Problem::failed(why)),
    }
}

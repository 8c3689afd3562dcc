//! Programs in a sandbox: each is a call of the tool `shell`, with everything that comes with one.

use std::{collections::BTreeMap, sync::Arc};

use casemate_e2b::{Code, Fault};
use casemate_gateway::{Ask, Demand, Key, Told};
use casemate_model::{Cause, Exit, Limits, Outcome, Stream, Text, Trigger, Within};
use casemate_ports::{Command, Control, Event, TerminalSize};
use tokio::sync::mpsc;

use super::{faults::Failure, sandboxes::Sandbox};
use crate::{
    limits::MAX_E2B_ANSWER_BYTES,
    routes::{Keeps, Remembers},
    state::{Api, Begun},
    who::Who,
};

/// Where programs start that do not say where.
pub(super) const HOME: &str = "/home/user";

/// A program to start.
#[derive(Default)]
pub(super) struct Program {
    pub(super) argv: Vec<Text>,
    pub(super) variables: BTreeMap<String, Text>,
    pub(super) terminal: Option<TerminalSize>,
    pub(super) has_stdin: bool,
    pub(super) timeout_ms: Option<u64>,
}

/// The limits of a call in a sandbox: all that its profile gives, for as long as its client waits.
pub(super) fn limits<K: Keeps, P: Remembers>(
    api: &Api<K, P>,
    sandbox: &Sandbox,
    timeout_ms: Option<u64>,
) -> Limits {
    let within = Within {
        session: Some(sandbox.session),
        ..Within::default()
    };
    let policy = api.sessions.policy_for(&sandbox.owner, None, Some(&within));
    let standard = Limits::default();
    let given = policy.map_or(standard, |policy| {
        let ceiling = policy.sandbox.limits;
        Limits {
            // Clients of E2B keep servers going in the background, for as long as the sandbox lives.
            wall_ms: ceiling.wall_ms,
            output_bytes: ceiling.output_bytes,
            ..standard.at_most(&ceiling)
        }
    });
    Limits {
        wall_ms: timeout_ms.map_or(given.wall_ms, |ms| ms.min(given.wall_ms)),
        ..given
    }
}

/// Begins a program.
pub(super) fn begin<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    who: &Who,
    sandbox: &Sandbox,
    program: Program,
) -> Result<Begun, Failure> {
    let mut env = sandbox.variables.clone();
    env.extend(program.variables);
    let ask = Ask {
        agent: sandbox.owner.agent.clone(),
        tool: "shell".to_owned(),
        command: Command {
            argv: program.argv,
            env,
            cell: None,
            terminal: program.terminal,
        },
        code: None,
        limits: limits(api, sandbox, program.timeout_ms),
        within: Some(Within {
            session: Some(sandbox.session),
            ..Within::default()
        }),
        destination: None,
        key: Key::Own,
        trace_id: None,
    };
    let demand = Demand {
        trigger: Trigger::Interactive,
        mode: None,
        has_stdin: program.has_stdin,
    };
    Ok(api.begin(who, ask, Vec::new(), None, demand)?)
}

/// Waits until a call runs.
///
/// # Errors
/// When it is refused, or a person has to approve it.
pub(super) async fn started(begun: &Begun, sandbox: &str) -> Result<(), Failure> {
    let call = &begun.call;
    tokio::select! {
        biased;
        () = call.progress.started() => Ok(()),
        held = call.held() => match held {
            true => {
                call.goes_unattended();
                Err(Failure::held(call.id))
            }
            false => match &*call.ended().await {
                // It ran and ended meanwhile.
                Told::Released(_) => Ok(()),
                told => Err(Failure::of_call(told).about(sandbox)),
            },
        },
    }
}

/// Kills a program when it is dropped, if its input has not ended by then. Dropped before the input, it comes first: a program that
/// makes something of what it reads does not take what broke off for the whole.
pub(super) struct Unended(Option<mpsc::Sender<Control>>);

impl Unended {
    pub(super) fn of(begun: &Begun) -> Self {
        Self(Some(begun.control.clone()))
    }

    /// All of the input is there.
    pub(super) fn end(mut self) {
        self.0 = None;
    }
}

impl Drop for Unended {
    fn drop(&mut self) {
        if let Some(control) = &self.0 {
            control.try_send(Control::Cancel).unwrap_or_default();
        }
    }
}

/// Why a program ended otherwise than by itself, if it did.
pub(super) fn why(outcome: &Outcome, decision: impl std::fmt::Display) -> Option<String> {
    match outcome.cause {
        Cause::Completed | Cause::NotExecutable => None,
        cause => Some(format!("{} (decision {decision})", cause.as_str())),
    }
}

/// A program that ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) code: u8,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Runs a small program of ours in a sandbox, to its end.
pub(super) async fn run<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    who: &Who,
    sandbox: &Sandbox,
    argv: Vec<Text>,
) -> Result<Finished, Failure> {
    let program = Program {
        argv,
        ..Program::default()
    };
    let mut begun = begin(api, who, sandbox, program)?;
    started(&begun, &sandbox.id).await?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    // It reads nothing.
    drop(begun.stdin);
    while let Some(Event::Output(stream, bytes)) = begun.events.recv().await {
        match stream {
            Stream::Stdout => stdout.extend(bytes),
            Stream::Stderr | Stream::Results => stderr.extend(bytes),
        }
        if stdout.len() + stderr.len() > MAX_E2B_ANSWER_BYTES {
            return Err(Fault::new(
                Code::ResourceExhausted,
                "there is more than can be told at once",
            )
            .into());
        }
    }
    let told = begun.call.ended().await;
    let Told::Released(released) = &*told else {
        return Err(Failure::of_call(&told).about(&sandbox.id));
    };
    let outcome = released.outcome();
    match outcome.exit {
        Some(Exit::Code(code)) if !outcome.output_truncated => Ok(Finished {
            code,
            stdout,
            stderr,
        }),
        _ => {
            let why = why(outcome, begun.call.id);
            let why = why.unwrap_or_else(|| format!("killed (decision {})", begun.call.id));
            Err(Fault::new(Code::Internal, format!("the operation was cut off: {why}")).into())
        }
    }
}

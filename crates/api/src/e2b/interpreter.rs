//! `/execute`: code, and what it gives, line by line. A cell of Python is a call of the tool `python` in an interpreter that stays.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use casemate_e2b::{
    Fault, connect,
    control::time,
    interpreter::{self, Execute, Language, magic},
    limits::MAX_PAIRS,
};
use casemate_gateway::{Ask, Code, Demand, Key, RunningCall, Told};
use casemate_model::{Cause, Exit, Stream, Text, Within};
use casemate_ports::{Cell, Command, Echo, Event};
use tokio::{
    sync::mpsc,
    time::{Duration, timeout},
};

use super::{
    Here,
    contexts::Made,
    faults::Failure,
    programs::{HOME, Program, begin, limits, started, why},
    rpc::collect,
    sandboxes::Sandbox,
};
use crate::{
    body::Pieces,
    limits::{ANSWER_QUEUE, E2B_KEEPALIVE_MS, E2B_STDERR_PAUSE_MS, MAX_CODE_BYTES},
    routes::{Keeps, Remembers},
    state::{Api, Begun},
    who::Who,
};

type Answer = Result<Response, Failure>;

/// `POST /execute`
pub(crate) async fn execute<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Extension(Here(sandbox)): Extension<Here>,
    request: Request,
) -> Answer {
    // JSON writes a byte of code in six at most.
    let body = collect(request.into_body(), MAX_CODE_BYTES * 6).await?;
    let execute: Execute = connect::read(&body)?;
    if execute.code.len() > MAX_CODE_BYTES {
        let message = format!("`code` has at most {MAX_CODE_BYTES} bytes");
        return Err(Fault::rest(StatusCode::PAYLOAD_TOO_LARGE, message).into());
    }
    let variables = execute.env_vars.unwrap_or_default();
    if variables.len() > MAX_PAIRS {
        return Err(Fault::invalid(format!("`env_vars` has at most {MAX_PAIRS} entries")).into());
    }
    let made = match (&execute.context_id, &execute.language) {
        (Some(_), Some(_)) => {
            return Err(Fault::invalid("either `context_id` or `language`, not both").into());
        }
        (Some(id), None) => sandbox.contexts.get(id)?,
        (None, language) => {
            let language = Language::of(language.as_deref())?;
            sandbox.contexts.get(language.as_str())?
        }
    };
    let begun = match made.language {
        Language::Python => {
            if let Some(magic) = magic(&execute.code) {
                let magic = magic.chars().take(100).collect::<String>();
                return Ok(refused_magic(&magic, made.count()));
            }
            cell(&api, &who, &sandbox, &made, execute.code, variables)?
        }
        Language::Bash => bash(&api, &who, &sandbox, &made, &execute.code, variables)?,
    };
    started(&begun, &sandbox.id).await?;
    let (to, lines) = mpsc::channel(ANSWER_QUEUE);
    let number = made.count();
    tokio::spawn(async move {
        let clock = move || time(api.sessions.clock().now_ms());
        tell(begun, number, clock, to).await;
    });
    Ok(answer(Body::new(Pieces::endless(lines))))
}

fn answer(body: Body) -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

/// Says that a command of IPython's does not run, in the form in which code fails.
fn refused_magic(magic: &str, number: u64) -> Response {
    let value = format!(
        "`{magic}` is a command of IPython, and this interpreter runs Python. Packages cannot be installed at run time: the profile's image has them (docs/images.md); run programs with `commands.run` or in the language `bash`"
    );
    let lines = [
        interpreter::number(number),
        interpreter::error("UnsupportedMagic", &value, &value),
        interpreter::end(),
    ];
    answer(lines.concat().into())
}

fn with_variables(
    sandbox: &Sandbox,
    variables: BTreeMap<String, String>,
) -> BTreeMap<String, Text> {
    let mut all = sandbox.variables.clone();
    all.extend(
        variables
            .into_iter()
            .map(|(name, value)| (name, Text::from(value))),
    );
    all
}

/// Begins a cell of Python in the interpreter of a context.
fn cell<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    who: &Who,
    sandbox: &Sandbox,
    made: &Made,
    code: String,
    variables: BTreeMap<String, String>,
) -> Result<Begun, Failure> {
    let source = code.into_bytes();
    let context = made.interpreter();
    let ask = Ask {
        agent: sandbox.owner.agent.clone(),
        tool: "python".to_owned(),
        command: Command {
            argv: vec!["-c".into()],
            env: with_variables(sandbox, variables),
            cell: Some(Cell {
                source: source.clone(),
                echo: Echo::Last,
            }),
            terminal: None,
        },
        code: Some(Code {
            input: None,
            source,
        }),
        limits: limits(api, sandbox, None),
        within: Some(Within {
            session: Some(sandbox.session),
            context,
            interpreter: context.is_none(),
            ..Within::default()
        }),
        destination: None,
        key: Key::Own,
        trace_id: None,
    };
    Ok(api.begin(who, ask, Vec::new(), None, Demand::default())?)
}

/// Begins a script of Bash.
fn bash<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    who: &Who,
    sandbox: &Sandbox,
    made: &Made,
    code: &str,
    variables: BTreeMap<String, String>,
) -> Result<Begun, Failure> {
    let (cwd, pwd) = (made.shown.cwd.as_str(), format!("PWD={}", made.shown.cwd));
    let words = ["env", "-C", cwd, &pwd, "bash", "-c", code];
    if code.contains('\0') {
        return Err(Fault::invalid("`code` has a NUL").into());
    }
    let variables = variables
        .into_iter()
        .map(|(name, value)| (name, Text::from(value)));
    let program = Program {
        argv: words.into_iter().map(Text::from).collect(),
        variables: variables.collect(),
        ..Program::default()
    };
    begin(api, who, sandbox, program)
}

/// Puts a new context where its client wants it to start.
pub(super) async fn enter<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    who: &Who,
    sandbox: &Sandbox,
    made: &Made,
) -> Result<(), Failure> {
    let cwd = made.shown.cwd.as_str();
    if made.language != Language::Python || [HOME, "/workspace", "/mnt/data"].contains(&cwd) {
        return Ok(());
    }
    // JSON's strings are Python's.
    let cwd = serde_json::to_string(cwd).unwrap_or_default();
    let code = format!("__import__('os').chdir({cwd})\nNone");
    let mut begun = cell(api, who, sandbox, made, code, BTreeMap::new())?;
    drop(begun.stdin);
    started_in(&begun.call, sandbox).await?;
    while begun.events.recv().await.is_some() {}
    match &*begun.call.ended().await {
        Told::Released(_) => Ok(()),
        told => Err(Failure::of_call(told).about(&sandbox.id)),
    }
}

async fn started_in(call: &RunningCall, sandbox: &Sandbox) -> Result<(), Failure> {
    tokio::select! {
        biased;
        () = call.progress.started() => Ok(()),
        held = call.held() => match held {
            true => Err(Failure::held(call.id)),
            false => match &*call.ended().await {
                Told::Released(_) => Ok(()),
                told => Err(Failure::of_call(told).about(&sandbox.id)),
            },
        },
    }
}

/// Bytes of text that come in pieces.
#[derive(Default)]
struct Letters(Vec<u8>);

impl Letters {
    /// What is whole by now.
    fn push(&mut self, bytes: &[u8]) -> String {
        self.0.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.0) {
            Ok(text) => text.len(),
            // A letter has four bytes at most: what is longer is none.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => self.0.len(),
        };
        let rest = self.0.split_off(whole);
        let text = std::mem::replace(&mut self.0, rest);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Standard error, which is told when the next thing comes. An interpreter writes there how a cell failed, and tells it as a result
/// too; clients expect the result only.
#[derive(Default)]
struct Errors {
    letters: Letters,
    held: String,
}

impl Errors {
    fn push(&mut self, bytes: &[u8]) {
        self.held.push_str(&self.letters.push(bytes));
    }

    /// What is held, without what is told as this result.
    fn take(&mut self, told: Option<&str>) -> String {
        let mut held = std::mem::take(&mut self.held);
        if let Some(rest) = told.and_then(|told| held.strip_suffix(told)) {
            held.truncate(rest.len());
        }
        held
    }
}

/// Results that come in pieces.
#[derive(Default)]
struct Results {
    bytes: Vec<u8>,
    /// The traceback of the cell, if it failed.
    failed: Option<String>,
}

impl Results {
    fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.bytes.extend_from_slice(bytes);
        let Some(end) = self.bytes.iter().rposition(|byte| *byte == b'\n') else {
            return Vec::new();
        };
        let rest = self.bytes.split_off(end + 1);
        let whole = std::mem::replace(&mut self.bytes, rest);
        let lines = whole.split(|byte| *byte == b'\n');
        let shown = lines.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
        shown.fold(Vec::new(), |mut told, shown| {
            if shown.get("type").is_some_and(|kind| kind == "error") {
                self.failed = Some(interpreter::traceback(&shown));
            }
            told.extend(interpreter::result(&shown).unwrap_or_default());
            told
        })
    }
}

/// Tells a client what its code gives, until it has ended. A client that goes away interrupts it.
async fn tell(begun: Begun, number: u64, clock: impl Fn() -> String, to: mpsc::Sender<Vec<u8>>) {
    let Begun {
        call,
        stdin,
        control: _control,
        mut events,
    } = begun;
    drop(stdin);
    let (mut stdout, mut stderr) = (Letters::default(), Errors::default());
    let mut results = Results::default();
    let mut here = to.send(interpreter::number(number)).await.is_ok();
    if !here {
        call.cancel();
    }
    loop {
        let pause_ms = match stderr.held.is_empty() {
            true => E2B_KEEPALIVE_MS,
            false => E2B_STDERR_PAUSE_MS,
        };
        let next = tokio::select! {
            next = timeout(Duration::from_millis(pause_ms), events.recv()) => next,
            // Its variables stay: what was interrupted is read to its end.
            () = to.closed(), if here => {
                here = false;
                call.cancel();
                continue;
            }
        };
        let line = match next {
            Ok(Some(Event::Output(Stream::Stderr, bytes))) => {
                stderr.push(&bytes);
                continue;
            }
            Ok(Some(Event::Output(Stream::Results, bytes))) => {
                let line = results.push(&bytes);
                let before = stderr.take(results.failed.as_deref());
                [said(true, &before, &clock), line].concat()
            }
            Ok(Some(Event::Output(Stream::Stdout, bytes))) => {
                let before = said(true, &stderr.take(None), &clock);
                [before, said(false, &stdout.push(&bytes), &clock)].concat()
            }
            Ok(None) => break,
            Err(_) if stderr.held.is_empty() => interpreter::keepalive(),
            Err(_) => said(true, &stderr.take(None), &clock),
        };
        if here && !line.is_empty() && to.send(line).await.is_err() {
            here = false;
            call.cancel();
        }
    }
    let told = call.ended().await;
    let mut last = Vec::new();
    last.extend(said(false, &String::from_utf8_lossy(&stdout.0), &clock));
    let mut rest = stderr.take(results.failed.as_deref());
    rest.push_str(&String::from_utf8_lossy(&stderr.letters.0));
    last.extend(said(true, &rest, &clock));
    if results.failed.is_none() {
        last.extend(failed(&told, &call).unwrap_or_default());
    }
    last.extend(interpreter::end());
    drop(to.send(last).await);
}

fn said(is_error: bool, text: &str, clock: &impl Fn() -> String) -> Vec<u8> {
    match text.is_empty() {
        true => Vec::new(),
        false => interpreter::output(is_error, text, &clock()),
    }
}

/// How code failed that did not say so itself.
fn failed(told: &Told, call: &RunningCall) -> Option<Vec<u8>> {
    let Told::Released(released) = told else {
        let Failure(fault) = Failure::of_call(told);
        return Some(interpreter::error(
            "CallError",
            &fault.message,
            &fault.message,
        ));
    };
    let outcome = released.outcome();
    let name = match outcome.cause {
        Cause::TimedOut => "TimeoutError",
        Cause::MemoryExceeded => "MemoryError",
        Cause::Completed if outcome.exit == Some(Exit::Code(0)) => return None,
        Cause::Completed | Cause::NotExecutable => "SystemExit",
        Cause::Cancelled => "KeyboardInterrupt",
        Cause::SandboxLost => "SandboxLost",
        Cause::Violation => "Violation",
    };
    let value = why(outcome, call.id).unwrap_or_else(|| match outcome.exit {
        Some(Exit::Code(code)) => code.to_string(),
        Some(Exit::Signal(number)) => format!("killed by signal {number}"),
        None => "unknown".to_owned(),
    });
    Some(interpreter::error(
        name,
        &value,
        &format!("{name}: {value}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_are_cut_are_whole_when_they_are_told() {
        let bytes = "aä€😀".as_bytes();
        for cut in 0..=bytes.len() {
            let mut letters = Letters::default();
            let told = letters.push(&bytes[..cut]) + &letters.push(&bytes[cut..]);
            assert_eq!(told, "aä€😀", "{cut}");
        }
        assert_eq!(Letters::default().push(b"a\xffb"), "a\u{fffd}b");
    }
}

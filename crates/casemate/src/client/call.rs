//! `casemate call`: one call in a session of the gateway's.

use std::{collections::BTreeMap, ffi::OsString, io::Read as _, path::Path};

use anyhow::{Context as _, anyhow};
use casemate_model::{Cause, Exit as ProgramExit, Stream, Text};
use hyper::{Response, body::Incoming, header};
use serde_json::{Value, json};

use super::{
    connection::{Gateway, block_on, exit_of, problem, read, request},
    events::{Event, Events},
};
use crate::{
    cli::{Form, Language},
    exit::Exit,
    report::{self, Failure},
    run::write_stream,
    values,
};

/// Run a call in a session of `casemate serve`.
///
/// Files stay from call to call of one thread, and in the mode `context` of the profile variables too. Output comes as
/// it is written; Ctrl-C interrupts the call.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "casemate call [OPTIONS] SCRIPT [ARGS]...\n       casemate call [OPTIONS] -\n       casemate call [OPTIONS] -c CODE [ARGS]...\n       casemate call [OPTIONS] -- COMMAND..."
)]
pub(crate) struct CallArgs {
    #[command(flatten)]
    gateway: Gateway,

    /// A Python (.py) or shell (.sh, .bash) script and its arguments; `-` reads it from standard input; after
    /// `--`, a command of the sandbox and its arguments
    #[arg(value_name = "SCRIPT", trailing_var_arg = true)]
    pub(crate) program: Vec<OsString>,

    /// Whether `--` came before the program.
    #[arg(skip)]
    pub(crate) form: Form,

    /// Python code, in place of a script
    #[arg(short = 'c', long = "code", value_name = "CODE")]
    code: Option<String>,

    /// The language of the script, when its name does not say it
    #[arg(long, value_enum)]
    language: Option<Language>,

    /// Run Python as a program of its own, not as a cell
    #[arg(long)]
    script: bool,

    /// The thread whose session it is; one of its own if there is none
    #[arg(long, value_name = "NAME", conflicts_with_all = ["session", "context"])]
    thread: Option<String>,

    /// The session
    #[arg(long, value_name = "ID")]
    session: Option<String>,

    /// The stateful interpreter
    #[arg(long, value_name = "ID")]
    context: Option<String>,

    /// Set a variable; can be repeated
    #[arg(long = "env", value_name = "NAME=VALUE")]
    env: Vec<String>,

    /// Stop the program after this time, such as 500ms or 2m
    #[arg(long, value_name = "TIME", value_parser = values::millis)]
    timeout: Option<u64>,

    /// The route, when the gateway has several
    #[arg(long, value_name = "NAME")]
    route: Option<String>,

    /// Run once under this key: a repeat of the same call gets the first result
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,

    /// The agent that asks
    #[arg(long, value_name = "NAME", default_value = "local", value_parser = values::agent)]
    agent: String,

    /// Print the name of the call, and do not wait for it
    #[arg(long)]
    detach: bool,

    /// Print one JSON object with everything that is known about the call, instead of its output
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &CallArgs) -> Result<Exit, Failure> {
    let body = body(args).map_err(Failure::usage)?;
    block_on(async {
        if args.detach {
            let answer = args.gateway.ask("POST", "/v1/calls", Some(&body)).await?;
            report::print(format_args!("{answer}\n"))?;
            return Ok(Exit::Success);
        }
        let mut request = request("POST", "/v1/calls", Some(&body))?;
        if !args.json {
            let events = header::HeaderValue::from_static("text/event-stream");
            request.headers_mut().insert(header::ACCEPT, events);
        }
        let response = args.gateway.send(request).await?;
        let status = response.status();
        if status.is_success() && !args.json {
            return follow(response).await;
        }
        let answer = read(response).await?;
        if args.json {
            let shown = answer.get("answer").unwrap_or(&answer);
            report::print(format_args!("{shown}\n"))?;
        }
        if status.is_success() {
            Ok(exit(&answer))
        } else {
            Err(problem(status, &answer))
        }
    })
}

fn body(args: &CallArgs) -> anyhow::Result<Value> {
    let words = || args.program.iter().cloned().map(Text::from);
    let mut env = BTreeMap::new();
    for variable in &args.env {
        let (name, value) = variable.split_once('=').context("--env takes NAME=VALUE")?;
        env.insert(name, value);
    }
    let (tool, code, argv, arguments) = if let Some(code) = &args.code {
        (
            "python",
            Some(Text::from(code.as_str())),
            None,
            words().collect(),
        )
    } else if args.form == Form::Command {
        ("shell", None, Some(words().collect::<Vec<_>>()), Vec::new())
    } else {
        let script = args.program.first().context("there is nothing to run")?;
        let (tool, source) = script_of(script, args.language)?;
        (tool, Some(source), None, words().skip(1).collect())
    };
    let mode = (args.script && tool == "python").then_some("script");
    Ok(json!({
        "agent": args.agent,
        "route": args.route,
        "thread": args.thread,
        "session": args.session,
        "context": args.context,
        "tool": tool,
        "code": code,
        "argv": argv,
        "args": arguments,
        "env": env,
        "timeout_ms": args.timeout,
        "mode": mode,
        "idempotency_key": args.idempotency_key,
        "wait": !args.detach,
    }))
}

fn script_of(name: &OsString, language: Option<Language>) -> anyhow::Result<(&'static str, Text)> {
    let path = Path::new(name);
    let by_name = || match path.extension()?.to_str()? {
        "py" => Some(Language::Python),
        "sh" | "bash" => Some(Language::Bash),
        _ => None,
    };
    let (source, language) = if name == "-" {
        let mut source = Vec::new();
        std::io::stdin()
            .read_to_end(&mut source)
            .context("cannot read the program")?;
        (source, language.unwrap_or(Language::Python))
    } else {
        let shown = Text::from(name.clone());
        let language = language
            .or_else(by_name)
            .with_context(|| format!("cannot tell the language of `{shown}`: say --language"))?;
        let source = std::fs::read(path).with_context(|| format!("cannot read `{shown}`"))?;
        (source, language)
    };
    let tool = match language {
        Language::Python => "python",
        Language::Bash => "bash",
    };
    Ok((tool, source.into()))
}

/// Passes on what a call gives back, as it comes.
async fn follow(response: Response<Incoming>) -> Result<Exit, Failure> {
    let mut events = Events::of(response);
    while let Some(event) = events.next().await? {
        if let Some(exit) = heard(event)? {
            return Ok(exit);
        }
    }
    Err(Failure::failed(anyhow!(
        "the gateway went away before the call ended"
    )))
}

/// One event: shown, and at the end how to exit.
fn heard(Event { name, data }: Event) -> Result<Option<Exit>, Failure> {
    match name.as_str() {
        "output" => {
            let stream = match data.get("stream").and_then(Value::as_str) {
                Some("stderr") => Stream::Stderr,
                _ => Stream::Stdout,
            };
            let text = data.get("text").cloned().unwrap_or_default();
            let text: Text = serde_json::from_value(text).map_err(Failure::failed)?;
            write(stream, text.as_bytes())?;
        }
        "result" => {
            if let Some(text) = plain(&data) {
                write(Stream::Stdout, format!("{text}\n").as_bytes())?;
            }
        }
        "held" => {
            let decision = data.get("decision").and_then(Value::as_str);
            let decision = decision.unwrap_or_default();
            report::line(&format!("{decision} waits for approval"));
            report::hint(&format!(
                "an approver runs `casemate approvals approve {decision} --key FILE`"
            ));
        }
        "ended" => {
            if let Some(code) = data.get("code") {
                let detail = |key: &str| data.get(key).and_then(Value::as_str).unwrap_or_default();
                report::line(&format!("{}: {}", detail("code"), detail("detail")));
                report::hint(detail("hint"));
                return Ok(Some(exit_of(code.as_str().unwrap_or_default())));
            }
            if let Some(quota) = data.get("quota").filter(|quota| !quota.is_null()) {
                report::line(&format!("its output was cut by a quota: {quota}"));
            }
            return Ok(Some(exit(&data)));
        }
        _ => {}
    }
    Ok(None)
}

/// The text of a result, if it has one.
fn plain(result: &Value) -> Option<&str> {
    let data = result.get("data").unwrap_or(result);
    data.get("text/plain")?.as_str()
}

fn write(stream: Stream, bytes: &[u8]) -> Result<(), Failure> {
    write_stream(stream, bytes)
        .map_err(|error| Failure::failed(error).context("cannot write the program's output"))
}

/// How the program ended.
fn exit(answer: &Value) -> Exit {
    let number = |key: &str| {
        let number = answer.get(key).and_then(Value::as_u64);
        number.and_then(|number| u8::try_from(number).ok())
    };
    let ended = match (number("exit_code"), number("signal")) {
        (Some(code), _) => Some(ProgramExit::Code(code)),
        (None, Some(signal)) => Some(ProgramExit::Signal(signal)),
        (None, None) => None,
    };
    let cause = answer.get("cause").and_then(Value::as_str);
    match cause.and_then(Cause::from_word) {
        Some(cause) => Exit::of_end(cause, ended),
        None => Exit::Failed,
    }
}

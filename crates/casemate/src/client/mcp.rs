//! `casemate mcp`: the tools of the gateway for a host that starts a program and talks to its standard input and output.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::anyhow;
use bytes::Bytes;
use casemate_gateway::Entropy as _;
use casemate_mcp::{Fault, Kind, Message, limits::MAX_MESSAGE_BYTES};
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming, header};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Stdin},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

use super::{
    connection::{Gateway, block_on, encoded, problem, read},
    events::Events,
};
use crate::{exit::Exit, report::Failure, system::System, values};

/// Requests that have no answer yet.
const MAX_REQUESTS: usize = 64;

/// Answers that wait for a slow reader.
const ANSWERS: usize = 16;

/// The first revision whose requests say in headers what they are.
const WITH_HEADERS: &str = "2026-07-28";

/// Serve the tools of `casemate serve` to a host that speaks the Model Context Protocol
///
/// Reads messages from standard input and writes answers to standard output, a line each. Files and variables last as
/// long as this process runs; calls end with it. Nothing is started: the gateway has to run.
#[derive(Debug, clap::Args)]
pub(crate) struct McpArgs {
    #[command(flatten)]
    gateway: Gateway,

    /// The route, when the gateway has several
    #[arg(long, value_name = "NAME")]
    route: Option<String>,

    /// The agent that asks
    #[arg(long, value_name = "NAME", default_value = "local", value_parser = values::agent)]
    agent: String,

    /// The thread whose files and variables they are; one of this process if there is none
    #[arg(long, value_name = "NAME")]
    thread: Option<String>,
}

pub(crate) fn run(args: McpArgs) -> Result<Exit, Failure> {
    let thread = match &args.thread {
        Some(thread) => thread.clone(),
        None => own_thread()?,
    };
    let mut path = format!(
        "/mcp?agent={}&thread={}",
        encoded(&args.agent),
        encoded(&thread)
    );
    if let Some(route) = &args.route {
        path.push_str("&route=");
        path.push_str(&encoded(route));
    }
    let bridge = Arc::new(Bridge {
        gateway: args.gateway,
        path,
        revision: Mutex::default(),
    });
    block_on(bridge.serve())
}

/// A name that nobody could guess.
fn own_thread() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    System.fill(&mut bytes).map_err(Failure::failed)?;
    let word: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("mcp-{word}"))
}

/// Between a host and the gateway.
struct Bridge {
    gateway: Gateway,
    path: String,
    /// The revision that was agreed on.
    revision: Mutex<Option<String>>,
}

/// A request that has no answer yet.
struct Pending {
    task: AbortHandle,
    is_call: bool,
}

impl Bridge {
    async fn serve(self: Arc<Self>) -> Result<Exit, Failure> {
        let (answers, written) = mpsc::channel(ANSWERS);
        let mut writer = tokio::spawn(write(written));
        let (reads, mut lines) = mpsc::channel(1);
        tokio::spawn(Lines(BufReader::new(tokio::io::stdin())).pass_on(reads));
        let mut pending: HashMap<String, Pending> = HashMap::new();
        let mut tasks = JoinSet::new();
        loop {
            let line = tokio::select! {
                line = lines.recv() => line,
                Some(done) = tasks.join_next() => {
                    // One that was taken back has been forgotten already.
                    if let Ok(id) = done {
                        pending.remove(&id);
                    }
                    continue;
                }
                // Nobody reads.
                _ = &mut writer => return Ok(Exit::Success),
            };
            let message = match line {
                None => break,
                Some(Ok(line)) if line.iter().all(u8::is_ascii_whitespace) => continue,
                Some(Ok(line)) => Message::read(line.into()),
                Some(Err(too_large)) => Err(too_large),
            };
            match message {
                Err(fault) => drop(answers.send(fault.json()).await),
                Ok(message) => match message.kind {
                    Kind::Cancel(id) => {
                        if let Some(request) = pending.remove(&id) {
                            // With its connection goes the call.
                            request.task.abort();
                        }
                    }
                    // Nothing is kept of a client that could change by them.
                    Kind::Notification | Kind::Response => {}
                    Kind::Initialize | Kind::Call | Kind::Request => {
                        let id = message.id.clone().unwrap_or_default();
                        if pending.contains_key(&id.to_string()) {
                            drop(answers.send(in_use(id)).await);
                            continue;
                        }
                        if pending.len() >= MAX_REQUESTS {
                            let fault = failed(id, "there are too many requests without an answer");
                            drop(answers.send(fault).await);
                            continue;
                        }
                        let (id, is_call) = (id.to_string(), message.kind == Kind::Call);
                        let carried = Arc::clone(&self).carry(id.clone(), message, answers.clone());
                        let task = tasks.spawn(carried);
                        pending.insert(id, Pending { task, is_call });
                    }
                },
            }
        }
        // The host has gone away, and its calls with it.
        for request in pending.values().filter(|request| request.is_call) {
            request.task.abort();
        }
        while tasks.join_next().await.is_some() {}
        drop(answers);
        drop(writer.await);
        Ok(Exit::Success)
    }

    /// Takes a request to the gateway, and every message of its answer back.
    async fn carry(
        self: Arc<Self>,
        name: String,
        message: Message,
        answers: mpsc::Sender<Value>,
    ) -> String {
        let id = message.id.clone().unwrap_or_default();
        let begins = message.kind == Kind::Initialize;
        if let Err(failure) = self.answer(message, begins, &answers).await {
            let why = failure.in_full();
            drop(answers.send(failed(id, &why)).await);
        }
        name
    }

    async fn answer(
        &self,
        message: Message,
        begins: bool,
        answers: &mpsc::Sender<Value>,
    ) -> Result<(), Failure> {
        let response = self.gateway.send(self.request(&message)?).await?;
        let kind = response.headers().get(header::CONTENT_TYPE);
        let is = |what: &str| kind.is_some_and(|kind| kind.as_bytes() == what.as_bytes());
        if is("text/event-stream") {
            return pass_on(response, answers).await;
        }
        let (status, is_answer) = (response.status(), is("application/json"));
        let answer = read(response).await?;
        if !is_answer {
            return Err(problem(status, &answer));
        }
        if begins
            && let Some(revision) = answer.pointer("/result/protocolVersion")
            && let Some(revision) = revision.as_str()
        {
            *self.agreed() = Some(revision.to_owned());
        }
        drop(answers.send(answer).await);
        Ok(())
    }

    fn agreed(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.revision.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self, message: &Message) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::post(&self.path)
            .header(header::HOST, "casemate")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream");
        let revision = match (&message.version, &message.kind) {
            (Some(version), _) => Some(version.clone()),
            (None, Kind::Initialize) => None,
            (None, _) => self.agreed().clone(),
        };
        if let Some(revision) = &revision {
            request = request.header("mcp-protocol-version", revision);
        }
        if message
            .version
            .as_deref()
            .is_some_and(|version| version >= WITH_HEADERS)
        {
            request = request.header("mcp-method", &message.method);
            if let Some(name) = &message.name {
                request = request.header("mcp-name", name);
            }
        }
        request
            .body(Full::new(message.text.clone()))
            .map_err(Failure::usage)
    }
}

/// Passes messages on as they come.
async fn pass_on(
    response: Response<Incoming>,
    answers: &mpsc::Sender<Value>,
) -> Result<(), Failure> {
    let mut events = Events::of(response);
    let mut answered = false;
    while let Some(event) = events.next().await? {
        // A stream without news says that it is alive.
        if event.data.is_null() {
            continue;
        }
        answered = event.data.get("id").is_some();
        if answers.send(event.data).await.is_err() {
            return Ok(());
        }
    }
    match answered {
        true => Ok(()),
        false => Err(Failure::failed(anyhow!("the gateway went away"))),
    }
}

/// An answer to a request that could not be taken to the gateway.
fn failed(id: Value, why: &str) -> Value {
    let fault = Fault {
        id,
        ..Fault::new(StatusCode::INTERNAL_SERVER_ERROR, -32_603, why)
    };
    fault.json()
}

/// An answer to a request whose id another one has that has no answer yet: nobody could say which one is meant.
fn in_use(id: Value) -> Value {
    let why = "a request of this `id` has no answer yet: choose another";
    let fault = Fault {
        id,
        ..Fault::new(StatusCode::BAD_REQUEST, -32_600, why)
    };
    fault.json()
}

/// Writes messages, a line each, until there are no more or nobody reads.
async fn write(mut messages: mpsc::Receiver<Value>) {
    let mut stdout = tokio::io::stdout();
    while let Some(message) = messages.recv().await {
        // JSON as it is written here has no line breaks.
        let line = format!("{message}\n");
        let written = async {
            stdout.write_all(line.as_bytes()).await?;
            stdout.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
}

/// The lines of standard input.
struct Lines(BufReader<Stdin>);

impl Lines {
    /// Reads until there is no more, in a task of its own: half a line is nothing that could be left off and gone on with.
    async fn pass_on(mut self, to: mpsc::Sender<Result<Vec<u8>, Fault>>) {
        // Input that cannot be read any more has come to its end.
        while let Ok(Some(line)) = self.next().await {
            if to.send(line).await.is_err() {
                return;
            }
        }
    }

    /// The next line; a fault in place of one that is too long, whose rest is not kept.
    async fn next(&mut self) -> std::io::Result<Option<Result<Vec<u8>, Fault>>> {
        let most = MAX_MESSAGE_BYTES as u64 + 1;
        let mut line = Vec::new();
        if (&mut self.0)
            .take(most)
            .read_until(b'\n', &mut line)
            .await?
            == 0
        {
            return Ok(None);
        }
        if line.len() as u64 == most && line.last() != Some(&b'\n') {
            let mut rest = Vec::new();
            while rest.last() != Some(&b'\n') {
                rest.clear();
                if (&mut self.0)
                    .take(most)
                    .read_until(b'\n', &mut rest)
                    .await?
                    == 0
                {
                    break;
                }
            }
            return Ok(Some(Err(Fault::too_large())));
        }
        Ok(Some(Ok(line)))
    }
}

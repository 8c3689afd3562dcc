//! `process.Process`: programs that clients start, follow, talk to and kill. Each is a call; whoever follows it can go away and
//! come back.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use axum::{
    Extension,
    extract::{Request, State},
    response::Response,
};
use casemate_e2b::{
    Code, Fault,
    connect::{self, Envelopes},
    limits::{MAX_PAIRS, MAX_PATH_BYTES},
    process::{
        self, Config, End, Input, Pty, Running, Selected, Selector, SendInput, SendSignal, Signal,
        Source, Start, StreamInput, Update,
    },
};
use casemate_gateway::{RunningCall, Told};
use casemate_model::{Exit, Stream, Text};
use casemate_ports::{Control, Event, TerminalSize};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Duration, timeout},
};

use super::{
    Here,
    faults::Failure,
    filesystem::{directory, resolve},
    followers::{Followers, News},
    places::{Place, Places},
    programs::{HOME, Program, begin, started, why},
    rpc,
    sandboxes::Sandbox,
};
use crate::{
    limits::MAX_E2B_PROCESSES,
    routes::{Keeps, Remembers},
    state::{Api, Begun},
    who::Who,
};

/// The number of `SIGTERM`.
const TERMINATE: u8 = 15;

type Answer = Result<Response, Failure>;

/// A process that runs.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    config: Config,
    tag: Option<String>,
    has_terminal: bool,
    call: Arc<RunningCall>,
    control: mpsc::Sender<Control>,
    stdin: Mutex<Option<mpsc::Sender<Vec<u8>>>>,
    followers: Followers,
    _place: Place,
}

impl Process {
    async fn write(&self, input: &Input) -> Result<(), Fault> {
        let bytes = match (&input.stdin, &input.pty) {
            (Some(bytes), None) | (None, Some(bytes)) => bytes.0.clone(),
            _ => return Err(Fault::invalid("input is either `stdin` or `pty`")),
        };
        if input.pty.is_some() != self.has_terminal {
            let kind = if self.has_terminal { "pty" } else { "stdin" };
            return Err(Fault::invalid(format!("the process takes `{kind}`")));
        }
        let stdin = lock(&self.stdin).clone();
        let closed = || Fault::new(Code::FailedPrecondition, "its standard input is closed");
        let stdin = stdin.ok_or_else(closed)?;
        stdin.send(bytes).await.map_err(|_| closed())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The processes of a sandbox.
#[derive(Debug)]
pub(super) struct Processes {
    last: AtomicU32,
    running: Mutex<BTreeMap<u32, Arc<Process>>>,
    places: Places,
}

impl Default for Processes {
    fn default() -> Self {
        Self {
            last: AtomicU32::default(),
            running: Mutex::default(),
            places: Places::new(MAX_E2B_PROCESSES, "processes of clients"),
        }
    }
}

impl Processes {
    fn find(&self, selector: Option<&Selector>) -> Result<Arc<Process>, Fault> {
        let running = lock(&self.running);
        let found = match selector {
            Some(Selector { pid: Some(pid), .. }) => running.get(pid),
            Some(Selector { tag: Some(tag), .. }) => running
                .values()
                .find(|process| process.tag.as_ref() == Some(tag)),
            _ => return Err(Fault::invalid("`process` is missing: its `pid` or `tag`")),
        };
        found
            .cloned()
            .ok_or_else(|| Fault::new(Code::NotFound, "there is no such process"))
    }

    /// Kills whatever runs: its sandbox is over.
    pub(super) fn kill_all(&self) {
        for process in lock(&self.running).values() {
            process
                .control
                .try_send(Control::Cancel)
                .unwrap_or_default();
            process.followers.hurry();
        }
    }
}

/// `Start`
pub(crate) async fn start<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Extension(Here(sandbox)): Extension<Here>,
    request: Request,
) -> Answer {
    let (headers, start) = rpc::first::<Start>(request).await?;
    let (ping_s, timeout_ms) = (rpc::ping_s(&headers), connect::timeout_ms(&headers)?);
    let config = start
        .process
        .ok_or_else(|| Fault::invalid("`process` is missing"))?;
    let terminal = start.pty.map(terminal).transpose()?;
    let place = sandbox.processes.places.take()?;
    let argv = argv(&api, &who, &sandbox, &config).await?;
    let has_stdin = start.stdin.unwrap_or(true);
    let variables = config.envs.iter().filter(|(name, _)| !is_of_terminal(name));
    let variables = variables.map(|(name, value)| (name.clone(), Text::from(value.clone())));
    let program = Program {
        argv,
        variables: variables.collect(),
        terminal,
        has_stdin: has_stdin || terminal.is_some(),
        timeout_ms,
    };
    let begun = begin(&api, &who, &sandbox, program)?;
    // Whoever goes away before it runs takes it back.
    started(&begun, &sandbox.id).await?;
    let Begun {
        call,
        stdin,
        control,
        events,
    } = begun;
    let process = Arc::new(Process {
        pid: sandbox
            .processes
            .last
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1),
        config,
        tag: start.tag,
        has_terminal: terminal.is_some(),
        call,
        control,
        stdin: Mutex::new((has_stdin || terminal.is_some()).then_some(stdin)),
        followers: Followers::default(),
        _place: place,
    });
    let heard = process.followers.add()?;
    lock(&sandbox.processes.running).insert(process.pid, Arc::clone(&process));
    let pid = process.pid;
    tokio::spawn(attend(sandbox, process, events));
    Ok(follow(pid, heard, ping_s))
}

fn terminal(pty: Pty) -> Result<TerminalSize, Fault> {
    let size = pty.size.unwrap_or_default();
    let bounded = |number: u32, standard: u16| match number {
        0 => Ok(standard),
        _ => u16::try_from(number).map_err(|_| Fault::invalid("a terminal is not that large")),
    };
    Ok(TerminalSize {
        rows: bounded(size.rows, 24)?,
        columns: bounded(size.cols, 80)?,
    })
}

/// Whether a variable says what its terminal is like. The sandbox has these already, so that nobody declares them: clients do for
/// every terminal, and `env` sets them.
fn is_of_terminal(name: &str) -> bool {
    matches!(name, "TERM" | "LANG")
}

/// The program with its arguments, in the directory where it is to start.
async fn argv<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    who: &Who,
    sandbox: &Sandbox,
    config: &Config,
) -> Result<Vec<Text>, Failure> {
    // `env` would take it for a variable.
    if config.cmd.is_empty() || config.cmd.contains(['=', '\0']) || config.cmd.starts_with('-') {
        return Err(Fault::invalid("`cmd` is not a program").into());
    }
    let texts = config.args.iter().chain(config.envs.values());
    if texts.into_iter().any(|text| text.contains('\0')) || config.envs.len() > MAX_PAIRS {
        return Err(
            Fault::invalid("an argument has a NUL, or there are too many variables").into(),
        );
    }
    let cwd = match config.cwd.as_deref() {
        None | Some("") => HOME.to_owned(),
        Some(cwd) if cwd.len() > MAX_PATH_BYTES => {
            return Err(Fault::invalid("`cwd` is too long").into());
        }
        Some(cwd) => {
            let cwd = resolve(cwd)?;
            directory(api, who, sandbox, &cwd).await?;
            cwd
        }
    };
    let mut words = vec![
        "env".to_owned(),
        "-C".to_owned(),
        cwd.clone(),
        format!("PWD={cwd}"),
    ];
    let own = config.envs.iter().filter(|(name, _)| is_of_terminal(name));
    words.extend(own.map(|(name, value)| format!("{name}={value}")));
    words.push(config.cmd.clone());
    words.extend(config.args.iter().cloned());
    Ok(words.into_iter().map(Text::from).collect())
}

/// Tells whoever follows a process what it gives, until it has ended.
async fn attend(sandbox: Arc<Sandbox>, process: Arc<Process>, mut events: mpsc::Receiver<Event>) {
    while let Some(Event::Output(stream, bytes)) = events.recv().await {
        let source = match stream {
            Stream::Stdout | Stream::Results if process.has_terminal => Source::Pty,
            Stream::Stdout | Stream::Results => Source::Stdout,
            Stream::Stderr => Source::Stderr,
        };
        process.followers.tell(process::data(source, &bytes)).await;
    }
    let told = process.call.ended().await;
    // Who asks for it from now on is told that there is none.
    lock(&sandbox.processes.running).remove(&process.pid);
    let end = match &*told {
        Told::Released(released) => {
            let outcome = released.outcome();
            let end = match outcome.exit {
                Some(Exit::Code(code)) => End::Code(code),
                Some(Exit::Signal(number)) => End::Signal(number),
                None => End::Signal(9),
            };
            Ok(process::ended(
                end,
                why(outcome, process.call.id).as_deref(),
            ))
        }
        told => Err(Failure::of_call(told).about(&sandbox.id).0),
    };
    process.followers.end(end).await;
}

/// The answer to a client that follows a process.
fn follow(pid: u32, mut heard: mpsc::Receiver<Arc<News>>, ping_s: u64) -> Response {
    let (to, response) = rpc::stream();
    tokio::spawn(async move {
        if to
            .send(connect::envelope(&process::started(pid)))
            .await
            .is_err()
        {
            return;
        }
        let fault = loop {
            let next = tokio::select! {
                next = timeout(Duration::from_secs(ping_s), heard.recv()) => next,
                // The process goes on.
                () = to.closed() => return,
            };
            let frame = match next.as_ref().map(Option::as_deref) {
                Ok(Some(News::Event(event))) => connect::envelope(event),
                Ok(Some(News::End(Ok(event)))) => {
                    drop(to.send(connect::envelope(event)).await);
                    break None;
                }
                Ok(Some(News::End(Err(error)))) => break Some(error.clone()),
                Ok(None) => {
                    let message = "this client did not keep up with the process: connect again";
                    break Some(Fault::new(Code::ResourceExhausted, message));
                }
                Err(_) => connect::envelope(&process::keepalive()),
            };
            if to.send(frame).await.is_err() {
                return;
            }
        };
        drop(to.send(connect::end(fault.as_ref())).await);
    });
    response
}

/// `Connect`
pub(crate) async fn reconnect<K: Keeps, P: Remembers>(
    State(_): State<Arc<Api<K, P>>>,
    Extension(Here(sandbox)): Extension<Here>,
    request: Request,
) -> Answer {
    let (headers, selected) = rpc::first::<Selected>(request).await?;
    let process = sandbox.processes.find(selected.process.as_ref())?;
    Ok(follow(
        process.pid,
        process.followers.add()?,
        rpc::ping_s(&headers),
    ))
}

/// `List`
pub(crate) async fn list<K: Keeps, P: Remembers>(
    State(_): State<Arc<Api<K, P>>>,
    Extension(Here(sandbox)): Extension<Here>,
    request: Request,
) -> Answer {
    rpc::unary::<Value>(request).await?;
    let running = lock(&sandbox.processes.running);
    let processes = running.values().map(|process| Running {
        config: process.config.clone(),
        pid: process.pid,
        tag: process.tag.clone(),
    });
    let processes: Vec<_> = processes.collect();
    Ok(rpc::answer(&json!({ "processes": processes })))
}

/// `Update`
pub(crate) async fn update<K: Keeps, P: Remembers>(
    State(_): State<Arc<Api<K, P>>>,
    Extension(Here(sandbox)): Extension<Here>,
    request: Request,
) -> Answer {
    let update: Update = rpc::unary(request).await?;
    let process = sandbox.processes.find(update.process.as_ref())?;
    if let Some(pty) = update.pty {
        if !process.has_terminal {
            return Err(Fault::invalid("the process has no terminal").into());
        }
        // One that takes no word any more has ended.
        process
            .control
            .send(Control::Resize(terminal(pty)?))
            .await
            .unwrap_or_default();
    }
    Ok(rpc::answer(&json!({})))
}

/// `SendInput`
pub(crate) async fn send_input<K: Keeps, P: Remembers>(
    State(_): State<Arc<Api<K, P>>>,
    Extension(Here(sandbox)): Extension<Here>,
    request: Request,
) -> Answer {
    let send: SendInput = rpc::unary(request).await?;
    let process = sandbox.processes.find(send.process.as_ref())?;
    process.write(&send.input.unwrap_or_default()).await?;
    Ok(rpc::answer(&json!({})))
}

/// `StreamInput`
pub(crate) async fn stream_input<K: Keeps, P: Remembers>(
    State(_): State<Arc<Api<K, P>>>,
    Extension(Here(sandbox)): Extension<Here>,
    request: Request,
) -> Answer {
    let (head, mut body) = request.into_parts();
    connect::check(&head.headers, connect::STREAM)?;
    let (mut envelopes, mut process) = (Envelopes::default(), None);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Fault::invalid("the stream is cut off"))?;
        envelopes.push(frame.data_ref().map_or(&[], |data| data));
        while let Some(message) = envelopes.next_message()? {
            let message: StreamInput = connect::read(&message)?;
            match (message.start, message.data, &process) {
                (Some(start), None, None) => {
                    process = Some(sandbox.processes.find(start.process.as_ref())?);
                }
                (None, Some(data), Some(process)) => {
                    process.write(&data.input.unwrap_or_default()).await?;
                }
                (None, None, _) if message.keepalive.is_some() => {}
                _ => {
                    return Err(Fault::invalid(
                        "a stream of input is one `start`, and then `data`",
                    )
                    .into());
                }
            }
        }
    }
    envelopes.finish()?;
    let (to, response) = rpc::stream();
    let answered = [connect::envelope(&json!({})), connect::end(None)].concat();
    drop(to.send(answered).await);
    Ok(response)
}

/// `SendSignal`
pub(crate) async fn send_signal<K: Keeps, P: Remembers>(
    State(_): State<Arc<Api<K, P>>>,
    Extension(Here(sandbox)): Extension<Here>,
    request: Request,
) -> Answer {
    let send: SendSignal = rpc::unary(request).await?;
    let process = sandbox.processes.find(send.process.as_ref())?;
    let control = match send.signal {
        Signal::Kill => Control::Cancel,
        Signal::Terminate => Control::Deliver(TERMINATE),
        Signal::Unspecified => return Err(Fault::invalid("`signal` is missing").into()),
    };
    process.control.send(control).await.unwrap_or_default();
    Ok(rpc::answer(&json!({})))
}

/// `CloseStdin`
pub(crate) async fn close_stdin<K: Keeps, P: Remembers>(
    State(_): State<Arc<Api<K, P>>>,
    Extension(Here(sandbox)): Extension<Here>,
    request: Request,
) -> Answer {
    let selected: Selected = rpc::unary(request).await?;
    let process = sandbox.processes.find(selected.process.as_ref())?;
    if process.has_terminal {
        return Err(Fault::new(
            Code::FailedPrecondition,
            "a terminal is closed by its `end of transmission`",
        )
        .into());
    }
    lock(&process.stdin).take();
    Ok(rpc::answer(&json!({})))
}

//! Watches of directories: a program in the sandbox looks, for as long as somebody wants to know.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Extension,
    extract::{Request, State},
    response::Response,
};
use casemate_e2b::{
    Code, Fault, connect,
    filesystem::{self, Event, OfWatcher, Watch},
};
use casemate_gateway::{RunningCall, Told};
use casemate_model::{Exit, Stream, Text};
use casemate_ports::{Control, Event as Given};
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{Duration, timeout},
};

use super::{
    Here,
    faults::Failure,
    filesystem::{checked, resolve},
    places::{Place, Places},
    programs::{Finished, Program, begin, started},
    rpc,
    sandboxes::Sandbox,
};
use crate::{
    limits::{MAX_E2B_WATCH_EVENTS, MAX_E2B_WATCHES},
    routes::{Keeps, Remembers},
    state::{Api, Begun},
    who::Who,
};

const PROGRAM: &str = include_str!("watch.py");

type Answer = Result<Response, Failure>;

/// A watch that is asked for its events.
#[derive(Debug)]
struct Watcher {
    control: mpsc::Sender<Control>,
    events: VecDeque<Event>,
}

/// The watches of a sandbox, by their ids.
#[derive(Debug)]
pub(super) struct Watchers {
    known: Mutex<BTreeMap<String, Watcher>>,
    /// For those that are not asked for their events, too.
    places: Places,
}

impl Default for Watchers {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            places: Places::new(MAX_E2B_WATCHES, "watches"),
        }
    }
}

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Watcher>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stop_all(&self) {
        for (_, watcher) in std::mem::take(&mut *self.lock()) {
            stop(&watcher.control);
        }
    }
}

/// Ends the program that looks.
fn stop(control: &mpsc::Sender<Control>) {
    control.try_send(Control::Cancel).unwrap_or_default();
}

/// A watch that has begun.
struct Looking {
    call: Arc<RunningCall>,
    control: mpsc::Sender<Control>,
    events: mpsc::Receiver<Given>,
    lines: Vec<u8>,
    _place: Place,
}

impl Looking {
    /// What happened next; nothing when nobody looks any more.
    async fn next(&mut self) -> Option<Vec<Event>> {
        let Given::Output(stream, bytes) = self.events.recv().await?;
        if stream != Stream::Stdout {
            return Some(Vec::new());
        }
        self.lines.extend(bytes);
        let Some(end) = self.lines.iter().rposition(|byte| *byte == b'\n') else {
            return Some(Vec::new());
        };
        let rest = self.lines.split_off(end + 1);
        let lines = std::mem::replace(&mut self.lines, rest);
        let lines = lines.split(|byte| *byte == b'\n');
        Some(
            lines
                .filter_map(|line| serde_json::from_slice(line).ok())
                .collect(),
        )
    }
}

/// Begins to look, and waits until nothing is missed any more.
async fn look<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    who: &Who,
    sandbox: &Sandbox,
    watch: &Watch,
) -> Result<Looking, Failure> {
    let path = resolve(&watch.path)?;
    let place = sandbox.watchers.places.take()?;
    let recursive = if watch.recursive { "1" } else { "0" };
    let words = ["python3", "-IS", "-c", PROGRAM, &path, recursive];
    let program = Program {
        argv: words.into_iter().map(Text::from).collect(),
        ..Program::default()
    };
    let begun = begin(api, who, sandbox, program)?;
    started(&begun, &sandbox.id).await?;
    let Begun {
        call,
        control,
        mut events,
        ..
    } = begun;
    let mut stderr = Vec::new();
    while let Some(Given::Output(stream, bytes)) = events.recv().await {
        if stream == Stream::Stdout {
            let lines = bytes.iter().position(|byte| *byte == b'\n');
            let lines = lines
                .and_then(|end| bytes.get(end + 1..))
                .unwrap_or_default()
                .to_vec();
            return Ok(Looking {
                call,
                control,
                events,
                lines,
                _place: place,
            });
        }
        stderr.extend(bytes);
        stderr.truncate(4_096);
    }
    let told = call.ended().await;
    let Told::Released(released) = &*told else {
        return Err(Failure::of_call(&told).about(&sandbox.id));
    };
    let code = match released.outcome().exit {
        Some(Exit::Code(code)) if code != 0 => code,
        _ => 1,
    };
    let finished = Finished {
        code,
        stdout: Vec::new(),
        stderr,
    };
    match checked(finished, &path) {
        Err(failure) => Err(failure),
        Ok(_) => Err(Fault::new(Code::Internal, "the watch ended").into()),
    }
}

/// `WatchDir`
pub(crate) async fn watch_dir<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Extension(Here(sandbox)): Extension<Here>,
    request: Request,
) -> Answer {
    let (headers, watch) = rpc::first::<Watch>(request).await?;
    let ping_s = rpc::ping_s(&headers);
    let mut looking = look(&api, &who, &sandbox, &watch).await?;
    let (to, response) = rpc::stream();
    tokio::spawn(async move {
        if to
            .send(connect::envelope(&filesystem::watching()))
            .await
            .is_err()
        {
            return stop(&looking.control);
        }
        loop {
            let next = tokio::select! {
                next = timeout(Duration::from_secs(ping_s), looking.next()) => next,
                () = to.closed() => return stop(&looking.control),
            };
            let frames = match next {
                Ok(Some(events)) => {
                    let events = events.iter().map(filesystem::happened);
                    events.flat_map(|event| connect::envelope(&event)).collect()
                }
                Ok(None) => break,
                Err(_) => connect::envelope(&filesystem::keepalive()),
            };
            if !frames.is_empty() && to.send(frames).await.is_err() {
                return stop(&looking.control);
            }
        }
        let message = format!("the watch has ended (decision {})", looking.call.id);
        drop(
            to.send(connect::end(Some(&Fault::new(Code::Unavailable, message))))
                .await,
        );
    });
    Ok(response)
}

/// `CreateWatcher`
pub(crate) async fn create<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Extension(Here(sandbox)): Extension<Here>,
    request: Request,
) -> Answer {
    let watch: Watch = rpc::unary(request).await?;
    let mut looking = look(&api, &who, &sandbox, &watch).await?;
    let id = looking.call.id.to_string();
    let watcher = Watcher {
        control: looking.control.clone(),
        events: VecDeque::new(),
    };
    sandbox.watchers.lock().insert(id.clone(), watcher);
    let name = id.clone();
    tokio::spawn(async move {
        while let Some(events) = looking.next().await {
            let mut watchers = sandbox.watchers.lock();
            let Some(watcher) = watchers.get_mut(&name) else {
                drop(watchers);
                return stop(&looking.control);
            };
            watcher.events.extend(events);
            let many = watcher.events.len().saturating_sub(MAX_E2B_WATCH_EVENTS);
            watcher.events.drain(..many);
        }
        sandbox.watchers.lock().remove(&name);
    });
    Ok(rpc::answer(&json!({ "watcherId": id })))
}

fn no_watcher() -> Fault {
    Fault::new(Code::NotFound, "there is no such watcher")
}

/// `GetWatcherEvents`
pub(crate) async fn events<K: Keeps, P: Remembers>(
    State(_): State<Arc<Api<K, P>>>,
    Extension(Here(sandbox)): Extension<Here>,
    request: Request,
) -> Answer {
    let of: OfWatcher = rpc::unary(request).await?;
    let mut watchers = sandbox.watchers.lock();
    let watcher = watchers.get_mut(&of.watcher_id).ok_or_else(no_watcher)?;
    let events: Vec<_> = watcher.events.drain(..).collect();
    Ok(rpc::answer(&json!({ "events": events })))
}

/// `RemoveWatcher`
pub(crate) async fn remove<K: Keeps, P: Remembers>(
    State(_): State<Arc<Api<K, P>>>,
    Extension(Here(sandbox)): Extension<Here>,
    request: Request,
) -> Answer {
    let of: OfWatcher = rpc::unary(request).await?;
    let watcher = sandbox.watchers.lock().remove(&of.watcher_id);
    stop(&watcher.ok_or_else(no_watcher)?.control);
    Ok(rpc::answer(&json!({})))
}

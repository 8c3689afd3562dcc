//! A server in a thread of its own, and what tests say to it.

use std::{
    collections::BTreeMap,
    fs,
    io::{Seek as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    pin::pin,
    rc::Rc,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use casemate_model::{Digest, Limits, Responses, SessionId, Text};
use casemate_ports::{
    CHANNEL_CAPACITY, CallIo, Cell, Command, Control, Echo, Event, ImageRef, Kind, Owner,
    PlaceSpec, Quota, Quotas, SessionKeeper as _, SessionSpec, WayPorts,
};
use casemate_transport::{Listener, RemoteKeeper, RemotePlace, Server};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, oneshot},
    task::LocalSet,
};

use crate::fake::{Fake, Seen};

/// A keeper that is served. It ends when this is dropped.
pub(crate) struct World {
    pub(crate) seen: Arc<Seen>,
    pub(crate) directory: TempDir,
    served: Option<Served>,
}

struct Served {
    orders: mpsc::UnboundedSender<Order>,
    thread: JoinHandle<()>,
}

enum Order {
    Stop,
    Drain(oneshot::Sender<()>),
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let seen = Arc::new(Seen::default());
        let mut world = Self {
            seen,
            directory,
            served: None,
        };
        world.start();
        world
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("keeper.sock")
    }

    /// Starts the keeper, and waits until it listens.
    pub(crate) fn start(&mut self) {
        let (orders, mut ordered) = mpsc::unbounded_channel();
        let (listening, listens) = std::sync::mpsc::channel();
        let (socket, seen) = (self.socket(), Arc::clone(&self.seen));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            LocalSet::new().block_on(&runtime, async {
                let listener = Listener::bind(&socket).unwrap();
                listening.send(()).unwrap();
                let server = Server::new(Rc::new(Fake::new(seen)));
                let mut serving = pin!(server.serve(&listener));
                loop {
                    tokio::select! {
                        _ = &mut serving => {}
                        order = ordered.recv() => match order {
                            Some(Order::Drain(done)) => {
                                server.drain();
                                done.send(()).unwrap();
                            }
                            Some(Order::Stop) | None => return,
                        },
                    }
                }
            });
        });
        listens.recv().unwrap();
        self.served = Some(Served { orders, thread });
    }

    /// Ends the keeper, as if its process had died.
    pub(crate) fn stop(&mut self) {
        if let Some(Served { orders, thread }) = self.served.take() {
            let _ = orders.send(Order::Stop);
            thread.join().unwrap();
        }
    }

    /// Lets the keeper refuse what is new from now on.
    pub(crate) async fn drain(&self) {
        let (done, is_done) = oneshot::channel();
        let served = self.served.as_ref().unwrap();
        served.orders.send(Order::Drain(done)).ok().unwrap();
        is_done.await.unwrap();
    }

    pub(crate) async fn keeper(&self) -> RemoteKeeper {
        RemoteKeeper::connect(&self.socket()).await.unwrap()
    }

    pub(crate) async fn place(&self) -> RemotePlace {
        self.keeper().await.place(place_spec()).await.unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn session() -> SessionId {
    SessionId::new(1, [7; 10])
}

pub(crate) fn owner() -> Owner {
    Owner {
        tenant: "acme".into(),
        agent: "local".into(),
    }
}

pub(crate) fn kind() -> Kind {
    let quota = Quota {
        memory_bytes: 1 << 40,
        processes: 3,
        cpu_milli: 4,
        calls: 5,
    };
    Kind {
        image: ImageRef::Stored(Digest::of(b"image")),
        profile: Digest::of(b"profile"),
        python: true,
        limits: Limits::default(),
        quotas: Quotas {
            session: quota,
            agent: quota,
            tenant: quota,
        },
        way: Some(WayPorts::new([8443]).unwrap()),
        violations: Some(Responses::STRICT),
    }
}

pub(crate) fn session_spec() -> SessionSpec {
    SessionSpec {
        id: session(),
        owner: owner(),
        kind: kind(),
        idle_ms: 1,
        max_ms: u64::MAX,
        resumes: false,
    }
}

pub(crate) fn place_spec() -> PlaceSpec {
    PlaceSpec {
        session: session(),
        owner: owner(),
        limits: Limits::default(),
        inputs: Vec::new(),
        context: None,
        way: None,
    }
}

pub(crate) fn command(words: &[&str]) -> Command {
    Command {
        argv: words.iter().copied().map(Text::from).collect(),
        env: BTreeMap::from([("NAME".to_owned(), Text::from(b"\xff\0".to_vec()))]),
        cell: Some(Cell {
            source: b"print(1)\n\xff".to_vec(),
            echo: Echo::Last,
        }),
        terminal: None,
    }
}

/// A caller's ends of a running program.
pub(crate) struct Caller {
    pub(crate) stdin: mpsc::Sender<Vec<u8>>,
    pub(crate) control: mpsc::Sender<Control>,
    pub(crate) events: mpsc::Receiver<Event>,
}

pub(crate) fn caller() -> (Caller, CallIo) {
    let (stdin, stdin_receiver) = mpsc::channel(CHANNEL_CAPACITY);
    let (control, control_receiver) = mpsc::channel(CHANNEL_CAPACITY);
    let (events_sender, events) = mpsc::channel(CHANNEL_CAPACITY);
    let io = CallIo {
        stdin: stdin_receiver,
        control: control_receiver,
        events: events_sender,
    };
    (
        Caller {
            stdin,
            control,
            events,
        },
        io,
    )
}

/// Waits until `holds`, and fails if it does not within ten seconds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "not yet: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A file without a name, open at its start.
pub(crate) fn file(content: &[u8]) -> fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    file
}

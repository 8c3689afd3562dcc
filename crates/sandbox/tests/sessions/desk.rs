//! A keeper of sessions, and somebody who uses it.

use std::{path::PathBuf, rc::Rc, time::Duration};

use casemate_model::{Cause, ContextId, Digest, Exit, Limits, SessionId, Stream};
use casemate_ports::{
    CallIo, Cell, Command, Control, Echo, Ended, Event, ImageRef, KeeperError, Kind, Owner,
    PlaceSpec, Quota, Quotas, Sandbox as _, SessionKeeper as _, SessionSpec,
};
use casemate_sandbox::{NamespaceSessions, Place};
use tokio::sync::mpsc;

/// After this a case hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A keeper and its user.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) keeper: Rc<NamespaceSessions>,
}

/// What a call came to.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) ended: Ended,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) results: String,
}

impl Done {
    /// The standard output of a call that must have succeeded.
    pub(crate) fn ok(self) -> String {
        assert_eq!(
            (self.ended.cause, self.ended.exit),
            (Cause::Completed, Some(Exit::Code(0))),
            "{self:?}"
        );
        self.stdout
    }
}

pub(crate) fn quota() -> Quota {
    Quota {
        memory_bytes: 4 << 30,
        processes: 4_096,
        cpu_milli: 2_000,
        calls: 64,
    }
}

pub(crate) fn kind() -> Kind {
    Kind {
        image: ImageRef::Host,
        profile: Digest::of(b"profile"),
        python: true,
        limits: Limits::default(),
        quotas: Quotas {
            session: quota(),
            agent: quota(),
            tenant: quota(),
        },
        way: None,
        violations: None,
    }
}

pub(crate) fn owner(agent: &str) -> Owner {
    Owner {
        tenant: "tenant".into(),
        agent: agent.into(),
    }
}

pub(crate) fn session_id(number: u8) -> SessionId {
    SessionId::new(1, [number; 10])
}

pub(crate) fn context_id(number: u8) -> ContextId {
    ContextId::new(1, [number; 10])
}

pub(crate) fn spec(number: u8) -> SessionSpec {
    SessionSpec {
        id: session_id(number),
        owner: owner("agent"),
        kind: kind(),
        idle_ms: 600_000,
        max_ms: 600_000,
        resumes: false,
    }
}

pub(crate) fn program(words: &[&str]) -> Command {
    Command {
        argv: words.iter().map(|word| (*word).into()).collect(),
        ..Command::default()
    }
}

pub(crate) fn shell(script: &str) -> Command {
    program(&["bash", "-c", script])
}

pub(crate) fn cell(source: &str) -> Command {
    Command {
        argv: vec!["<cell>".into()],
        cell: Some(Cell {
            source: source.into(),
            echo: Echo::Last,
        }),
        ..Command::default()
    }
}

impl Desk {
    pub(crate) fn open() -> Self {
        let images = PathBuf::from("/nonexistent");
        Self {
            keeper: Rc::new(NamespaceSessions::new(&images).expect("a keeper")),
        }
    }

    pub(crate) async fn session(&self, number: u8) -> SessionId {
        self.keeper.open(spec(number)).await.expect("a session").id
    }

    pub(crate) fn place(&self, number: u8) -> PlaceSpec {
        PlaceSpec {
            session: session_id(number),
            owner: owner("agent"),
            limits: Limits::default(),
            inputs: Vec::new(),
            context: None,
            way: None,
        }
    }

    pub(crate) async fn call(&self, number: u8, command: Command) -> Done {
        self.call_in(self.place(number), command)
            .await
            .expect("a call")
    }

    pub(crate) async fn call_in(
        &self,
        spec: PlaceSpec,
        command: Command,
    ) -> Result<Done, KeeperError> {
        let place = self.keeper.place(spec).await?;
        self.run(place, command, Vec::new(), |_| {}).await
    }

    /// Runs a command whose caller gives `input`, and does something when the first output comes.
    pub(crate) async fn run(
        &self,
        mut place: Place,
        command: Command,
        input: Vec<u8>,
        on_output: impl FnOnce(&mpsc::Sender<Control>),
    ) -> Result<Done, KeeperError> {
        let (stdin_sender, stdin) = mpsc::channel(16);
        let (control_sender, control) = mpsc::channel(16);
        let (events, mut output) = mpsc::channel(16);
        if !input.is_empty() {
            stdin_sender.send(input).await.expect("room");
        }
        drop(stdin_sender);
        place.ready().await?;
        let io = CallIo {
            stdin,
            control,
            events,
        };
        let (mut stdout, mut stderr, mut results) = (Vec::new(), Vec::new(), Vec::new());
        let running = tokio::time::timeout(PATIENCE, place.run(command, io));
        let mut on_output = Some(on_output);
        let hearing = async {
            while let Some(Event::Output(stream, bytes)) = output.recv().await {
                match stream {
                    Stream::Stdout => stdout.extend(bytes),
                    Stream::Stderr => stderr.extend(bytes),
                    Stream::Results => results.extend(bytes),
                }
                if let Some(on_output) = on_output.take() {
                    on_output(&control_sender);
                }
            }
        };
        let (ended, ()) = tokio::join!(running, hearing);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Done {
            ended: ended.expect("it ends")?,
            stdout: text(stdout),
            stderr: text(stderr),
            results: text(results),
        })
    }
}

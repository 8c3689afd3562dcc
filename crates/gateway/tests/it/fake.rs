//! A keeper that runs nothing, and notes what it is asked to do.

use std::{
    fmt, io,
    sync::{Arc, Mutex},
};

use casemate_gateway::{Clock, Entropy};
use casemate_model::{
    Artefact, Cause, Control, ControlName, Digest, Exit, InputDigest, Isolation, IsolationTier,
    Limits, Stream, Strength, Text, Usage,
};
use casemate_ports::{
    ArtefactSink, CallIo, Command, Ended, Event, Keeper, KeeperError, Ready, Sandbox, SandboxSpec,
};

/// What the keeper was asked to do, in order.
pub(crate) type Steps = Arc<Mutex<Vec<&'static str>>>;

type Hook = Arc<dyn Fn() + Send + Sync>;

/// What the sandboxes of a keeper will do.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) steps: Steps,
    pub(crate) isolation: Isolation,
    pub(crate) refuses: Option<fn() -> KeeperError>,
    /// Called by `run` before anything else.
    pub(crate) on_run: Hook,
    pub(crate) stdout: Vec<u8>,
    pub(crate) ended: Result<Ended, &'static str>,
    pub(crate) artefact: Option<(&'static str, &'static [u8])>,
    /// The command of the last run.
    pub(crate) command: Arc<Mutex<Option<Command>>>,
    /// The limits of the last sandbox.
    pub(crate) limits: Arc<Mutex<Option<Limits>>>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

impl Default for Script {
    fn default() -> Self {
        let controls = ControlName::ALL.iter().map(|name| Control {
            name: *name,
            strength: Strength::Enforced,
            by: "a fake".into(),
            note: String::new(),
        });
        Self {
            steps: Steps::default(),
            isolation: Isolation {
                tier: IsolationTier::Namespace,
                controls: controls.collect(),
            },
            refuses: None,
            on_run: Arc::new(|| ()),
            stdout: b"made by nobody\n".to_vec(),
            ended: Ok(ended(Cause::Completed, Some(Exit::Code(0)))),
            artefact: None,
            command: Arc::default(),
            limits: Arc::default(),
        }
    }
}

pub(crate) fn ended(cause: Cause, exit: Option<Exit>) -> Ended {
    Ended {
        cause,
        exit,
        usage: Usage {
            wall_ms: 12,
            cpu_us: 3_400,
            memory_peak_bytes: 5_600_000,
        },
        stdout_bytes: 15,
        stderr_bytes: 0,
        results_bytes: 0,
        output_truncated: false,
        denied: Vec::new(),
        violations: Vec::new(),
    }
}

/// Makes fake sandboxes.
#[derive(Debug)]
pub(crate) struct FakeKeeper(pub(crate) Script);

/// Notes when it is dropped.
#[derive(Debug)]
pub(crate) struct FakeSandbox {
    script: Script,
    spec: SandboxSpec,
}

impl FakeSandbox {
    fn note(&self, step: &'static str) {
        self.script.steps.lock().unwrap().push(step);
    }
}

impl Drop for FakeSandbox {
    fn drop(&mut self) {
        self.note("drop");
    }
}

impl Keeper for FakeKeeper {
    type Sandbox = FakeSandbox;

    async fn create(&self, spec: SandboxSpec) -> Result<FakeSandbox, KeeperError> {
        if let Some(refuse) = self.0.refuses {
            return Err(refuse());
        }
        *self.0.limits.lock().unwrap() = Some(spec.limits);
        let sandbox = FakeSandbox {
            script: self.0.clone(),
            spec,
        };
        sandbox.note("create");
        Ok(sandbox)
    }
}

impl Sandbox for FakeSandbox {
    async fn ready(&mut self) -> Result<Ready, KeeperError> {
        self.note("ready");
        let inputs = self.spec.inputs.iter_mut().map(|input| {
            let mut content = Vec::new();
            io::Read::read_to_end(&mut input.file, &mut content).unwrap();
            InputDigest {
                name: input.name.clone(),
                bytes: content.len() as u64,
                sha256: Digest::of(&content),
            }
        });
        Ok(Ready {
            inputs: inputs.collect(),
            isolation: self.script.isolation.clone(),
        })
    }

    async fn run(&mut self, command: Command, io: CallIo) -> Result<Ended, KeeperError> {
        self.note("run");
        (self.script.on_run)();
        *self.script.command.lock().unwrap() = Some(command);
        for chunk in self.script.stdout.chunks(64 * 1024) {
            let event = Event::Output(Stream::Stdout, chunk.to_vec());
            if io.events.send(event).await.is_err() {
                return Ok(ended(Cause::Cancelled, Some(Exit::Signal(9))));
            }
        }
        self.script
            .ended
            .clone()
            .map_err(|why| KeeperError::Lost(why.into()))
    }

    async fn collect(self, sink: &mut dyn ArtefactSink) -> Result<Vec<Artefact>, KeeperError> {
        self.note("collect");
        let Some((path, mut content)) = self.script.artefact else {
            return Ok(Vec::new());
        };
        let (path, sha256) = (Text::from(path), Digest::of(content));
        let bytes = content.len() as u64;
        let skipped =
            sink.file(&path, false, &mut content)
                .map_err(|source| KeeperError::Collect {
                    step: "write it".into(),
                    source,
                })?;
        Ok(vec![Artefact {
            path,
            bytes,
            sha256: Some(sha256),
            skipped,
        }])
    }
}

/// A sink that keeps nothing.
#[derive(Debug)]
pub(crate) struct Nowhere;

impl ArtefactSink for Nowhere {
    fn file(
        &mut self,
        _: &Text,
        _: bool,
        content: &mut dyn io::Read,
    ) -> io::Result<Option<String>> {
        io::copy(content, &mut io::sink()).map(|_| None)
    }
}

/// A clock that a test sets.
#[derive(Clone, Debug)]
pub(crate) struct TestClock(pub(crate) Arc<Mutex<u64>>);

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        *self.0.lock().unwrap()
    }
}

impl TestClock {
    pub(crate) fn advance(&self, ms: u64) {
        *self.0.lock().unwrap() += ms;
    }

    pub(crate) fn back(&self, ms: u64) {
        *self.0.lock().unwrap() -= ms;
    }
}

/// Bytes that never repeat, and that a test can foretell from its seed.
#[derive(Clone, Debug)]
pub(crate) struct TestEntropy(pub(crate) Arc<Mutex<u64>>);

impl Entropy for TestEntropy {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut counter = self.0.lock().unwrap();
        for chunk in bytes.chunks_mut(8) {
            *counter += 1;
            let block = Digest::of(&counter.to_be_bytes());
            chunk.copy_from_slice(&block.as_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

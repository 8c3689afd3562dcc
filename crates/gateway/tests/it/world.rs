//! A state directory, a clock, a profile, and the whole life of a call in one function.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    sync::{Arc, Mutex},
};

use casemate_gateway::{
    Allowed, Ask, Checked, Clock, Code, Denied, Identified, Journal, Key, Manifest, Proposed,
    Recording, Refused, Released, Ruling, Runs, Stores,
};
use casemate_ledger::{Kind, Ledger, LogKey, Record};
use casemate_model::{Limits, RunMode, SideEffect};
use casemate_policy::{Authenticator, Claims, Profile, RoutePolicy, Syntax, Verified};
use casemate_ports::{CHANNEL_CAPACITY, CallIo, Command, Event, InputFile};
use casemate_store::{Keys, SqliteStore, StateDir, StoreError};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::fake::{FakeKeeper, FakeSandbox, Nowhere, Script, TestClock, TestEntropy};

pub(crate) const TOOLS: &[Manifest] = &[
    Manifest {
        name: "python",
        side_effect: SideEffect::Draft,
        runs: Runs::Programs,
    },
    Manifest {
        name: "look",
        side_effect: SideEffect::Read,
        runs: Runs::Programs,
    },
    Manifest {
        name: "refund",
        side_effect: SideEffect::Write,
        runs: Runs::Programs,
    },
];

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) clock: TestClock,
    pub(crate) entropy: TestEntropy,
    pub(crate) script: Script,
    pub(crate) profile: Profile,
}

/// The stores of a state directory.
pub(crate) struct AgentStores(pub(crate) StateDir);

impl Stores for AgentStores {
    type Store = SqliteStore;

    async fn open(&self, agent: &str) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(&self.0, agent).await
    }

    async fn find(&self, agent: &str) -> Result<Option<SqliteStore>, StoreError> {
        if self.0.agent(agent)?.join("agent.db").exists() {
            self.open(agent).await.map(Some)
        } else {
            Ok(None)
        }
    }
}

/// How a call came out.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one of each test")]
pub(crate) enum End {
    Released(Released),
    Refused(Refused),
}

impl End {
    pub(crate) fn released(self) -> Released {
        match self {
            Self::Released(released) => released,
            Self::Refused(refused) => panic!("{refused:?}"),
        }
    }

    pub(crate) fn refused(self) -> Refused {
        match self {
            Self::Refused(refused) => refused,
            Self::Released(released) => panic!("{released:?}"),
        }
    }
}

impl World {
    pub(crate) fn policy(&self) -> RoutePolicy {
        RoutePolicy::of(self.profile.clone()).unwrap()
    }

    pub(crate) fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    pub(crate) fn at(dir: TempDir) -> Self {
        Self {
            dir,
            clock: TestClock(Arc::new(Mutex::new(1_800_000_000_000))),
            entropy: TestEntropy(Arc::new(Mutex::new(u64::from(std::process::id()) << 32))),
            script: Script::default(),
            profile: profile(""),
        }
    }

    pub(crate) fn state(&self) -> StateDir {
        StateDir::open(&self.dir.path().join("state")).unwrap()
    }

    pub(crate) fn stores(&self) -> AgentStores {
        AgentStores(self.state())
    }

    pub(crate) fn journal(&self) -> Journal {
        self.journal_by(Box::new(self.clock.clone()))
    }

    /// One that keeps the time of this clock.
    pub(crate) fn journal_by(&self, clock: Box<dyn Clock>) -> Journal {
        let state = self.state();
        let keys = Keys::open(&state).unwrap();
        let key = LogKey::from_seed(&keys.signing_seed().unwrap(), "casemate-test").unwrap();
        let ledger = Ledger::open(&state.ledger(), key).unwrap();
        Journal::new(ledger, keys, clock, Box::new(self.entropy.clone()))
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        records(&self.dir.path().join("state/ledger"))
    }

    pub(crate) fn kinds(&self) -> Vec<Kind> {
        self.records()
            .iter()
            .map(|record| record.entry.kind)
            .collect()
    }

    /// The opened content of a record.
    pub(crate) fn content(&self, record: &Record) -> serde_json::Value {
        let aad = casemate_gateway::content_aad(record.entry.decision, record.entry.kind);
        let sealed = record.entry.payload.as_ref().unwrap();
        let keys = Keys::open(&self.state()).unwrap();
        let content = keys.unseal(&record.entry.agent, &aad, sealed).unwrap();
        serde_json::from_slice(&content).unwrap()
    }

    pub(crate) fn steps(&self) -> Vec<&'static str> {
        self.script.steps.lock().unwrap().clone()
    }

    /// How often a program was started.
    pub(crate) fn runs(&self) -> usize {
        self.steps().iter().filter(|step| **step == "run").count()
    }

    pub(crate) fn claims(&self) -> Claims {
        Claims {
            issuer: "casemate:local".into(),
            subject: "uid:1000".into(),
            tenant: "local".into(),
            audience: "casemate-run".into(),
            scopes: ["code:execute".to_owned()].into(),
            expires_at_ms: *self.clock.0.lock().unwrap() + 60_000,
            credential: "uid:1000".into(),
            behalf: Vec::new(),
            bounds: Default::default(),
        }
    }

    pub(crate) fn identified(&self, ask: Ask) -> Result<Identified, Denied> {
        self.identified_as(ask, self.claims())
    }

    pub(crate) fn identified_as(&self, ask: Ask, claims: Claims) -> Result<Identified, Denied> {
        let inputs = ask.code.iter().filter_map(|code| {
            let path = self.dir.path().join("input");
            fs::write(&path, &code.source).unwrap();
            Some(InputFile {
                name: code.input.clone()?,
                file: File::open(path).unwrap(),
            })
        });
        let inputs = inputs.collect();
        Proposed::new(ask, inputs, &self.clock, &self.entropy)
            .unwrap()
            .authenticate(Verified::vouch(claims, Authenticator::LocalUser))
    }

    /// The call, before it is decided on.
    pub(crate) async fn checked(
        &self,
        ask: Ask,
        policy: &RoutePolicy,
    ) -> Result<Checked<FakeSandbox>, Denied> {
        let keeper = FakeKeeper(self.script.clone());
        let enclosed = self.identified(ask)?.enclose(policy, TOOLS, &keeper).await;
        enclosed?.check().await
    }

    /// What is decided about `ask`.
    pub(crate) async fn rule(&self, ask: Ask) -> Ruling<FakeSandbox> {
        let policy = self.policy();
        match self.checked(ask, &policy).await {
            Ok(checked) => checked.decide(&policy, RunMode::Autonomous, &self.clock),
            Err(denied) => Ruling::Denied(denied),
        }
    }

    pub(crate) async fn allowed(&self, ask: Ask) -> Allowed<FakeSandbox> {
        match self.rule(ask).await {
            Ruling::Allowed(allowed) => allowed,
            other => panic!("{other:?}"),
        }
    }

    /// The whole life of a call.
    pub(crate) async fn call(&self, ask: Ask) -> End {
        self.call_in(&self.journal(), ask).await
    }

    pub(crate) async fn call_in(&self, journal: &Journal, ask: Ask) -> End {
        let allowed = match self.rule(ask).await {
            Ruling::Allowed(allowed) => allowed,
            Ruling::Denied(denied) => return End::Refused(denied.record(journal)),
            Ruling::Held(held) => {
                return match held.record(journal) {
                    Ok(pending) => End::Refused(pending.refuse()),
                    Err(refused) => End::Refused(refused),
                };
            }
        };
        match allowed.record(journal, &self.stores()).await {
            Recording::Refused(refused) => End::Refused(refused),
            Recording::Replayed(released) => End::Released(released),
            Recording::Recorded(recorded) => {
                let (io, _output) = io();
                let ended = recorded.lease().run(io.call).await;
                End::Released(ended.release(&mut Nowhere).await.unwrap())
            }
        }
    }
}

/// Both ends of a call's streams.
pub(crate) struct Ends {
    pub(crate) call: CallIo,
    _stdin: mpsc::Sender<Vec<u8>>,
}

/// Streams whose output is drained by a task.
pub(crate) fn io() -> (Ends, tokio::task::JoinHandle<Vec<u8>>) {
    let (stdin, stdin_receiver) = mpsc::channel(1);
    let (control, control_receiver) = mpsc::channel(1);
    let (events, mut output) = mpsc::channel(CHANNEL_CAPACITY);
    let drained = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(Event::Output(_, bytes)) = output.recv().await {
            all.extend(bytes);
        }
        drop(control);
        all
    });
    let call = CallIo {
        stdin: stdin_receiver,
        control: control_receiver,
        events,
    };
    let ends = Ends {
        call,
        _stdin: stdin,
    };
    (ends, drained)
}

/// A call of `python`, which may run.
pub(crate) fn ask() -> Ask {
    Ask {
        agent: "local".into(),
        tool: "python".into(),
        command: Command {
            argv: vec!["python3".into(), "/workspace/in/a.py".into()],
            env: BTreeMap::from([("GREETING".to_owned(), "hello".into())]),
            ..Command::default()
        },
        code: Some(Code {
            input: Some("a.py".into()),
            source: b"print(1)".to_vec(),
        }),
        limits: Limits::default(),
        within: None,
        destination: None,
        key: Key::Own,
        trace_id: None,
    }
}

pub(crate) fn ask_under(key: &str) -> Ask {
    Ask {
        key: Key::Given(key.into()),
        ..ask()
    }
}

/// The built-in profile with a refund tool that a person has to approve, and `extra` lines in
/// `[observability]`.
pub(crate) fn profile(required: &str) -> Profile {
    let builtin = Profile::builtin().unwrap();
    let source = std::str::from_utf8(builtin.source())
        .unwrap()
        .replace(r#"["python", "shell"]"#, r#"["python", "shell", "look"]"#)
        .replace(
            "approval_required = []",
            r#"approval_required = ["refund"]"#,
        )
        .replace(r#""stop_reason"]"#, &format!(r#""stop_reason"{required}]"#));
    Profile::parse(source.as_bytes(), Syntax::Toml).unwrap()
}

pub(crate) fn records(ledger: &Path) -> Vec<Record> {
    casemate_ledger::read(ledger).map(Result::unwrap).collect()
}

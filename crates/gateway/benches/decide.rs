//! From a request to a durable decision: 64 threads that share a journal, under the built-in profile. Prints JSON.
//!
//! The sandbox is a stand-in that is ready at once: what is measured is the way from the proposal to the record on disk. A decision that
//! allows is closed as `unknown`, since nothing runs, and so is a second record.

use std::{
    error::Error,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use casemate_gateway::{
    Ask, Clock, Entropy, Journal, Key, Proposed, Recording, Ruling, SANDBOX_TOOLS, Stores,
};
use casemate_ledger::{Ledger, LogKey};
use casemate_model::{
    Artefact, Control, ControlName, Isolation, IsolationTier, Limits, RunMode, Strength,
};
use casemate_policy::{Authenticator, Claims, Profile, RoutePolicy, Verified};
use casemate_ports::{
    ArtefactSink, CallIo, Command, Ended, Keeper, KeeperError, Ready, Sandbox, SandboxSpec,
};
use casemate_store::{Keys, SqliteStore, StateDir, StoreError};
use serde_json::{Value, json};

type Failure = Box<dyn Error + Send + Sync>;

const IN_FLIGHT: u64 = 64;
const RUN_FOR: Duration = Duration::from_secs(3);

fn main() -> Result<(), Failure> {
    // Beside the build, which is on a real disk; `/tmp` may be memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let report = json!({
        "in flight": IN_FLIGHT,
        "refused": measure(&dir.path().join("refused"), "another-service")?,
        "allowed and closed": measure(&dir.path().join("allowed"), "casemate-run")?,
    });
    #[expect(
        clippy::print_stdout,
        reason = "the report is what this program is for"
    )]
    {
        println!("{report:#}");
    }
    Ok(())
}

/// Decisions a second for callers whose claims are for this audience.
fn measure(dir: &Path, audience: &str) -> Result<Value, Failure> {
    let state = StateDir::open(dir)?;
    let keys = Keys::open(&state)?;
    let key = LogKey::from_seed(&*keys.signing_seed()?, "casemate-bench")?;
    let ledger = Ledger::open(&state.ledger(), key)?;
    let journal = Journal::new(ledger, keys, Box::new(System), Box::new(System));
    let policy = RoutePolicy::of(Profile::builtin()?)?;
    let stores = AgentStores(state);
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    thread::scope(|scope| {
        let callers: Vec<_> = (0..IN_FLIGHT)
            .map(|_| {
                scope.spawn(|| -> Result<(), Failure> {
                    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
                    while !stop.load(Ordering::Relaxed) {
                        runtime.block_on(decide(&journal, &stores, &policy, audience))?;
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        thread::sleep(RUN_FOR);
        stop.store(true, Ordering::Relaxed);
        callers
            .into_iter()
            .try_for_each(|caller| caller.join().map_err(|_| "a caller panicked")?)
    })?;
    let (count, seconds) = (count.into_inner(), began.elapsed().as_secs_f64());
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a few seconds are small"
    )]
    let per_second = (count as f64 / seconds).round();
    Ok(json!({ "decisions": count, "decisions a second": per_second }))
}

async fn decide(
    journal: &Journal,
    stores: &AgentStores,
    policy: &RoutePolicy,
    audience: &str,
) -> Result<(), Failure> {
    let ask = Ask {
        agent: "bench".to_owned(),
        tool: "python".to_owned(),
        command: Command {
            argv: vec!["python3".into(), "/workspace/in/a.py".into()],
            ..Command::default()
        },
        code: None,
        within: None,
        destination: None,
        limits: Limits::default(),
        key: Key::Own,
        trace_id: None,
    };
    let ask = Ask {
        tool: "shell".to_owned(),
        ..ask
    };
    let claims = Claims {
        issuer: "casemate:local".to_owned(),
        subject: "uid:1000".to_owned(),
        tenant: "local".to_owned(),
        audience: audience.to_owned(),
        scopes: ["code:execute".to_owned()].into(),
        expires_at_ms: System.now_ms() + 60_000,
        credential: "uid:1000".to_owned(),
        behalf: Vec::new(),
        bounds: Default::default(),
    };
    let claims = Verified::vouch(claims, Authenticator::LocalUser);
    let proposed = Proposed::new(ask, Vec::new(), &System, &System)?;
    let ruling = match proposed.authenticate(claims) {
        Ok(identified) => {
            let enclosed = identified.enclose(policy, SANDBOX_TOOLS, &StandIn).await;
            match enclosed {
                Ok(enclosed) => match enclosed.check().await {
                    Ok(checked) => checked.decide(policy, RunMode::Autonomous, &System),
                    Err(denied) => Ruling::Denied(denied),
                },
                Err(denied) => Ruling::Denied(denied),
            }
        }
        Err(denied) => Ruling::Denied(denied),
    };
    let receipt = match ruling {
        Ruling::Allowed(allowed) => match allowed.record(journal, stores).await {
            Recording::Recorded(recorded) => Some(recorded.receipt().clone()),
            Recording::Replayed(_) | Recording::Refused(_) => None,
        },
        Ruling::Denied(denied) => denied.record(journal).receipt().cloned(),
        Ruling::Held(_) => None,
    };
    receipt.map(drop).ok_or_else(|| "not on disk".into())
}

#[derive(Debug)]
struct AgentStores(StateDir);

impl Stores for AgentStores {
    type Store = SqliteStore;

    async fn open(&self, agent: &str) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(&self.0, agent).await
    }

    async fn find(&self, agent: &str) -> Result<Option<SqliteStore>, StoreError> {
        self.open(agent).await.map(Some)
    }
}

/// The time and chance of this machine.
#[derive(Debug)]
struct System;

impl Clock for System {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }
}

impl Entropy for System {
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        use std::io::Read as _;
        thread_local! {
            static SOURCE: std::cell::RefCell<Option<std::fs::File>> = const { std::cell::RefCell::new(None) };
        }
        SOURCE.with_borrow_mut(|source| {
            if source.is_none() {
                *source = Some(std::fs::File::open("/dev/urandom")?);
            }
            source
                .as_mut()
                .map_or(Ok(()), |source| source.read_exact(bytes))
        })
    }
}

/// A keeper whose sandboxes are ready at once and run nothing.
struct StandIn;

impl Keeper for StandIn {
    type Sandbox = Self;

    async fn create(&self, _spec: SandboxSpec) -> Result<Self, KeeperError> {
        Ok(Self)
    }
}

impl Sandbox for StandIn {
    async fn ready(&mut self) -> Result<Ready, KeeperError> {
        let control = |name: &ControlName| Control {
            name: *name,
            strength: Strength::Enforced,
            by: "a stand-in".to_owned(),
            note: String::new(),
        };
        Ok(Ready {
            isolation: Isolation {
                tier: IsolationTier::Namespace,
                controls: ControlName::ALL.iter().map(control).collect(),
            },
            inputs: Vec::new(),
        })
    }

    async fn run(&mut self, _command: Command, _io: CallIo) -> Result<Ended, KeeperError> {
        Err(KeeperError::Unavailable("it runs nothing".to_owned()))
    }

    async fn collect(self, _sink: &mut dyn ArtefactSink) -> Result<Vec<Artefact>, KeeperError> {
        Ok(Vec::new())
    }
}

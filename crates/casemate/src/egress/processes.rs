//! The processes of egress of a gateway: one for each agent, started when it is first needed, and again when it has died.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fs::{self, DirBuilder},
    os::{fd::AsFd, unix::fs::DirBuilderExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use casemate_gateway::Policies;
use casemate_model::{Hasher, one_line};
use casemate_ports::{
    Egress, EgressError, NewWay, Owner, Pending, ServedWay, WayAuthority, WayRules, WaySockets,
    Witness,
};
use casemate_transport::lending::Lender;
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

use super::{
    process::Process,
    rights::{Lending, Still},
};
use crate::{
    report,
    way::{self, Held, Right, Telling, roots_in},
};

/// How long nobody is started after one could not be, or died without having served; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// But never longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long a process has to say who vouches for destinations: with the time to start, less than whoever asks waits.
const TOLD_TIMEOUT: Duration = Duration::from_secs(4);

/// The processes. They die with this.
#[derive(Clone, Debug)]
pub(crate) struct Processes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The state directory, whose credentials calls may use.
    state: PathBuf,
    run: PathBuf,
    roots: PathBuf,
    /// Where their ways out are attended to.
    runtime: Handle,
    agents: Mutex<HashMap<Owner, Arc<tokio::sync::Mutex<Agent>>>>,
    started: AtomicU64,
    /// By what calls are decided: a right to credentials ends when that changes.
    governing: Arc<dyn Policies>,
    policies: way::Policies,
    /// One after the other, so that of many calls one starts identity.
    ordering: tokio::sync::Mutex<()>,
    /// [`TOLD_TIMEOUT`].
    patience: Duration,
}

/// The process of one agent.
#[derive(Debug, Default)]
struct Agent {
    process: Option<Process>,
    /// How many failed one after the other.
    failures: u32,
    not_before: Option<Instant>,
}

impl Processes {
    /// For the gateway of the state directory at `state`, which must be the only one, and decides by `governing`. Needs a tokio runtime.
    ///
    /// # Errors
    /// When there is no place for their sockets.
    pub(crate) fn new(state: &Path, governing: Arc<dyn Policies>) -> anyhow::Result<Self> {
        let state = std::path::absolute(state).context("cannot find the state directory")?;
        let run = state.join("run");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&run);
        made.with_context(|| format!("cannot make `{}`", run.display()))?;
        // Those of a gateway that died.
        for entry in fs::read_dir(&run).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("egress-") && name.ends_with(".sock") {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self(Arc::new(Inner {
            roots: roots_in(&state),
            state,
            run,
            runtime: Handle::current(),
            agents: Mutex::default(),
            started: AtomicU64::new(0),
            governing,
            policies: way::Policies::default(),
            ordering: tokio::sync::Mutex::default(),
            patience: TOLD_TIMEOUT,
        })))
    }

    /// Those that live and are not just being started.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let agents = self.0.agents.lock();
        let agents = agents.unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for agent in agents.values() {
            if let Ok(mut agent) = agent.try_lock()
                && let Some(process) = &mut agent.process
                && process.ended().is_none()
            {
                found.push(process.pid());
            }
        }
        found
    }

    fn agent(&self, owner: &Owner) -> Arc<tokio::sync::Mutex<Agent>> {
        let agents = self.0.agents.lock();
        let mut agents = agents.unwrap_or_else(PoisonError::into_inner);
        Arc::clone(agents.entry(owner.clone()).or_default())
    }

    async fn authority(&self, owner: Owner, rules: WayRules) -> Result<WayAuthority, EgressError> {
        let agent = self.agent(&owner);
        let mut agent = agent.lock().await;
        let process = agent.process(&self.0, &owner).await?;
        let (remote, handover) = (process.remote.clone(), process.handover.clone());
        // Others of the agent wait for this, and would for ever.
        let Ok(told) = timeout(self.0.patience, remote.authority(&owner, &rules)).await else {
            agent.process = None;
            agent.failed();
            let what = "say who vouches for destinations";
            return Err(EgressError::Late(what.to_owned()));
        };
        if told.is_ok() {
            agent.failures = 0;
        }
        let handover = Some(handover);
        told.map(|told| WayAuthority { handover, ..told })
    }

    async fn open(
        &self,
        owner: Owner,
        way: NewWay,
        witness: Arc<dyn Witness>,
    ) -> Result<Box<dyn ServedWay>, EgressError> {
        let (remote, lender) = {
            let agent = self.agent(&owner);
            let mut agent = agent.lock().await;
            // Another one would not have the authority that the call believes.
            let gone =
                || EgressError::Unavailable("it died after the call was proposed".to_owned());
            let process = agent.process.as_mut().ok_or_else(gone)?;
            match process.ended() {
                None => (process.remote.clone(), Arc::clone(&process.lender)),
                Some(_) => return Err(gone()),
            }
        };
        for _ in 0..way::MOST_ORDERS {
            // Sent before the way out is opened, and read when it is.
            let right = self.lend(&way, &lender).await;
            let (Some(right), Some(bound)) = (right, way.bound.clone()) else {
                break;
            };
            let right = Held::new(right);
            let telling = Arc::new(Telling::new(Arc::clone(&witness), right.clone()));
            match remote.open(&owner, way.clone(), None, telling).await {
                // Another identity knows nothing of what this one gave.
                Err(error @ EgressError::Unlent(_)) => {
                    report::line(&format!("{}: {}", way.decision, one_line(&error)));
                }
                served => {
                    let still = Still::new(Arc::clone(&self.0.governing), bound);
                    return Ok(Box::new(Lending::start(served?, right, still)));
                }
            }
        }
        remote.open(&owner, way, None, witness).await
    }

    /// Orders what the call of `way` may use of credentials, and lends whoever serves it a connection for that. What cannot be had
    /// is not lent, and said here.
    async fn lend(&self, way: &NewWay, lender: &Lender) -> Option<Right> {
        let ordered = async {
            let policy = self.0.policies.get(&way.rules)?;
            let _turn = self.0.ordering.lock().await;
            way::order(&self.0.state, way, &policy).await
        };
        let ordered = timeout(way::ORDER_TIMEOUT, ordered).await;
        let ordered = ordered.unwrap_or_else(|_| Err(anyhow::anyhow!("identity is too slow")));
        let lent = ordered.and_then(|ordered| {
            let Some((right, voucher)) = ordered else {
                return Ok(None);
            };
            let (token, connection) = (voucher.token.expose(), voucher.connection.as_fd());
            let signs = voucher.signs.as_ref().map(AsFd::as_fd);
            lender.lend(way.decision, token, connection, signs)?;
            Ok(Some(right))
        });
        lent.unwrap_or_else(|error| {
            let why = one_line(error.as_ref());
            report::line(&format!("{} has no credentials: {why}", way.decision));
            None
        })
    }
}

impl Inner {
    /// Where the process of an agent writes its errors, one after the other: no other's does.
    fn log(&self, owner: &Owner) -> PathBuf {
        let mut hash = Hasher::default();
        // A length tells where the one name ends.
        hash.update(&owner.tenant.len().to_be_bytes());
        hash.update(owner.tenant.as_bytes());
        hash.update(owner.agent.as_bytes());
        let digest = hash.finish().to_string().replace(':', "-");
        self.run.join(format!("egress-{digest}.log"))
    }
}

impl Agent {
    /// The process that lives, or a new one.
    async fn process(&mut self, of: &Inner, owner: &Owner) -> Result<&Process, EgressError> {
        if let Some(ended) = self.process.as_mut().and_then(Process::ended) {
            self.process = None;
            if !ended {
                self.failed();
            }
        }
        if self.process.is_none() {
            if self.not_before.is_some_and(|then| Instant::now() < then) {
                let why = format!("it failed {} times, and is given a pause", self.failures);
                return Err(EgressError::Unavailable(why));
            }
            let number = of.started.fetch_add(1, Ordering::Relaxed);
            let handover = of.run.join(format!("egress-{number}.sock"));
            match Process::start(handover, &of.roots, &of.log(owner)).await {
                Ok(started) => self.process = Some(started),
                Err(error) => {
                    self.failed();
                    return Err(error);
                }
            }
        }
        let none = || EgressError::Unavailable("there is none".to_owned());
        self.process.as_ref().ok_or_else(none)
    }

    fn failed(&mut self) {
        // The first is started again at once.
        if self.failures > 0 {
            let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10));
            self.not_before = Some(Instant::now() + pause.min(LONGEST_PAUSE));
        }
        self.failures = self.failures.saturating_add(1);
    }
}

impl Egress for Processes {
    fn authority<'a>(
        &'a self,
        owner: &'a Owner,
        rules: &'a WayRules,
    ) -> Pending<'a, Result<WayAuthority, EgressError>> {
        let (this, owner, rules) = (self.clone(), owner.clone(), rules.clone());
        // Whoever asks may go away while a process starts: it is somebody else's, too.
        let told = async move { this.authority(owner, rules).await };
        let told = self.0.runtime.spawn(told);
        Box::pin(async move { told.await.unwrap_or_else(|_| Err(broken())) })
    }

    fn open<'a>(
        &'a self,
        owner: &'a Owner,
        way: NewWay,
        sockets: Option<WaySockets>,
        witness: Arc<dyn Witness>,
    ) -> Pending<'a, Result<Box<dyn ServedWay>, EgressError>> {
        if sockets.is_some() {
            let why = "sockets go to another process by a handover".to_owned();
            return Box::pin(std::future::ready(Err(EgressError::Refused(why))));
        }
        let (this, owner) = (self.clone(), owner.clone());
        let opened = async move { this.open(owner, way, witness).await };
        let opened = self.0.runtime.spawn(opened);
        Box::pin(async move { opened.await.unwrap_or_else(|_| Err(broken())) })
    }
}

fn broken() -> EgressError {
    EgressError::Unavailable("nobody attends to it".to_owned())
}

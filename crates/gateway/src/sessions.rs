//! Sessions: which thread has which sandbox, and the life of a call in one.

mod access;
mod answers;
mod ballots;
mod bounds;
mod call;
mod cases;
mod consent;
mod contexts;
mod copy;
mod error;
mod files;
mod hold;
mod leash;
mod left;
mod live;
mod lodge;
mod manage;
mod opening;
mod pause;
mod perform;
mod place;
mod reconcile;
mod spent;
mod switched;
mod waits;
mod way_out;

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
};

use casemate_authority::{Board, Budgets, Loops};
use casemate_model::{ContextId, DecisionId, Digest, Entropy as IdEntropy, SessionId, Within};
use casemate_policy::{Governing, Image, Profile, QuotaRule, RoutePolicy};
use casemate_ports::{
    Decider, Egress, ImageRef, Kind, Owner, PoolSize, Quota, Quotas, SessionKeeper, SessionSpec,
};
use casemate_store::{ApprovalStore, DestinationStore, PausedFiles, SessionStore, StoreError};
use tokio::sync::{Notify, mpsc};

pub use self::{
    answers::{AnswerError, Answered},
    call::{NewCall, Told},
    cases::{ApprovalCase, ApprovalView, VoteView},
    error::{Ending, Room, SessionError},
    hold::{Demand, Waiting},
    left::LeftWaiting,
    manage::SessionView,
    reconcile::Reconciled,
};
use self::{
    consent::Requests,
    live::{Live, Table},
    switched::Going,
    waits::Waits,
};
use crate::{
    Admission, Approvers, Bounds, Clock, Entropy, Journal, Refused, Renewal, Stores, meter::Meters,
    way,
};

/// The tool that sessions have an interpreter for.
const PYTHON: &str = "python";

/// Where the sessions of agents are remembered.
pub trait SessionStores:
    Stores<Store: SessionStore + ApprovalStore + DestinationStore + fmt::Debug + Send + Sync + 'static>
{
    /// The agents that have a store.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn agents(&self) -> impl Future<Output = Result<Vec<String>, StoreError>>;
}

/// Which image a name means.
pub trait Images: fmt::Debug + Send + Sync {
    /// The digest of the image with this name, if there is one.
    fn digest(&self, name: &str) -> Option<Digest>;
}

/// The policies of now. They are asked for again before each decision, so that one which was activated or rolled back rules the next.
pub trait Policies: fmt::Debug + Send + Sync {
    /// The policy of every route.
    ///
    /// # Errors
    /// One line for people, when it cannot be told; then nothing is allowed.
    fn current(&self) -> Result<Arc<Governing>, String>;
}

/// Policies that never change.
impl Policies for Arc<Governing> {
    fn current(&self) -> Result<Arc<Governing>, String> {
        Ok(Self::clone(self))
    }
}

/// What the whole host takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Calls that run, and calls that wait.
    pub bounds: Bounds,
    /// How long a call waits for its turn, in milliseconds.
    pub queue_timeout_ms: u64,
}

/// What sessions are made from.
#[derive(Debug)]
pub struct Parts<K, P> {
    /// Makes the sandboxes.
    pub keeper: K,
    /// Remembers them.
    pub stores: P,
    /// Keeps the files of those that are paused.
    pub paused: PausedFiles,
    /// The durable memory of calls.
    pub journal: Journal,
    /// The time.
    pub clock: Box<dyn Clock>,
    /// Chance.
    pub entropy: Box<dyn Entropy>,
    /// The policies.
    pub policies: Box<dyn Policies>,
    /// The images.
    pub images: Box<dyn Images>,
    /// The kill switches.
    pub board: Arc<Board>,
    /// What was spent.
    pub budgets: Budgets,
    /// Who may approve calls.
    pub approvers: Box<dyn Approvers>,
    /// Who may still call, when a call had to wait.
    pub renewal: Box<dyn Renewal>,
    /// Who serves ways out.
    pub egress: Arc<dyn Egress>,
    /// Who is asked about each request on a way out, if somebody is.
    pub decider: Option<Arc<dyn Decider>>,
    /// What the host takes.
    pub capacity: Capacity,
}

/// The sessions of all agents, and the calls in them.
///
/// Its futures write to disk and block for that: each thread that polls them does nothing else meanwhile.
pub struct Sessions<K, P> {
    keeper: K,
    stores: P,
    paused: PausedFiles,
    journal: Arc<Journal>,
    egress: Arc<dyn Egress>,
    decider: Option<Arc<dyn Decider>>,
    clock: Box<dyn Clock>,
    entropy: Box<dyn Entropy>,
    policies: Box<dyn Policies>,
    images: Box<dyn Images>,
    capacity: Capacity,
    admission: Admission,
    meters: Meters,
    table: Table,
    stocked: Mutex<HashSet<(Owner, Kind)>>,
    board: Arc<Board>,
    budgets: Budgets,
    loops: Loops,
    going: Arc<Going>,
    approvers: Arc<dyn Approvers>,
    renewal: Box<dyn Renewal>,
    waiting: Mutex<Waits>,
    requests: Requests,
    waiting_changed: Notify,
    refusals: Refusals,
    /// The latest time that approvals have seen, in milliseconds since 1970.
    latest_ms: AtomicU64,
}

/// Where calls that waited and were refused come out, for one listener.
type Refusals = (
    mpsc::UnboundedSender<(DecisionId, Refused)>,
    Mutex<Option<mpsc::UnboundedReceiver<(DecisionId, Refused)>>>,
);

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// Sessions of these parts. None is known before [`Sessions::reconcile`].
    #[must_use]
    pub fn new(parts: Parts<K, P>) -> Self {
        // As many as calls wait, and they are bounded.
        let (sender, receiver) = mpsc::unbounded_channel();
        Self {
            keeper: parts.keeper,
            stores: parts.stores,
            paused: parts.paused,
            journal: Arc::new(parts.journal),
            egress: parts.egress,
            decider: parts.decider,
            clock: parts.clock,
            entropy: parts.entropy,
            policies: parts.policies,
            images: parts.images,
            admission: Admission::new(parts.capacity.bounds),
            capacity: parts.capacity,
            meters: Meters::default(),
            table: Table::default(),
            stocked: Mutex::default(),
            board: parts.board,
            budgets: parts.budgets,
            loops: Loops::default(),
            going: Arc::default(),
            approvers: parts.approvers.into(),
            renewal: parts.renewal,
            waiting: Mutex::default(),
            requests: Requests::default(),
            waiting_changed: Notify::new(),
            refusals: (sender, Mutex::new(Some(receiver))),
            latest_ms: AtomicU64::new(0),
        }
    }

    /// The policy of a route; of the only one if none is named.
    #[must_use]
    pub fn policy(&self, route: Option<&str>) -> Option<RoutePolicy> {
        let governing = self.policies.current().ok()?;
        match route {
            Some(route) => governing.get(route).cloned(),
            None if governing.len() == 1 => governing.values().next().cloned(),
            None => None,
        }
    }

    /// The policy of a call: that of its route, or of the session that it names if it names no route.
    #[must_use]
    pub fn policy_for(
        &self,
        owner: &Owner,
        route: Option<&str>,
        within: Option<&Within>,
    ) -> Option<RoutePolicy> {
        let found = self.policy(route);
        let (None, None, Some(within)) = (&found, route, within) else {
            return found;
        };
        let live = match (within.session, within.context, &within.thread) {
            (Some(session), ..) => self.table.get(session),
            (None, Some(context), _) => self.table.with_context(owner, context),
            (None, None, Some(thread)) => {
                let mut lives = self.table.of(owner).into_iter();
                lives.find(|live| live.thread.as_ref() == Some(thread))
            }
            (None, None, None) => None,
        };
        self.under(&*live.filter(|live| live.owner == *owner)?)
    }

    /// The names of the routes.
    #[must_use]
    pub fn routes(&self) -> Vec<String> {
        let governing = self.policies.current();
        governing.map_or_else(|_| Vec::new(), |all| all.keys().cloned().collect())
    }

    /// The routes whose profiles name an image that is not there, with its name.
    #[must_use]
    pub fn without_image(&self) -> Vec<(String, String)> {
        let Ok(governing) = self.policies.current() else {
            return Vec::new();
        };
        let missing = |policy: &RoutePolicy| match &policy.sandbox.image {
            Image::Named(name) if self.images.digest(name).is_none() => {
                Some((policy.route.clone(), name.clone()))
            }
            Image::Named(_) | Image::Host | Image::Exactly(_) => None,
        };
        governing.values().filter_map(missing).collect()
    }

    /// The image that a profile names, by its name or digest, and the one that it means now, if it is there. The host's own files are none.
    #[must_use]
    pub fn image_of(&self, profile: &Profile) -> Option<(String, Option<Digest>)> {
        let found = match &profile.sandbox.image {
            Image::Host => return None,
            Image::Named(name) => self.images.digest(name),
            Image::Exactly(digest) => Some(*digest),
        };
        Some((image_name(profile), found))
    }

    /// The durable memory of what is done, for operations beside calls.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The time.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// Chance.
    #[must_use]
    pub fn entropy(&self) -> &dyn Entropy {
        self.entropy.as_ref()
    }

    /// How many calls run, and how many wait.
    #[must_use]
    pub fn load(&self) -> (u64, u64) {
        self.admission.load()
    }

    /// How many live sessions a tenant has, and how many of its calls wait for a person or were approved and have not ended.
    #[must_use]
    pub fn count_of(&self, tenant: &str) -> (usize, usize) {
        (self.table.count_of(tenant), self.waiting().count_of(tenant))
    }

    /// The agents of a tenant that have live sessions, with how many.
    #[must_use]
    pub fn agents_of(&self, tenant: &str) -> BTreeMap<String, u64> {
        self.table.agents_of(tenant)
    }

    /// What kind of sandbox a profile asks for.
    fn kind(&self, profile: &Profile) -> Result<Kind, SessionError> {
        let image = match &profile.sandbox.image {
            Image::Host => ImageRef::Host,
            Image::Exactly(digest) => ImageRef::Stored(*digest),
            Image::Named(name) => match self.images.digest(name) {
                Some(digest) => ImageRef::Stored(digest),
                None => return Err(SessionError::NoImage(name.clone())),
            },
        };
        let tools = profile.tools.allowed.iter();
        let mut tools = tools.chain(&profile.tools.approval_required);
        let quotas = profile.quotas;
        Ok(Kind {
            image,
            profile: profile.digest(),
            python: tools.any(|tool| tool == PYTHON),
            limits: profile.sandbox.limits,
            quotas: Quotas {
                session: quota(quotas.session),
                agent: quota(quotas.agent),
                tenant: quota(quotas.tenant),
            },
            way: way::ports(profile)?,
            violations: Some(profile.sandbox.violations),
        })
    }

    fn spec(&self, owner: &Owner, profile: &Profile) -> Result<SessionSpec, SessionError> {
        Ok(SessionSpec {
            id: SessionId::new(self.clock.now_ms(), self.random()?),
            owner: owner.clone(),
            kind: self.kind(profile)?,
            idle_ms: profile.sandbox.session_idle_ms,
            max_ms: profile.sandbox.session_max_ms,
            resumes: false,
        })
    }

    /// Sees to it that unused sandboxes of this kind stand ready from now on.
    async fn stock(&self, owner: &Owner, kind: Kind, profile: &Profile) {
        let key = (owner.clone(), kind);
        if !self.stocked().insert(key.clone()) {
            return;
        }
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let pool = profile.sandbox.pool;
        let size = PoolSize {
            min: narrow(pool.min),
            max: narrow(pool.max),
            idle_ms: pool.idle_ms,
        };
        // Without a pool a session is made while its caller waits: slower, and nothing else.
        if self.keeper.stock(owner.clone(), kind, size).await.is_err() {
            self.stocked().remove(&key);
        }
    }

    /// Forgets which pools there are: their keeper is another one now.
    fn forget_stock(&self) {
        self.stocked().clear();
    }

    fn forget_stock_of(&self, owner: &Owner, kind: Kind) {
        self.stocked().remove(&(owner.clone(), kind));
    }

    fn stocked(&self) -> std::sync::MutexGuard<'_, HashSet<(Owner, Kind)>> {
        self.stocked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn random(&self) -> Result<IdEntropy, SessionError> {
        let mut random = IdEntropy::default();
        self.entropy
            .fill(&mut random)
            .map_err(SessionError::Entropy)?;
        Ok(random)
    }

    fn new_context(&self) -> Result<ContextId, SessionError> {
        Ok(ContextId::new(self.clock.now_ms(), self.random()?))
    }
}

const fn quota(rule: QuotaRule) -> Quota {
    Quota {
        memory_bytes: rule.memory_bytes,
        processes: rule.processes,
        cpu_milli: rule.cpu_milli,
        calls: rule.calls,
    }
}

/// The name of a profile's image, to be remembered.
fn image_name(profile: &Profile) -> String {
    match &profile.sandbox.image {
        Image::Host => "host".to_owned(),
        Image::Named(name) => name.clone(),
        Image::Exactly(digest) => digest.to_string(),
    }
}

impl<K, P> fmt::Debug for Sessions<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("policies", &self.policies)
            .field("admission", &self.admission)
            .finish_non_exhaustive()
    }
}

//! `casemate serve`: the gateway, for whoever connects to its socket.
//!
//! The keeper is another process, which outlives this one: what lives there is found again after a restart.

mod drivers;
mod household;
mod network;
mod supervised;
mod webhooks;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    thread::available_parallelism,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use casemate_api::{Api, Door, Listener, Network, router};
use casemate_authority::Budgets;
use casemate_callers::Callers;
use casemate_gateway::{Bounds, Capacity, Crew, Parts, Policies, Reconciled, Sessions};
use casemate_model::one_line;
use casemate_policy::{Governing, Profile, RoutePolicy};
use casemate_ports::{Decider, Signal};
use casemate_store::{PausedFiles, StateDir};
use casemate_transport::RemoteKeeper;
use casemate_webhooks::Webhooks;
use serde::{Deserialize, Serialize};
use tokio::{
    runtime::Builder,
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

pub(crate) use self::webhooks::new_key as new_webhook_key;
use self::{
    drivers::{CachedStores, Renews, StoredImages},
    household::Members,
    network::Front,
    supervised::Supervisor,
};
pub(crate) use self::{
    household::{identity_socket, keeper_socket, who_listens},
    network::tls_of,
    supervised::{Sockets, order, run as run_supervised},
};
use crate::{
    activation,
    approvals::People,
    config::{Config, ConfigArgs},
    decider::LinkedDecider,
    egress::Processes,
    exit::Exit,
    gate,
    hold::{Hold, NotHeld, Role},
    keeper::connect_or_start,
    policy::ActivePolicies,
    profile::explain,
    report::{self, Failure},
    run::{Signals, local_user},
    state::State,
    switch,
    system::System,
};

/// Calls that run at once, for each core: most of them wait for something.
const CALLS_FOR_EACH_CORE: usize = 16;
/// The least of them.
const LEAST_CALLS: usize = 64;
/// Calls that wait, of all tenants.
const MOST_QUEUED: u64 = 65_536;
/// How long it is tried to learn from the keeper which sessions go on, and how often.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(10);
const RECONCILE_PAUSE: Duration = Duration::from_millis(200);

/// How long a gateway that is ending is waited for, and how often it is looked whether it has.
const TAKE_OVER: Duration = Duration::from_secs(3);
const TAKE_OVER_CHECK: Duration = Duration::from_millis(50);

/// How long a call waits for its turn.
const QUEUE_TIMEOUT_MS: u64 = 60_000;
/// How long calls have to end by themselves when we are asked to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long they have after that: an interrupt kills in two seconds.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long answers have to reach their readers after that.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is looked whether they have.
const DRAIN_CHECK: Duration = Duration::from_millis(20);

/// Serve sessions and calls over HTTP on a Unix socket of this user's, and over a network for those whom a file names.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,

    /// Say in answers to calls how long each step took
    #[arg(long, hide = true)]
    timings: bool,
}

/// What a gateway is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// The state directory.
    pub(crate) root: PathBuf,
    pub(crate) config: Config,
    /// Who is heard over the network when the configuration names no file of callers.
    pub(crate) heard: Heard,
    pub(crate) timings: bool,
}

/// Who is heard over a network if no file says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Heard {
    /// Nobody.
    Nobody,
    /// The holders of this gateway's API keys.
    Keys,
}

impl Order {
    /// Says everything that contradicts itself.
    fn refuse_contradictions(&self) -> Result<(), Failure> {
        let mut found = self.config.contradictions(self.heard == Heard::Keys);
        let Some(last) = found.pop() else {
            return Ok(());
        };
        for found in &found {
            report::line(&found.what);
            report::hint(found.hint);
        }
        Err(Failure::usage(anyhow::anyhow!(last.what)).hint(last.hint))
    }

    /// The gateway's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        let told = self.config.socket.clone();
        told.unwrap_or_else(|| socket_in(&self.root))
    }
}

/// The gateway's socket in the state directory at `root`.
pub(crate) fn socket_in(root: &Path) -> PathBuf {
    root.join("run").join("casemate.sock")
}

pub(crate) fn run(args: &ServeArgs) -> Result<Exit, Failure> {
    // First: no process that is started here gets them.
    let sockets = activation::sockets()?;
    let config = args.config.load()?;
    activation::refuse_unheard(&sockets, config.listen)?;
    let order = Order {
        root: config.root()?,
        config,
        heard: Heard::Nobody,
        timings: args.timings,
    };
    start(&order, sockets, None)
}

/// Does what it is ordered to, on sockets that are given or its own.
fn start(order: &Order, sockets: Sockets, supervisor: Option<Supervisor>) -> Result<Exit, Failure> {
    let around = Around::of(order)?;
    let runtime = Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(error).context("cannot start"))?;
    StateDir::open(&order.root).map_err(Failure::failed)?;
    // Before anything is said of calls and sessions that nobody remembers: another gateway may.
    let _hold = runtime.block_on(hold(&order.root, supervisor.is_some()))?;
    let served = serve(order, around, sockets, supervisor);
    let served = runtime.block_on(Box::pin(served));
    served.map_err(Failure::failed)?;
    Ok(Exit::Success)
}

/// Who is heard and told beside the socket, and what is decided by.
pub(crate) struct Around {
    front: Option<Front>,
    webhooks: Option<Webhooks>,
    policies: Box<dyn Policies>,
    decider: Option<Arc<dyn Decider>>,
}

impl Around {
    /// What an order asks for, if all of it can be followed.
    pub(crate) fn of(order: &Order) -> Result<Self, Failure> {
        order.refuse_contradictions()?;
        // What only reads comes first: where it fails, nothing was made.
        let governing = governing(&order.config.profiles, order.heard)?;
        let webhooks = order.config.webhooks.as_deref().map(Webhooks::load);
        let webhooks = webhooks.transpose().map_err(Failure::invalid)?;
        let decider = LinkedDecider::in_state(&order.root).map_err(Failure::invalid)?;
        Ok(Self {
            front: Front::of(order)?,
            policies: policies(order, governing)?,
            webhooks,
            decider: decider.map(|decider| Arc::new(decider) as _),
        })
    }
}

/// The policies to decide by: of the profiles that are named, or of the bundle in force, and of the built-in profile until there is one.
fn policies(order: &Order, governing: Governing) -> Result<Box<dyn Policies>, Failure> {
    if !order.config.profiles.is_empty() {
        return Ok(Box::new(Arc::new(governing)));
    }
    let active = ActivePolicies::open(&order.root, Some(governing), gate::all_open);
    let active = active.map_err(Failure::failed)?;
    if let Err(why) = active.current() {
        return Err(Failure::invalid(anyhow::anyhow!("{why}"))
            .hint("nothing that executes code starts before every check passes"));
    }
    Ok(Box::new(active))
}

/// The policies of these profiles, each used by itself.
fn governing(files: &[PathBuf], heard: Heard) -> Result<Governing, Failure> {
    let mut governing = Governing::new();
    let mut add = |profile: Profile| {
        let policy = RoutePolicy::of(profile).map_err(Failure::invalid)?;
        governing.insert(policy.route.clone(), policy);
        Ok(())
    };
    if files.is_empty() {
        let builtin = match heard {
            Heard::Nobody => Profile::builtin_serve(),
            Heard::Keys => Profile::builtin_up(),
        };
        add(builtin.map_err(Failure::failed)?)?;
    }
    let mut routes = HashSet::new();
    for file in files {
        let profile = Profile::load(file).map_err(|error| {
            explain(&error);
            Failure::invalid(error)
        })?;
        if !routes.insert(profile.route.clone()) {
            let route = profile.route.escape_debug();
            let twice = anyhow::anyhow!("two profiles are for the route `{route}`");
            return Err(Failure::usage(twice));
        }
        add(profile)?;
    }
    Ok(governing)
}

/// The same policies, for more than one who asks.
#[derive(Clone, Debug)]
struct Shared(Arc<dyn Policies>);

impl Policies for Shared {
    fn current(&self) -> Result<Arc<Governing>, String> {
        self.0.current()
    }
}

type Gateway = Sessions<RemoteKeeper, CachedStores>;

async fn serve(
    order: &Order,
    Around {
        front,
        webhooks,
        policies,
        decider,
    }: Around,
    sockets: Sockets,
    mut supervisor: Option<Supervisor>,
) -> anyhow::Result<()> {
    let Order { root, config, .. } = order;
    let limits = &config.limits;
    let socket = order.socket();
    let mut signals = Signals::catch().context("cannot catch signals")?;
    let state = State::open(root)?;
    let (journal, stores) = state.journal()?;
    journal.recover(&stores).await?;
    let keeper = connect_or_start(root).await?;
    let listener = match sockets.local {
        Some(given) => Listener::given(given).context("cannot use the socket that is given")?,
        None => Listener::bind(&socket).await?,
    };
    let network = match &front {
        Some(front) => Some(front.listen(sockets.network).await?),
        None => None,
    };
    let callers = front.map(|front| front.callers);
    let switchboard = switch::board(root)?;
    let board = Arc::clone(switchboard.board());
    let policies = Shared(Arc::from(policies));
    let cores = available_parallelism().map_or(1, usize::from);
    let calls = (cores * CALLS_FOR_EACH_CORE).max(LEAST_CALLS) as u64;
    let egress = Processes::new(root, Arc::clone(&policies.0))?;
    let sessions = Arc::new(Gateway::new(Parts {
        keeper,
        stores: CachedStores::new(StateDir::open(root)?),
        paused: PausedFiles::new(StateDir::open(root)?),
        journal,
        clock: Box::new(System),
        entropy: Box::new(System),
        policies: Box::new(policies.clone()),
        images: Box::new(StoredImages::new(root)),
        board: Arc::clone(&board),
        budgets: budgets(root)?,
        approvers: Box::new(People::new(root)),
        egress: Arc::new(egress.clone()),
        decider,
        renewal: Box::new(Renews::new(callers.clone())),
        capacity: Capacity {
            bounds: Bounds {
                calls: limits.calls.unwrap_or(calls),
                queued: limits.queued.unwrap_or(MOST_QUEUED),
            },
            queue_timeout_ms: limits.queue_timeout_ms.unwrap_or(QUEUE_TIMEOUT_MS),
        },
    }));
    for (route, image) in sessions.without_image() {
        report::line(&format!(
            "the route {route} has no sessions until there is an image `{image}`: `casemate image build` makes it"
        ));
    }
    tell(&reconcile(&sessions).await?);
    let left = sessions.take_up_waiting().await?;
    if !left.is_empty() {
        report::line(&format!(
            "{} calls wait for approval, or go on with it",
            left.len()
        ));
    }
    let _couriers = webhooks
        .map(|webhooks| self::webhooks::start(webhooks, root))
        .transpose()?;
    let crew = Crew::start((cores * 2).clamp(4, 32)).context("cannot start threads")?;
    let watched = Arc::clone(&sessions);
    // Also when they cannot be read: then everything stops.
    let _watch = board.watch(move |_| watched.switches_thrown())?;
    let members = Members::new(root, egress, supervisor.as_ref().map(Supervisor::pid));
    let api = Api::new(sessions, crew, switchboard, callers.clone());
    let api = api.with_household(Arc::new(members));
    let api = Arc::new(if order.timings { api.timed() } else { api });
    let (stop, mut doors) = open_doors(&api, listener, network.zip(callers));
    report::line(&format!("listening on {}", socket.display()));
    if supervisor.is_none() {
        activation::notify_ready();
    }
    let tended = async {
        match &mut supervisor {
            Some(supervisor) => supervisor.tend(root, &api).await,
            None => std::future::pending().await,
        }
    };
    let asked = tokio::select! {
        served = &mut doors => Err(served),
        never = api.look_after_waiting(left) => match never {},
        never = api.look_after_refusals() => match never {},
        never = api.look_after_paused() => match never {},
        signal = signals.next() => Ok(Some(signal)),
        () = tended => Ok(None),
    };
    if let Ok(asked) = asked {
        let patience = limits.drain_ms.map_or(DRAIN_TIMEOUT, Duration::from_millis);
        end(asked, &api, (stop, &mut doors), &mut signals, patience).await;
    }
    api.write_refusals();
    match asked {
        Ok(_) => Ok(()),
        Err(served) => served?.context("cannot serve any more"),
    }
}

/// Takes the state directory. Whoever is looked after waits for the gateway before it, which may be ending.
async fn hold(root: &Path, waits: bool) -> Result<Hold, Failure> {
    let started = Instant::now();
    loop {
        match Hold::take(root, Role::Gateway) {
            Err(NotHeld::Taken(_)) if waits && started.elapsed() < TAKE_OVER => {
                sleep(TAKE_OVER_CHECK).await;
            }
            taken => return taken.map_err(NotHeld::explained),
        }
    }
}

type Service = Api<RemoteKeeper, CachedStores>;

/// What serves those who come through the doors, and how it ends.
type Doors = JoinHandle<std::io::Result<()>>;

/// Serves this user, and others over a network, until the sender says not to.
fn open_doors(
    api: &Arc<Service>,
    listener: Listener,
    remote: Option<(Network, Arc<Callers>)>,
) -> (watch::Sender<()>, Doors) {
    let (stop, mut stopped) = watch::channel(());
    let remote = remote.map(|(network, callers)| {
        let router = router(Arc::clone(api), Door::Network(callers));
        network.serve(Arc::clone(api), router, stopped.clone())
    });
    let local = router(Arc::clone(api), Door::Local(local_user()));
    let service = axum::serve(listener, local);
    let serving = service.with_graceful_shutdown(async move {
        // An error is as good: whoever would say it is gone.
        drop(stopped.changed().await);
    });
    let doors = tokio::spawn(async move {
        let remote = async {
            if let Some(remote) = remote {
                remote.await;
            }
            Ok(())
        };
        tokio::try_join!(serving.into_future(), remote).map(drop)
    });
    (stop, doors)
}

/// Ends as a signal asks, with patience; at once if whoever looked after this process is gone.
async fn end(
    asked: Option<Signal>,
    api: &Service,
    (stop, doors): (watch::Sender<()>, &mut Doors),
    signals: &mut Signals,
    patience: Duration,
) {
    match asked {
        Some(signal) => {
            report::line(&format!("stopping: {}", of(signal)));
            stop.send(()).unwrap_or_default();
            tokio::select! {
                () = finish(api, doors, patience) => {}
                // Whoever asks twice is in a hurry.
                _ = signals.next() => {}
            }
        }
        None => report::line("stopping: whoever looked after this process is gone"),
    }
    doors.abort();
}

/// What was spent. Whatever an earlier process had set aside and not counted is spent.
fn budgets(root: &Path) -> anyhow::Result<Budgets> {
    let budgets = Budgets::open(&root.join("budgets"))?;
    budgets.forget_before(budgets.next_id()?)?;
    Ok(budgets)
}

/// Finds out which sessions go on. The keeper that answered may have been about to die: another is started then.
async fn reconcile(sessions: &Gateway) -> anyhow::Result<Reconciled> {
    let started = Instant::now();
    loop {
        match sessions.reconcile().await {
            Err(error) if started.elapsed() > RECONCILE_TIMEOUT => return Err(error.into()),
            Err(_) => sleep(RECONCILE_PAUSE).await,
            Ok(found) => return Ok(found),
        }
    }
}

const fn of(signal: Signal) -> &'static str {
    match signal {
        Signal::Interrupt => "interrupted",
        Signal::Terminate => "asked to",
    }
}

/// Lets calls end, also those for which nobody waits at one of the doors, and their answers get there.
async fn finish(api: &Service, doors: &mut Doors, patience: Duration) {
    drain(api, patience).await;
    drop(timeout(FLUSH_TIMEOUT, doors).await);
}

/// Lets calls end, and then ends them.
async fn drain(api: &Service, patience: Duration) {
    let none_runs = async || {
        while !api.is_idle() {
            sleep(DRAIN_CHECK).await;
        }
    };
    if timeout(patience, none_runs()).await.is_ok() {
        return;
    }
    let cancelled = api.cancel_all();
    report::line(&format!("interrupted {cancelled} calls"));
    // What does not end by then is killed by the keeper when we are gone, and found by the next start.
    drop(timeout(CANCEL_TIMEOUT, none_runs()).await);
}

fn tell(found: &Reconciled) {
    if !found.kept.is_empty() {
        report::line(&format!("{} sessions go on", found.kept.len()));
    }
    for (session, why) in &found.gone {
        report::line(&format!("the session {session} is gone: {why}"));
    }
    for (agent, error) in &found.failed {
        let error = one_line(error);
        report::line(&format!("cannot read the sessions of {agent}: {error}"));
    }
}

const _: () = assert!(
    casemate_gateway::MAX_CELL_BYTES <= casemate_transport::limits::MAX_SOURCE_BYTES,
    "a cell that is let in is taken on the way to the keeper"
);

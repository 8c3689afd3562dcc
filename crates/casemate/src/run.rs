//! `casemate run`: one call, from the command line to its last line.
//!
//! The order is for speed: the sandbox is made while the state directory is opened. Nothing is decided
//! before both are there, and nothing runs before the decision is on disk.

mod artefacts;
mod program;
mod progress;
mod request;
mod signals;
mod streams;
mod voice;
mod way;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use casemate_callers::{Bounds, LocalUser, Role};
use casemate_gateway::{
    Allowed, Clock as _, Denied, Enclosed, Identified, Journal, Leased, Proposed, Recorded,
    Recording, Ruling, SANDBOX_TOOLS,
    way::{Familiarity, OpenWay},
};
use casemate_images::ImageStore;
use casemate_model::{Reason, RunMode, one_line};
use casemate_policy::{Authenticator, Claims, Image, Profile, RoutePolicy, Verified};
use casemate_ports::{CHANNEL_CAPACITY, CallIo, KeeperError, Owner, Sandbox};
use casemate_sandbox::{GvisorKeeper, NamespaceKeeper, NamespaceSandbox};
use casemate_store::Idempotency;
use tokio::{runtime::Builder, sync::mpsc};

use self::{
    artefacts::Sink,
    program::StdinUse,
    request::{NoPolicy, Request},
    voice::Voice,
    way::{NoWay, PlannedWay},
};
pub(crate) use self::{signals::Signals, streams::write_stream};
use crate::{
    agent_lock::{self, Agents, With},
    cli::RunArgs,
    exit::Exit,
    report::Failure,
    state::{self, AgentStores, State},
    switch,
    system::System,
    tier::{self, Tier},
    way::Here,
};

/// What a local user is.
const TENANT: &str = "local";
const AUDIENCE: &str = "casemate-run";
const SCOPE: &str = "code:execute";
/// How long the word for who calls is good: the decision follows at once.
const CLAIMS_TTL_MS: u64 = 600_000;

pub(crate) fn run(args: RunArgs) -> Result<Exit, Failure> {
    let state = state::path()?;
    let request = Request::read(args).map_err(Failure::usage)?;
    // One thread: the keeper clones this process.
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(error).context("cannot start"))?;
    runtime.block_on(call(request, &state))
}

/// What of a request is needed after the decision.
struct Terms {
    stdin: StdinUse,
    out: Option<PathBuf>,
    voice: Voice,
}

async fn call(request: Request, root: &Path) -> Result<Exit, Failure> {
    let terms = Terms {
        stdin: request.stdin,
        out: request.out,
        voice: request.voice,
    };
    let voice = terms.voice;
    let owner = Owner {
        tenant: TENANT.to_owned(),
        agent: request.ask.agent.clone(),
    };
    let proposed = Proposed::new(request.ask, request.inputs, &System, &System);
    let proposed =
        proposed.map_err(|error| Failure::failed(error).context("cannot name the call"))?;
    let way = match &request.policy {
        Ok(policy) => PlannedWay::of(policy, root, &owner).await,
        Err(_) => Ok(None),
    };
    let enclosed = enclose(proposed, &request.policy, &way, voice, root).await;
    // While the sandbox is made. If it cannot be made, the decision says so.
    if let Ok(policy) = &request.policy {
        let _ = policy.engine();
    }
    let opened = async {
        let state = State::open(root)?;
        let mut held = vec![
            agent_lock::lock(root, Agents::All, With::Others)?,
            agent_lock::lock(root, Agents::One(&owner.agent), With::Others)?,
        ];
        let (journal, stores) = state.journal()?;
        if journal.recover(&stores).await?.is_empty() {
            // Nothing of another agent was opened.
            drop(held.swap_remove(0));
        }
        anyhow::Ok((journal, stores, held))
    };
    let (journal, stores, _held) = match opened.await {
        Ok(opened) => opened,
        Err(error) => {
            let why = one_line(error.as_ref());
            let refused = match enclosed {
                Ok(enclosed) => enclosed.without_record(&why),
                Err(denied) => denied.without_record(&why),
            };
            return voice.refused(&refused);
        }
    };
    let journal = Arc::new(journal);
    match enclosed {
        Ok(enclosed) => {
            let way = way.ok().flatten();
            Box::pin(decide(enclosed, way, &terms, &journal, &stores)).await
        }
        Err(denied) => voice.refused(&denied.record(&journal)),
    }
}

/// Finds out who calls, and starts to make the sandbox.
async fn enclose(
    proposed: Proposed,
    policy: &Result<RoutePolicy, NoPolicy>,
    way: &Result<Option<PlannedWay>, NoWay>,
    voice: Voice,
    root: &Path,
) -> Result<Enclosed<NamespaceSandbox>, Denied> {
    let claims = Verified::vouch(local_claims(), Authenticator::LocalUser);
    let identified: Identified = proposed.authenticate(claims)?;
    if let Err(why) = switched_on(root, &identified, policy) {
        return Err(identified.without_policy(Reason::KillSwitch, &why));
    }
    let policy = match policy {
        Ok(policy) => policy,
        Err(NoPolicy::Profile(error)) => {
            voice.bad_profile(error);
            return Err(identified.without_policy(Reason::InvalidProfile, &one_line(error)));
        }
        Err(NoPolicy::Refused(reason, why)) => {
            return Err(identified.without_policy(*reason, why));
        }
    };
    let way_out = match way {
        Ok(way) => way.as_ref().map(PlannedWay::way_out),
        Err(error) => return Err(identified.without_policy(Reason::PolicyError, &one_line(error))),
    };
    let identified = identified.with_way_out(way_out);
    let keeper = match keeper(policy, root) {
        Ok(keeper) => keeper,
        Err(error) => return Err(identified.without_keeper(&error)),
    };
    match tier::of(policy) {
        Ok(Tier::Namespace) => identified.enclose(policy, SANDBOX_TOOLS, &keeper).await,
        Ok(Tier::Gvisor(runsc)) => {
            let keeper = GvisorKeeper::new(keeper, runsc);
            identified.enclose(policy, SANDBOX_TOOLS, &keeper).await
        }
        // Never one that is weaker (R71).
        Err(error) => {
            Err(identified.without_policy(Reason::IsolationUnavailable, &one_line(&error)))
        }
    }
}

/// Whether no switch stops the call; otherwise why.
fn switched_on(
    root: &Path,
    identified: &Identified,
    policy: &Result<RoutePolicy, NoPolicy>,
) -> Result<(), String> {
    let board = switch::board(root).map_err(|error| one_line(error.as_ref()))?;
    let route = policy.as_ref().map_or("", |policy| policy.route.as_str());
    match identified.switched_on(board.board(), route) {
        Ok(_) => Ok(()),
        Err(stopped) => Err(stopped.to_string()),
    }
}

/// A keeper whose sandboxes have the image that the profile names.
fn keeper(profile: &Profile, root: &Path) -> Result<NamespaceKeeper, KeeperError> {
    let keeper = NamespaceKeeper::new()?;
    let images = state::images_in(root);
    let digest = match &profile.sandbox.image {
        Image::Host => return Ok(keeper),
        Image::Exactly(digest) => *digest,
        Image::Named(name) => {
            let found = ImageStore::open(&images).and_then(|store| store.resolve(name));
            found.map_err(|error| KeeperError::Spec(one_line(&error)))?
        }
    };
    keeper.with_image(&images, &digest)
}

/// What the kernel says of who started us.
pub(crate) fn local_claims() -> Claims {
    let uid = rustix::process::getuid().as_raw();
    Claims {
        issuer: "casemate:local".into(),
        subject: format!("uid:{uid}"),
        tenant: TENANT.into(),
        audience: AUDIENCE.into(),
        scopes: [SCOPE.to_owned()].into(),
        expires_at_ms: System.now_ms().saturating_add(CLAIMS_TTL_MS),
        credential: format!("uid:{uid}"),
        behalf: Vec::new(),
        bounds: Bounds::default(),
    }
}

/// The same user, as the interface of the gateway has it: whoever may use the socket may do everything.
pub(crate) fn local_user() -> LocalUser {
    LocalUser {
        uid: rustix::process::getuid().as_raw(),
        tenant: TENANT.into(),
        audience: AUDIENCE.into(),
        scopes: [SCOPE.to_owned()].into(),
        roles: Role::ALL.iter().copied().collect(),
        // Said anew for each request.
        expires_at_ms: 0,
    }
}

/// Waits for the sandbox, decides, and lets the call run or not.
async fn decide(
    enclosed: Enclosed<NamespaceSandbox>,
    way: Option<PlannedWay>,
    terms: &Terms,
    journal: &Arc<Journal>,
    stores: &AgentStores,
) -> Result<Exit, Failure> {
    let voice = terms.voice;
    let (decision, policy) = (enclosed.decision(), enclosed.policy());
    let mut signals =
        Signals::catch().map_err(|error| Failure::failed(error).context("cannot catch signals"))?;
    let made = async {
        if voice.shows_progress() {
            progress::show("making the sandbox", enclosed.check()).await
        } else {
            enclosed.check().await
        }
    };
    let checked = tokio::select! {
        checked = made => checked,
        _ = signals.next() => return Ok(voice::withdrawn(decision)),
    };
    let ruling = match checked {
        Ok(checked) => checked.decide(&policy, RunMode::Autonomous, &System),
        Err(denied) => Ruling::Denied(denied),
    };
    match ruling {
        Ruling::Allowed(allowed) => {
            Box::pin(record(allowed, way, terms, signals, journal, stores)).await
        }
        Ruling::Denied(denied) => voice.refused(&denied.record(journal)),
        // There is nobody here whom it could wait for.
        Ruling::Held(held) => match held.record(journal) {
            Ok(pending) => voice.refused(&pending.refuse()),
            Err(refused) => voice.refused(&refused),
        },
    }
}

async fn record(
    allowed: Allowed<NamespaceSandbox>,
    way: Option<PlannedWay>,
    terms: &Terms,
    signals: Signals,
    journal: &Arc<Journal>,
    stores: &AgentStores,
) -> Result<Exit, Failure> {
    let out = terms.out.as_deref();
    let sink = Sink::open(out).map_err(|error| {
        let path = out.map(program::shown).unwrap_or_default();
        Failure::usage(error).context(format!("cannot use `{path}` for artefacts"))
    })?;
    match allowed.record(journal, stores).await {
        Recording::Recorded(recorded) => {
            let way = match way {
                Some(way) => {
                    let familiarity = way.familiarity(stores, recorded.facts()).await;
                    Some((way, Arc::clone(journal), familiarity))
                }
                None => None,
            };
            Box::pin(perform(recorded, way, terms, signals, sink)).await
        }
        Recording::Replayed(released) => terms.voice.replayed(&released),
        Recording::Refused(refused) => terms.voice.refused(&refused),
    }
}

/// A way out, and what it takes to open it.
type OpenedBy = (PlannedWay, Arc<Journal>, Familiarity);

async fn perform<S: Sandbox, I: Idempotency>(
    recorded: Recorded<'_, S, I>,
    way: Option<OpenedBy>,
    terms: &Terms,
    mut signals: Signals,
    mut sink: Sink,
) -> Result<Exit, Failure> {
    let voice = terms.voice;
    let facts = recorded.facts();
    let decision = facts.decision;
    let facts = (voice == Voice::Json).then(|| facts.clone());
    let (stdin_sender, stdin) = mpsc::channel(CHANNEL_CAPACITY);
    let (control_sender, control) = mpsc::channel(CHANNEL_CAPACITY);
    let (events, output) = mpsc::channel(CHANNEL_CAPACITY);
    let no_thread = |error| Failure::failed(error).context("cannot start a thread");
    let written = streams::pass_on(output, voice.destination()).map_err(no_thread)?;
    match terms.stdin {
        StdinUse::Program => streams::feed(stdin_sender).map_err(no_thread)?,
        StdinUse::Script => drop(stdin_sender),
    }
    let io = CallIo {
        stdin,
        control,
        events,
    };
    let mut lease = recorded.lease();
    let ended = match open(way, &mut lease).await {
        Ok(way) => {
            let ended = tokio::select! {
                ended = lease.run(io) => ended,
                never = signals.relay(control_sender) => match never {},
            };
            // Before anything is taken out of the sandbox.
            match way {
                Some((_egress, way)) => ended.after_way(way.close().await),
                None => ended,
            }
        }
        Err(error) => lease.give_up(one_line(error.as_ref()), io),
    };
    let told = async {
        let released = ended.release(&mut sink).await;
        (released, written.await.unwrap_or_default())
    };
    let (released, written) = tokio::select! {
        told = told => told,
        // Whoever should read the output does not.
        _ = signals.next() => return Ok(voice::given_up(decision)),
    };
    match released {
        Ok(released) => voice.released(&released, written, terms.out.as_deref()),
        Err(error) => voice.unrecorded(facts.as_ref(), &error),
    }
}

/// Opens the call's way out, if it is to have one.
async fn open<S: Sandbox, I>(
    way: Option<OpenedBy>,
    lease: &mut Leased<'_, S, I>,
) -> anyhow::Result<Option<(Here, OpenWay)>> {
    match way {
        Some((way, journal, familiarity)) => way.open(lease, journal, familiarity).await.map(Some),
        None => Ok(None),
    }
}

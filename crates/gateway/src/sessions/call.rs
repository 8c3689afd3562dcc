//! The life of a call in a session, from the line to its end.

use std::{io, sync::Arc};

use casemate_authority::Epoch;
use casemate_model::{Cause, DecisionId, Reason, Text, Within, one_line};
use casemate_policy::{
    Authenticator, Claims, Profile, QuotaRule, RoutePolicy, SessionMode, Verified,
};
use casemate_ports::{CallIo, Control, Owner, SessionKeeper};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Duration, sleep},
};

use super::{
    Demand, SessionError, SessionStores, Sessions, Waiting,
    hold::Approved,
    lodge::{Lodged, Stay, Wish},
    place::Places,
    switched::About,
};
use crate::{
    Bounds, Denied, Facts, Full, Identified, Line, Lodging, Progress, Proposed, QuotaUse, Refused,
    ReleaseError, Released, Ruling, SANDBOX_TOOLS, Turn, Whose,
    approval::{Originals, ToKeep},
    limits::RETRY_AFTER_MS,
};

/// A call to be run in a session.
#[derive(Debug)]
pub struct NewCall {
    /// What is asked for.
    pub proposed: Proposed,
    /// Who asks.
    pub claims: Verified<Claims>,
    /// By which route; there is only one if none is named.
    pub route: Option<String>,
    /// How it comes to be.
    pub demand: Demand,
    /// How far it has come.
    pub progress: Arc<Progress>,
}

/// What a caller is told.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most calls are released: a box for each would cost them, to save nothing that is kept"
)]
pub enum Told {
    /// It ran, or ran before, and its outcome is on disk.
    Released(Released),
    /// It did not run.
    Refused(Refused),
    /// It ran, and its outcome is not recorded, or its result not stored.
    Unrecorded(Box<Facts>, ReleaseError),
    /// Its caller went away, or took it back, before anything was decided.
    Withdrawn(DecisionId),
    /// It waits for a person. Another answer comes when somebody has said something, or its time is over.
    Held(Box<Waiting>),
    /// It was approved, and cannot run yet.
    Later(DecisionId),
}

impl Told {
    /// Forgets what ran: an answer that is kept for a while says it by its digest.
    pub fn forget_program(&mut self) {
        let facts = match self {
            Self::Released(released) => released.facts_mut(),
            Self::Refused(refused) => refused.facts_mut(),
            Self::Unrecorded(facts, _) => facts,
            Self::Held(waiting) => &mut waiting.facts,
            Self::Withdrawn(_) | Self::Later(_) => return,
        };
        facts.ask.code = None;
        facts.ask.command.cell = None;
        for value in facts.ask.command.env.values_mut() {
            *value = Text::default();
        }
        facts
            .call
            .iter_mut()
            .for_each(|call| call.program.env.clear());
    }
}

/// Whoever waits for a call.
pub(super) struct Caller {
    pub(super) io: CallIo,
    pub(super) progress: Arc<Progress>,
    pub(super) demand: Demand,
    pub(super) by: Authenticator,
    keep: io::Result<ToKeep>,
    approved: Option<Approved>,
    pub(super) about: About,
    pub(super) since: Epoch,
}

/// How waiting in line ended.
enum Waited {
    /// It is this call's turn.
    Turn(Turn),
    /// The caller is not there any more.
    Withdrawn,
    /// It may not run.
    Refused(Reason, String, Option<QuotaUse>),
}

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// Runs a call. `told` gets the answer as soon as there is one; a sandbox that was only for this call is
    /// destroyed after that, and then this returns (R32).
    pub async fn call(&self, call: NewCall, io: CallIo, told: oneshot::Sender<Told>) {
        self.live(call, io, told, None).await;
    }

    pub(super) async fn live(
        &self,
        call: NewCall,
        mut io: CallIo,
        told: oneshot::Sender<Told>,
        approved: Option<Approved>,
    ) {
        let decision = call.proposed.decision();
        let (route, progress) = (call.route, call.progress);
        progress.done("begin");
        let (by, originals) = (call.claims.by(), Originals::of(call.proposed.inputs()));
        let identified = match call.proposed.authenticate(call.claims) {
            Ok(identified) => identified,
            Err(denied) => return tell(told, self.refuse(denied)),
        };
        let owner = owner_of(identified.facts());
        let policy = match self.policy_of(&owner, identified.facts(), route.as_deref()) {
            Ok(policy) => policy,
            Err((reason, why)) => {
                let denied = identified.without_policy(reason, &why);
                return tell(told, self.refuse(denied));
            }
        };
        let about = About::of(identified.facts(), &policy.route);
        let before = approved.as_ref().map(|approved| approved.since);
        let (identified, since) = match self.may_line_up(identified, &about, &policy, before) {
            Ok(begun) => begun,
            Err(denied) => return tell(told, self.refuse(denied)),
        };
        let turn = match self.wait(&identified, &owner, &policy, &mut io).await {
            Waited::Turn(turn) => turn,
            Waited::Withdrawn => return tell(told, Told::Withdrawn(decision)),
            // Who has an approval does not lose it because others are in the way.
            Waited::Refused(..) if approved.is_some() => return tell(told, Told::Later(decision)),
            Waited::Refused(reason, detail, quota) => {
                let denied = identified.refuse(reason, &detail, quota);
                return tell(told, self.refuse(denied));
            }
        };
        let kind = self.kind_of(identified.facts(), &policy);
        // What was approved is no loop.
        let again = kind.as_ref().filter(|_| approved.is_none());
        let facts = identified.facts();
        let reservation = self
            .still_on(&about, since)
            .map_err(|why| (Reason::KillSwitch, why))
            .and_then(|()| self.let_in(facts, again, &policy));
        let reservation = match reservation {
            Ok(reservation) => reservation,
            Err((Reason::BudgetExhausted, _)) if approved.is_some() => {
                return tell(told, Told::Later(decision));
            }
            Err((reason, why)) => {
                let denied = identified.refuse(reason, &why, None);
                return tell(told, self.refuse(denied));
            }
        };
        progress.runs();
        progress.done("line");
        let ask = &identified.facts().ask;
        let executes = ask.command.cell.is_none().then(|| ask.tool.clone());
        let wish = Wish {
            owner: &owner,
            within: ask.within.as_ref(),
            profile: &policy,
            executes: executes.as_deref(),
        };
        let mut lodged = match self.lodge(&wish).await {
            Ok(lodged) => lodged,
            Err(error) => {
                let answer = match approved.is_some() && is_passing(&error, ask.within.as_ref()) {
                    true => Told::Later(decision),
                    false => self.refuse(turned_away(identified, &error)),
                };
                self.settle_budget(reservation, &answer);
                return tell(told, answer);
            }
        };
        progress.done("session");
        let caller = Caller {
            io,
            progress,
            demand: call.demand,
            by,
            keep: originals.map(|originals| ToKeep {
                originals,
                demand: call.demand,
                since,
                by,
            }),
            approved,
            about,
            since,
        };
        let answer = self.run(identified, &mut lodged, &policy, caller).await;
        // If it is not on disk by now, it is gone, and an answer that names it says nothing wrong.
        lodged.noted.done().await;
        self.settle_budget(reservation, &answer);
        if let Some(kind) = &kind {
            self.remember_end(kind, &answer);
        }
        tell(told, answer);
        if lodged.stay == Stay::Once {
            // If the keeper does not answer, the session ends when it has been idle for too long.
            drop(self.keeper.close(lodged.live.id, owner).await);
        }
        drop(turn);
    }

    /// Why a call has no policy.
    #[must_use]
    pub fn no_policy(&self, route: Option<&str>) -> (Reason, String) {
        if let Err(why) = self.policies.current() {
            let why = format!("the policy cannot be used: {why}");
            return (Reason::PolicyError, why);
        }
        let routes = self.routes().join(", ");
        let why = match route {
            Some(route) => {
                let route = route.escape_debug();
                format!("there is no route `{route}`: there are {routes}")
            }
            None => format!("there are several routes, and the call names none: {routes}"),
        };
        (Reason::InvalidCall, why)
    }

    /// Refuses what a switch stops, and what the profile forbids by its source.
    fn may_line_up(
        &self,
        identified: Identified,
        about: &About,
        policy: &RoutePolicy,
        since: Option<Epoch>,
    ) -> Result<(Identified, Epoch), Denied> {
        match self.begins(about, since) {
            Ok(since) => Ok((identified.scanned(policy)?, since)),
            Err(why) => Err(identified.refuse(Reason::KillSwitch, &why, None)),
        }
    }

    /// Lines up, and waits.
    async fn wait(
        &self,
        identified: &Identified,
        owner: &Owner,
        profile: &Profile,
        io: &mut CallIo,
    ) -> Waited {
        let line = self.line(identified, owner, profile);
        let mut turn = match self.admission.enter(line) {
            Ok(turn) => turn,
            Err(full) => {
                let quota = self.full(full, identified, owner);
                let reason = match full.whose {
                    Whose::Host => Reason::Overloaded,
                    _ => Reason::QuotaExceeded,
                };
                return Waited::Refused(reason, shown(&quota), Some(quota));
            }
        };
        let timeout_ms = self.capacity.queue_timeout_ms;
        tokio::select! {
            biased;
            () = turn.come() => Waited::Turn(turn),
            () = taken_back(&mut io.control) => Waited::Withdrawn,
            () = io.events.closed() => Waited::Withdrawn,
            () = sleep(Duration::from_millis(timeout_ms)) => Waited::Refused(
                Reason::Overloaded,
                format!("the call waited {timeout_ms} ms for its turn"),
                None,
            ),
        }
    }

    /// Where the call stands in line: with the others of its session, or in one of its own.
    fn line(&self, identified: &Identified, owner: &Owner, profile: &Profile) -> Line {
        let ask = &identified.facts().ask;
        let within = ask.within.as_ref();
        let named = within.and_then(|within| {
            let session = within.session.and_then(|session| self.table.get(session));
            let context = within.context;
            let by_context = || self.table.with_context(owner, context?);
            session
                .or_else(by_context)
                .filter(|live| live.owner == *owner)
        });
        let thread = within.and_then(|within| within.thread.as_ref());
        let thread = thread.or_else(|| named.as_ref()?.thread.as_ref());
        let session = match (thread, &named, within.and_then(|within| within.session)) {
            (Some(thread), _, _) => format!("thread/{thread}"),
            (None, Some(live), _) => live.id.to_string(),
            (None, None, Some(session)) => session.to_string(),
            (None, None, None) => identified.facts().decision.to_string(),
        };
        let bounds = |rule: &QuotaRule| Bounds {
            calls: rule.calls,
            queued: rule.queued,
        };
        let quotas = &profile.quotas;
        let mode = profile.sandbox.session;
        let own = named.as_ref().and_then(|live| live.own_context());
        let context = within.and_then(|within| within.context);
        let is_cell = ask.command.cell.is_some();
        // A context runs one cell at a time.
        let lane = match context {
            Some(context) if own != Some(context) => Some(context.to_string()),
            Some(_) => Some("own context".to_owned()),
            None if (mode == SessionMode::Context
                || within.is_some_and(|within| within.interpreter))
                && is_cell
                && (thread.is_some() || named.is_some()) =>
            {
                Some("own context".to_owned())
            }
            None => None,
        };
        let of_session = bounds(&quotas.session);
        let lane = match lane {
            Some(lane) => (
                lane.into(),
                Bounds {
                    calls: 1,
                    ..of_session
                },
            ),
            None => ("calls".into(), of_session),
        };
        Line {
            tenant: (owner.tenant.as_str().into(), bounds(&quotas.tenant)),
            agent: (owner.agent.as_str().into(), bounds(&quotas.agent)),
            session: (session.into(), of_session),
            lane,
        }
    }

    fn full(&self, full: Full, identified: &Identified, owner: &Owner) -> QuotaUse {
        let of = match full.whose {
            Whose::Host => "the host".to_owned(),
            Whose::Tenant => format!("the tenant {}", owner.tenant),
            Whose::Agent => format!("the agent {}", owner.agent),
            Whose::Session | Whose::Lane => {
                let within = identified.facts().ask.within.as_ref();
                match within {
                    Some(within) => match (&within.thread, within.session) {
                        (Some(thread), _) => format!("the thread {}", thread.escape_debug()),
                        (None, Some(session)) => format!("the session {session}"),
                        (None, None) => "the session".to_owned(),
                    },
                    None => "the session".to_owned(),
                }
            }
        };
        QuotaUse {
            quota: "queued".to_owned(),
            of,
            limit: full.limit,
            used: full.used,
            retry_after_ms: Some(RETRY_AFTER_MS),
        }
    }

    /// From the session to the answer.
    async fn run(
        &self,
        mut identified: Identified,
        lodged: &mut Lodged<'_>,
        policy: &RoutePolicy,
        mut caller: Caller,
    ) -> Told {
        let decision = identified.facts().decision;
        let approved = caller.approved.take();
        let was_approved = approved.is_some();
        identified.lodge(lodged.lodging);
        let by_thread = is_by_thread(identified.facts().ask.within.as_ref());
        // What a thread has lost is told of once: the next place is in another session.
        let passes = |reason| {
            let is_lost = matches!(reason, Reason::SessionGone | Reason::ContextUnknown);
            passes(reason) || by_thread && is_lost
        };
        let live = &lodged.live;
        let session = (&live.output, Self::called(live));
        let meter = self
            .meters
            .meter(&live.owner, session, policy, self.clock.now_ms());
        if let Some(quota) = meter.used_up() {
            if was_approved {
                return Told::Later(decision);
            }
            let denied = identified.refuse(Reason::QuotaExceeded, &shown(&quota), Some(quota));
            return self.refuse(denied);
        }
        let planned = self.plan_way(identified, &live.owner, policy);
        let (identified, way) = match lodged.noted.during(Box::pin(planned)).await {
            Ok(planned) => planned,
            Err(denied) if was_approved && passes(denied.reason()) => return Told::Later(decision),
            Err(denied) => return self.refuse(denied),
        };
        let places = Places {
            sessions: self,
            live: Arc::clone(live),
            context: lodged.lodging.context,
            stay: lodged.stay,
            handover: way.as_ref().map(|way| way.handover(decision)),
        };
        let ruling = async {
            let enclosed = match identified.enclose(policy, SANDBOX_TOOLS, &places).await {
                Ok(enclosed) => enclosed,
                Err(denied) => return Ruling::Denied(denied),
            };
            caller.progress.done("place");
            match enclosed.check().await {
                Ok(checked) => {
                    // It may have changed while the call waited.
                    let now = self.policy(Some(&policy.route));
                    let policy = now.as_ref().unwrap_or(policy);
                    let clock = self.clock.as_ref();
                    match approved {
                        None => {
                            let Demand { trigger, mode, .. } = caller.demand;
                            checked.decide(policy, policy.modes.of(trigger, mode), clock)
                        }
                        Some(Approved { approval, mode, .. }) => {
                            checked.decide_approved(policy, mode, clock, approval)
                        }
                    }
                }
                Err(denied) => Ruling::Denied(denied),
            }
        };
        let ruling = lodged.noted.during(ruling).await;
        caller.progress.done("decide");
        match ruling {
            Ruling::Allowed(allowed) => {
                if let Err(why) = self.still_on(&caller.about, caller.since) {
                    return self.refuse(allowed.refuse(Reason::KillSwitch, why));
                }
                if was_approved {
                    let consumed = lodged.noted.during(self.consume(decision));
                    if let Err(why) = consumed.await {
                        return self.refuse(allowed.refuse(Reason::ApprovalInvalid, why));
                    }
                }
                let noted = &mut lodged.noted;
                let run = self.perform(allowed, (policy, way), meter, noted, caller);
                let told = Box::pin(run).await;
                self.look_at_end(&told, lodged).await;
                told
            }
            Ruling::Denied(denied) if was_approved && passes(denied.reason()) => {
                Told::Later(decision)
            }
            Ruling::Denied(denied) => self.refuse(denied),
            Ruling::Held(held) => match &caller.keep {
                Ok(keep) => {
                    // Few calls wait: the future of those that do not is smaller without it.
                    let hold = Box::pin(self.hold(held, keep, policy));
                    lodged.noted.during(hold).await
                }
                Err(error) => {
                    let why = format!("its input files cannot be kept: {error}");
                    self.refuse(Denied::new(
                        held.into_facts(),
                        Reason::RecordUnavailable,
                        why,
                    ))
                }
            },
        }
    }

    /// A call that ended by a violation has taken its session along.
    async fn look_at_end(&self, told: &Told, lodged: &Lodged<'_>) {
        if let Told::Released(released) = told
            && released.outcome().cause == Cause::Violation
        {
            // If it cannot be noted, the next caller finds it out by itself.
            drop(self.violated(&lodged.live, lodged.stay).await);
        }
    }

    /// Records a refusal, and then tells it.
    fn refuse(&self, denied: Denied) -> Told {
        Told::Refused(denied.record(&self.journal))
    }
}

fn tell(told: oneshot::Sender<Told>, answer: Told) {
    // Whoever went away has no need of it: it is on disk.
    drop(told.send(answer));
}

/// Whether a refusal is about the moment, not about the call.
const fn passes(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Overloaded
            | Reason::QuotaExceeded
            | Reason::IsolationUnavailable
            | Reason::RecordUnavailable
            | Reason::PolicyError
            | Reason::SessionBusy
            | Reason::SessionPaused
    )
}

/// Whether it is about the moment that a call has no session, or about one that its thread has lost.
fn is_passing(error: &SessionError, within: Option<&Within>) -> bool {
    passes(error.reason()) || is_by_thread(within) && error.is_loss()
}

/// Whether a call runs wherever its thread has a place for it.
fn is_by_thread(within: Option<&Within>) -> bool {
    within.is_some_and(|within| {
        within.thread.is_some() && within.session.is_none() && within.context.is_none()
    })
}

/// Waits until the caller takes the call back or goes away.
async fn taken_back(control: &mut mpsc::Receiver<Control>) {
    loop {
        match control.recv().await {
            Some(Control::Deliver(_) | Control::Resize(_)) => {}
            Some(Control::Interrupt(_) | Control::Cancel) | None => return,
        }
    }
}

pub(super) fn owner_of(facts: &Facts) -> Owner {
    Owner {
        tenant: facts.tenant().to_owned(),
        agent: facts.ask.agent.clone(),
    }
}

/// A refusal because the call has no session to be in.
fn turned_away(mut identified: Identified, error: &SessionError) -> Denied {
    identified.lodge(Lodging {
        session: error.session(),
        context: error.context(),
        ..Lodging::default()
    });
    match error {
        SessionError::Keeper(error) => identified.without_keeper(error),
        SessionError::TooManyContexts { session, limit } => {
            let quota = QuotaUse {
                quota: "contexts".to_owned(),
                of: format!("the session {session}"),
                limit: *limit,
                used: *limit,
                retry_after_ms: None,
            };
            identified.refuse(error.reason(), &one_line(error), Some(quota))
        }
        _ => identified.refuse(error.reason(), &one_line(error), None),
    }
}

/// A quota for people.
fn shown(quota: &QuotaUse) -> String {
    format!(
        "the quota `{}` of {} is used up: {} of {}",
        quota.quota, quota.of, quota.used, quota.limit
    )
}

//! Requests of a call on its way out: on disk before they are sent, and closed after it.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use casemate_ledger::{Entry, Kind, Urgency};
use casemate_model::{DecisionId, DeniedAttempt};
use casemate_ports::{
    Advice, AdviceCode, ConsultedRequest, Crossing, Decider, HeldRequest, KnownDestination,
    NotConsented, NotRecorded, Pending, Said, Stage, Witness,
};
use tokio::{
    sync::{Notify, OwnedMutexGuard, mpsc, oneshot, watch},
    time::timeout,
};

use crate::{Facts, Journal, RecordError, entry, journal::content_aad, way::Familiar};

/// The most records of one call, beside how its requests ended: a program that wants more has no way out any more.
const MAX_RECORDS: u64 = 20_000;
/// The most requests of one call that are sent and have not ended: as many as egress lets an agent have. Each is an open decision
/// in the log, whose table of them is everybody's.
pub const MAX_OPEN_REQUESTS: usize = 256;
/// The most different refusals that are listed; more are counted together.
const MAX_LISTED: usize = 256;
/// How long the log may take to write the last records: longer than it waits for its lock.
const LAST_WRITES: Duration = Duration::from_secs(12);
/// The most requests of one call that are about to be asked about.
const MAX_ASKED: usize = 4;
/// The most requests of one call about which people are asked in its life: more are refused.
const MAX_ASKS: u64 = 64;
/// The word for the end of a request of which nobody said how it ended.
const LOST: &str = "egress_lost";

impl Journal {
    /// Begins to record a request of `call`, and blocks while its content is sealed. When what this gives is ready, it is on disk. Needs a
    /// tokio runtime.
    ///
    /// # Errors
    /// When it cannot be recorded; then it must not be sent.
    pub fn begin_crossing(
        &self,
        call: &Facts,
        crossing: &Crossing,
        heard: Option<&Heard>,
        urgency: Urgency,
    ) -> Result<Pending<'static, Result<(), RecordError>>, RecordError> {
        let kind = match crossing.stage {
            Stage::Denied(_) => Kind::Denied,
            Stage::Sent => Kind::Allowed,
            Stage::Ended(_) => Kind::Outcome,
        };
        let summary = entry::crossing(call, crossing, heard).map_err(RecordError::Encode)?;
        if kind == Kind::Allowed
            && let Some(field) = entry::missing_field(call.terms.as_ref(), &summary)
        {
            return Err(RecordError::MissingField(field.to_owned()));
        }
        let content = entry::crossing_content(crossing, heard).map_err(RecordError::Encode)?;
        let agent = &call.ask.agent;
        let aad = content_aad(crossing.decision, kind);
        let sealed = self.keys.seal(agent, &aad, &content);
        let entry = Entry {
            at_ms: crossing.at_ms,
            decision: crossing.decision,
            kind,
            agent: agent.clone(),
            tenant: call.tenant().to_owned(),
            summary,
            payload: Some(sealed.map_err(RecordError::Seal)?),
        };
        let written = self.begin_request(entry, urgency)?;
        Ok(Box::pin(written))
    }
}

/// What a program of the operator's said of a request.
#[derive(Clone, Debug)]
pub struct Heard {
    /// What records call the program.
    pub by: String,
    /// What it said.
    pub said: Said,
}

/// Where the records of one call are written.
trait Log: fmt::Debug + Send + Sync {
    /// Which call.
    fn call(&self) -> DecisionId;

    /// The time.
    fn now_ms(&self) -> u64;

    /// Begins to write one, with what was heard of it, which may block. When what this gives is ready, it is durable.
    fn begin(
        &self,
        crossing: &Crossing,
        heard: Option<&Heard>,
        urgency: Urgency,
    ) -> Result<Pending<'static, Result<(), RecordError>>, RecordError>;
}

/// The records of the call of `facts`, in `journal`.
#[derive(Debug)]
struct CallLog {
    facts: Facts,
    journal: Arc<Journal>,
}

impl Log for CallLog {
    fn call(&self) -> DecisionId {
        self.facts.decision
    }

    fn now_ms(&self) -> u64 {
        self.journal.clock.now_ms()
    }

    fn begin(
        &self,
        crossing: &Crossing,
        heard: Option<&Heard>,
        urgency: Urgency,
    ) -> Result<Pending<'static, Result<(), RecordError>>, RecordError> {
        self.journal
            .begin_crossing(&self.facts, crossing, heard, urgency)
    }
}

/// The records of one call's requests. Whoever serves the way out is not believed more than it has to be: it can record
/// requests of this call only, under names that are no other's, each of them once, and end only those that it said are sent.
#[derive(Debug)]
pub struct Crossings {
    log: Arc<dyn Log>,
    taken: AtomicU64,
    state: Mutex<State>,
    /// Whether something was not recorded.
    failed: Arc<AtomicBool>,
    /// How many records are on their way to the disk.
    writing: watch::Sender<u64>,
    /// To whoever asks people, if somebody does.
    ask: Option<mpsc::Sender<Asked>>,
    /// Who is asked about each request, if somebody is: then none is sent that was not let pass.
    decider: Option<Arc<dyn Decider>>,
    /// Where destinations are remembered that have answered, if they are.
    memory: Option<Arc<dyn Familiar>>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    /// The names that were recorded, at most [`MAX_RECORDS`]: none is another request's, and none is taken again after its end.
    used: HashSet<DecisionId>,
    /// Those that were sent and have not ended.
    open: HashMap<DecisionId, Open>,
    denied: BTreeMap<String, u64>,
    /// How often people were asked.
    asks: u64,
    /// Those about which people were asked, at most [`MAX_ASKS`].
    held: HashMap<DecisionId, Arc<Holding>>,
    /// What was said of those that are neither sent nor refused yet.
    heard: HashMap<DecisionId, Heard>,
    /// The destinations that have answered in this call.
    known: HashSet<KnownDestination>,
}

/// A request that waits for a person. Whoever asked may go away.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: HeldRequest,
    pub(crate) answer: oneshot::Sender<Consent>,
    pub(crate) holding: Arc<Holding>,
}

/// What is known of a request that waits for a person, or has waited. Of its refusal there is one record: of whoever asks people, or of whoever
/// serves the way out.
#[derive(Debug)]
pub(crate) struct Holding {
    /// Comes when nobody wants it any more.
    pub(crate) gone: Notify,
    /// Whether whoever asks people has it.
    pub(crate) taken: AtomicBool,
    /// Whether whoever asks people has its refusal on record.
    pub(crate) recorded: AtomicBool,
    /// The same, once it is over.
    over: watch::Sender<Option<bool>>,
}

impl Holding {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            gone: Notify::new(),
            taken: AtomicBool::new(false),
            recorded: AtomicBool::new(false),
            over: watch::Sender::new(None),
        })
    }

    /// It is over: its refusal is on record, or is not. What was said first stays.
    fn end(&self, recorded: bool) {
        let recorded = recorded || self.recorded.load(Ordering::SeqCst);
        self.over.send_if_modified(|over| {
            let is_first = over.is_none();
            over.get_or_insert(recorded);
            is_first
        });
    }
}

/// What came of asking people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    /// It may be sent, once.
    Given,
    /// It may not, and that is on record.
    Refused,
    /// Nothing: whoever serves the way out records what becomes of it.
    Nothing,
}

/// A request that is sent, once that is on disk.
#[derive(Clone, Debug)]
struct Open {
    crossing: Arc<Crossing>,
    is_written: Arc<tokio::sync::Mutex<bool>>,
}

impl Crossings {
    /// Those of the call of `facts`, in `journal`.
    #[must_use]
    pub fn new(facts: Facts, journal: Arc<Journal>) -> Self {
        Self::of(Arc::new(CallLog { facts, journal }))
    }

    fn of(log: Arc<dyn Log>) -> Self {
        Self {
            log,
            taken: AtomicU64::new(0),
            state: Mutex::default(),
            failed: Arc::default(),
            writing: watch::Sender::new(0),
            ask: None,
            decider: None,
            memory: None,
        }
    }

    /// The same, and `memory` hears of each destination that answers.
    pub(crate) fn remembering(self, memory: Option<Arc<dyn Familiar>>) -> Self {
        Self { memory, ..self }
    }

    /// The same, and `decider` is asked about each request.
    pub(crate) fn consulting(self, decider: Option<Arc<dyn Decider>>) -> Self {
        Self { decider, ..self }
    }

    /// The same, and where requests come out that wait for a person. Without it they are refused.
    pub(crate) fn asking(self) -> (Self, mpsc::Receiver<Asked>) {
        let (ask, asked) = mpsc::channel(MAX_ASKED);
        let ask = Some(ask);
        (Self { ask, ..self }, asked)
    }

    /// What was refused, and how often.
    #[must_use]
    pub fn denied(&self) -> Vec<DeniedAttempt> {
        let attempt = |(what, count): (&String, &u64)| DeniedAttempt {
            kind: "egress".to_owned(),
            what: what.clone(),
            count: *count,
        };
        self.state().denied.iter().map(attempt).collect()
    }

    /// Takes no more records, and ends what was sent and has no end: what came of it nobody knows.
    ///
    /// # Errors
    /// When not all of it is recorded.
    pub async fn close(&self) -> Result<(), NotRecorded> {
        let open: Vec<_> = {
            let mut state = self.state();
            state.closed = true;
            state.open.drain().map(|(_, open)| open).collect()
        };
        let whole = async {
            // All of them are begun before one is waited for: they share a flush.
            let mut ends = Vec::new();
            for open in open {
                if *open.is_written.lock().await {
                    let lost = Crossing {
                        at_ms: self.log.now_ms(),
                        stage: Stage::Ended(Some(LOST.into())),
                        ..Crossing::clone(&open.crossing)
                    };
                    ends.push(self.write(lost, None, Urgency::Now));
                }
            }
            for end in ends {
                end.await?;
            }
            // The sender is as old as this.
            let _ = self.writing.subscribe().wait_for(|count| *count == 0).await;
            match self.failed.load(Ordering::SeqCst) {
                true => Err(NotRecorded),
                false => Ok(()),
            }
        };
        timeout(LAST_WRITES, whole)
            .await
            .unwrap_or(Err(NotRecorded))
    }

    /// Notes a request that is about to be sent, under a name that is no other's.
    fn begin(&self, crossing: &Crossing) -> Result<OwnedMutexGuard<bool>, NotRecorded> {
        let is_written = Arc::new(tokio::sync::Mutex::new(false));
        let guard = Arc::clone(&is_written).try_lock_owned();
        let guard = guard.map_err(|_| NotRecorded)?;
        let open = Open {
            crossing: Arc::new(crossing.clone()),
            is_written,
        };
        let mut state = self.state();
        let is_full = state.open.len() >= MAX_OPEN_REQUESTS;
        if state.closed || is_full || !state.used.insert(crossing.decision) {
            return Err(NotRecorded);
        }
        state.open.insert(crossing.decision, open);
        Ok(guard)
    }

    /// Takes one, if it is of this call, and can be.
    async fn take(&self, crossing: Crossing) -> Result<(), NotRecorded> {
        if !crossing.decision.is_request_of(self.log.call()) || !crossing.is_plain() {
            return Err(NotRecorded);
        }
        // What was sent has an end, and there are not more ends than requests.
        let is_end = matches!(crossing.stage, Stage::Ended(_));
        if !is_end && self.taken.fetch_add(1, Ordering::Relaxed) >= MAX_RECORDS {
            return Err(NotRecorded);
        }
        match crossing.stage.clone() {
            Stage::Sent => self.sent(crossing).await,
            Stage::Ended(_) => self.ended(crossing).await,
            Stage::Denied(code) => self.refused(crossing, &code).await,
        }
    }

    async fn sent(&self, crossing: Crossing) -> Result<(), NotRecorded> {
        let decision = crossing.decision;
        let heard = self.state().heard.remove(&decision);
        let passed = match &heard {
            Some(heard) => matches!(heard.said.advice, Advice::Pass { .. }),
            None => self.decider.is_none(),
        };
        if !passed {
            return Err(NotRecorded);
        }
        let mut is_written = self.begin(&crossing)?;
        let writing = self.write(crossing, heard, Urgency::Now);
        // Also when nobody waits for it any more: its end waits for this.
        let written = tokio::spawn(async move {
            let written = writing.await;
            *is_written = written.is_ok();
            written
        });
        let written = written.await.unwrap_or(Err(NotRecorded));
        if written.is_err() {
            self.state().open.remove(&decision);
        }
        written
    }

    async fn ended(&self, crossing: Crossing) -> Result<(), NotRecorded> {
        let open = self.state().open.get(&crossing.decision).cloned();
        let open = open.ok_or(NotRecorded)?;
        let is_written = *open.is_written.lock().await;
        // Whoever closes all of them meanwhile has it ended.
        let mine = self.state().open.remove(&crossing.decision).is_some();
        match is_written && mine {
            true => {
                // Nothing waits for it but the end of its call.
                let has_answered =
                    crossing.status.is_some() && matches!(crossing.stage, Stage::Ended(None));
                self.write(crossing, None, Urgency::Soon).await?;
                if has_answered {
                    self.remember(&open.crossing);
                }
                Ok(())
            }
            false => Err(NotRecorded),
        }
    }

    /// Remembers where a request went that was answered whole. A refused or failed one says nothing of its destination.
    fn remember(&self, sent: &Crossing) {
        let (Some(memory), Some(host), Some(port)) = (&self.memory, &sent.host, sent.port) else {
            return;
        };
        let host = host.clone();
        let destination = KnownDestination { host, port };
        let is_new = self.state().known.insert(destination.clone());
        if is_new {
            let (memory, at_ms) = (Arc::clone(memory), self.log.now_ms());
            let writing = self.writing.clone();
            // Only the end of the call waits for it.
            writing.send_modify(|count| *count += 1);
            tokio::spawn(async move {
                memory.note(destination, at_ms).await;
                writing.send_modify(|count| *count -= 1);
            });
        }
    }

    async fn refused(&self, crossing: Crossing, code: &str) -> Result<(), NotRecorded> {
        // Whoever asks people has that on record which waited for one: there is one record of it, not two.
        let was_held = self.given_up(crossing.decision).await;
        let (is_known, heard) = {
            let mut state = self.state();
            if state.closed || !state.used.insert(crossing.decision) {
                return Err(NotRecorded);
            }
            let because = crossing.because.as_deref().unwrap_or(code);
            let what = match (&crossing.scheme, &crossing.host, crossing.port) {
                (Some(scheme), Some(host), Some(port)) => {
                    format!("{scheme}://{host}:{port} {because}")
                }
                _ => because.to_owned(),
            };
            let denied = &mut state.denied;
            let what = if denied.len() < MAX_LISTED || denied.contains_key(&what) {
                what
            } else {
                "others".to_owned()
            };
            let count = denied.entry(what).or_default();
            *count = count.saturating_add(1);
            let heard = state.heard.remove(&crossing.decision);
            (was_held, heard)
        };
        match is_known {
            true => Ok(()),
            false => self.write(crossing, heard, Urgency::Now).await,
        }
    }

    /// Ends the waiting of a request for a person; whether it is on record then that it was refused.
    async fn given_up(&self, decision: DecisionId) -> bool {
        let Some(holding) = self.state().held.get(&decision).cloned() else {
            return false;
        };
        holding.gone.notify_one();
        let mut over = holding.over.subscribe();
        // The sender is held here.
        let _ = timeout(LAST_WRITES, over.wait_for(Option::is_some)).await;
        holding.end(false);
        let recorded = *holding.over.borrow();
        recorded.unwrap_or_default()
    }

    /// Says of a request about which people were asked, and are no more, whether its refusal is on record.
    pub(crate) fn settle(&self, decision: DecisionId, recorded: bool) {
        if let Some(holding) = self.state().held.get(&decision) {
            holding.end(recorded);
        }
    }

    /// Writes it down, whether or not somebody still waits for it.
    fn write(
        &self,
        crossing: Crossing,
        heard: Option<Heard>,
        urgency: Urgency,
    ) -> Pending<'static, Result<(), NotRecorded>> {
        let log = Arc::clone(&self.log);
        let (failed, writing) = (Arc::clone(&self.failed), self.writing.clone());
        writing.send_modify(|count| *count += 1);
        let begun =
            tokio::task::spawn_blocking(move || log.begin(&crossing, heard.as_ref(), urgency));
        let written = tokio::spawn(async move {
            let written = match begun.await {
                Ok(Ok(written)) => written.await.is_ok(),
                Ok(Err(_)) | Err(_) => false,
            };
            if !written {
                failed.store(true, Ordering::SeqCst);
            }
            writing.send_modify(|count| *count -= 1);
            written
        });
        Box::pin(async move {
            match written.await {
                Ok(true) => Ok(()),
                Ok(false) | Err(_) => Err(NotRecorded),
            }
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Witness for Crossings {
    fn record(&self, crossing: Crossing) -> Pending<'_, Result<(), NotRecorded>> {
        Box::pin(async move {
            let taken = self.take(crossing).await;
            if taken.is_err() && !self.state().closed {
                // Whatever the reason: something happened that is not on record.
                self.failed.store(true, Ordering::SeqCst);
            }
            taken
        })
    }

    fn consent(&self, request: HeldRequest) -> Pending<'_, Result<(), NotConsented>> {
        Box::pin(async move {
            let decision = request.decision;
            let ask = self.ask.as_ref().ok_or(NotConsented::Refused)?;
            let holding = Holding::new();
            {
                let mut state = self.state();
                let is_new = decision.is_request_of(self.log.call())
                    && !state.used.contains(&decision)
                    && !state.held.contains_key(&decision);
                let is_over = state.closed || state.asks >= MAX_ASKS;
                if is_over || !is_new || !request.is_plain() {
                    return Err(NotConsented::Refused);
                }
                state.asks += 1;
                state.held.insert(decision, Arc::clone(&holding));
            }
            let (answer, answered) = oneshot::channel();
            let asked = Asked {
                request,
                answer,
                holding: Arc::clone(&holding),
            };
            let consent = match ask.send(asked).await {
                Ok(()) => answered.await.ok(),
                Err(_) => None,
            };
            match consent {
                Some(consent) => holding.end(consent == Consent::Refused),
                // The call has ended: whoever ends its requests says it of those that were taken.
                None if holding.taken.load(Ordering::SeqCst) => {}
                None => holding.end(false),
            }
            match consent {
                Some(Consent::Given) => Ok(()),
                _ => Err(NotConsented::Refused),
            }
        })
    }

    fn consult(&self, request: ConsultedRequest) -> Pending<'_, Advice> {
        Box::pin(async move {
            let decision = request.decision;
            let unavailable = Said::nothing(AdviceCode::Unavailable);
            let Some(decider) = &self.decider else {
                return unavailable.advice;
            };
            let by = decider.name().to_owned();
            {
                let mut state = self.state();
                let is_new = decision.is_request_of(self.log.call())
                    && !state.used.contains(&decision)
                    && !state.heard.contains_key(&decision);
                if state.closed || !is_new || state.heard.len() >= MAX_OPEN_REQUESTS {
                    return unavailable.advice;
                }
                // Also while it is asked, and when whoever wants to know goes away.
                let heard = Heard {
                    by: by.clone(),
                    said: unavailable,
                };
                state.heard.insert(decision, heard);
            }
            let said = decider.consult(request).await;
            let advice = said.advice.clone();
            if let Some(heard) = self.state().heard.get_mut(&decision) {
                *heard = Heard { by, said };
            }
            advice
        })
    }
}

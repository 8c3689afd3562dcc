//! The calls that run or ran not long ago, for whoever asks after them.

mod steps;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use casemate_model::{DecisionId, Stream};
use casemate_ports::{Control, Event, Owner, Signal};
use tokio::sync::{Notify, mpsc};

use self::steps::Steps;
use crate::{Maker, Told};

/// The most bytes of a call's newest output that are kept for whoever asks later.
pub const MAX_KEPT_OUTPUT_BYTES: usize = 256 * 1024;

/// The most calls that ended and are still known.
pub const MAX_ENDED_CALLS: usize = 512;

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for its turn.
    Waiting,
    /// It is being decided, or runs.
    Running,
    /// A person has to approve it.
    Held,
    /// It has ended, or was refused.
    Ended,
}

impl Phase {
    /// The word as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Held => "held",
            Self::Ended => "ended",
        }
    }
}

/// What [`Progress`] has beside 0, which stands for a call that waits for its turn.
const RUNS: u8 = 1;
const HELD: u8 = 2;
/// Its program starts: everything that could have refused it is behind it.
const STARTS: u8 = 3;

/// How far a call has come, for whoever looks.
#[derive(Debug, Default)]
pub struct Progress {
    phase: AtomicU8,
    started: Notify,
    /// Only where somebody measures.
    steps: Option<Steps>,
}

impl Progress {
    fn timed() -> Self {
        Self {
            steps: Some(Steps::start()),
            ..Self::default()
        }
    }

    /// Notes that it is the call's turn.
    pub(crate) fn runs(&self) {
        self.phase.store(RUNS, Ordering::Relaxed);
    }

    /// Notes that the call is allowed and recorded, and its program about to start.
    pub(crate) fn starts(&self) {
        self.phase.store(STARTS, Ordering::Release);
        self.started.notify_waiters();
    }

    /// Waits until the program starts. A call that is refused never gets there.
    pub async fn started(&self) {
        loop {
            let started = self.started.notified();
            if self.phase.load(Ordering::Acquire) == STARTS {
                return;
            }
            started.await;
        }
    }

    /// Notes that it waits for a person.
    fn waits_for_person(&self) {
        self.phase.store(HELD, Ordering::Relaxed);
    }

    /// Notes that a step is done.
    pub fn done(&self, step: &'static str) {
        if let Some(steps) = &self.steps {
            steps.done(step);
        }
    }

    /// Each step and how long it took, as a `Server-Timing` header has it, if they are measured.
    #[must_use]
    pub fn timings(&self) -> Option<String> {
        self.steps.as_ref().map(Steps::header)
    }
}

/// A call of which somebody may want to know.
#[derive(Debug)]
pub struct RunningCall {
    /// Which.
    pub id: DecisionId,
    /// Whose.
    pub owner: Owner,
    /// How far it has come.
    pub progress: Arc<Progress>,
    /// Its tool and its thread, where they are known.
    about: OnceLock<(String, Option<String>)>,
    /// To the program; none while the call waits for a person, and another one after that.
    control: Mutex<Option<mpsc::Sender<Control>>>,
    /// Who made it, where that is known: nobody else has its standard input.
    maker: OnceLock<Maker>,
    /// To its standard input, while nobody else has that and somebody may want it.
    stdin: Mutex<Option<mpsc::Sender<Vec<u8>>>>,
    /// To whoever takes its output, until it has ended.
    output: Mutex<Option<mpsc::Sender<Event>>>,
    seen: Mutex<Seen>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    /// The number of the first piece that is kept.
    first: u64,
    pieces: VecDeque<(Stream, Arc<[u8]>)>,
    bytes: usize,
    /// Output may come yet, whatever was told.
    flows: bool,
    told: Option<Arc<Told>>,
}

impl Seen {
    /// The answer, when all output that goes with it is here.
    fn told(&self) -> Option<Arc<Told>> {
        self.told.clone().filter(|_| !self.flows)
    }
}

/// Output of a call, from somewhere on.
#[derive(Debug)]
pub struct Pieces {
    /// Pieces that are not kept any more, or never were.
    pub missed: u64,
    /// The pieces, in order.
    pub pieces: Vec<(Stream, Arc<[u8]>)>,
    /// Where to go on.
    pub next: u64,
    /// The answer, if there is one; then there is no more output.
    pub told: Option<Arc<Told>>,
}

impl RunningCall {
    /// Notes its tool and its thread. The first note stays.
    pub fn is_about(&self, tool: String, thread: Option<String>) {
        let _ = self.about.set((tool, thread));
    }

    /// Notes who made it. The first note stays.
    pub fn is_made_by(&self, maker: Maker) {
        let _ = self.maker.set(maker);
    }

    /// Its tool, where it is known.
    #[must_use]
    pub fn tool(&self) -> Option<&str> {
        self.about.get().map(|(tool, _)| tool.as_str())
    }

    /// Its thread, if it is known and has one.
    #[must_use]
    pub fn thread(&self) -> Option<&str> {
        self.about.get().and_then(|(_, thread)| thread.as_deref())
    }

    /// Whether somebody with these bounds may know of it. What is not known of it is out of bounds.
    #[must_use]
    pub fn is_within(&self, bounds: &casemate_model::Bounds) -> bool {
        let (tool, thread) = match self.about.get() {
            Some((tool, thread)) => (Some(tool.as_str()), thread.as_deref()),
            None => (None, None),
        };
        bounds.has_agent(&self.owner.agent)
            && tool.map_or(bounds.tools.is_none(), |tool| bounds.has_tool(tool))
            && bounds.has_thread(thread)
    }

    /// How far it has come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.told().is_some() {
            Phase::Ended
        } else {
            match self.progress.phase.load(Ordering::Relaxed) {
                RUNS | STARTS => Phase::Running,
                HELD => Phase::Held,
                _ => Phase::Waiting,
            }
        }
    }

    /// The answer, if there is one.
    #[must_use]
    pub fn told(&self) -> Option<Arc<Told>> {
        self.seen().told()
    }

    /// Somebody keeps its output from now on: until [`RunningCall::seen_all`] there is no answer.
    pub fn will_see(&self) {
        self.seen().flows = true;
    }

    /// All of its output was kept.
    pub fn seen_all(&self) {
        self.seen().flows = false;
        self.changed.notify_waiters();
    }

    /// Its kept output from piece number `from` on.
    #[must_use]
    pub fn pieces(&self, from: u64) -> Pieces {
        let seen = self.seen();
        let start = from.max(seen.first);
        let skip = usize::try_from(start - seen.first).unwrap_or(usize::MAX);
        let pieces: Vec<_> = seen.pieces.iter().skip(skip).cloned().collect();
        Pieces {
            missed: start - from,
            next: start + pieces.len() as u64,
            pieces,
            told: seen.told(),
        }
    }

    /// Waits until there is output from piece number `from` on, or the answer.
    pub async fn wait(&self, from: u64) -> Pieces {
        loop {
            let changed = self.changed.notified();
            let pieces = self.pieces(from);
            if !pieces.pieces.is_empty() || pieces.told.is_some() {
                return pieces;
            }
            changed.await;
        }
    }

    /// Waits for the answer.
    pub async fn ended(&self) -> Arc<Told> {
        loop {
            let changed = self.changed.notified();
            if let Some(told) = self.told() {
                return told;
            }
            changed.await;
        }
    }

    /// Interrupts the call; the keeper kills it if it does not end soon. Says whether it ran.
    pub fn cancel(&self) -> bool {
        let control = self.control();
        let Some(control) = control.as_ref() else {
            return false;
        };
        match control.try_send(Control::Interrupt(Signal::Interrupt)) {
            Ok(()) => true,
            // Whoever sends so much has asked for it already.
            Err(mpsc::error::TrySendError::Full(_)) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    /// Tells the program something, if it still takes word.
    pub fn control_with(&self, control: Control) {
        if let Some(to) = self.control().as_ref() {
            to.try_send(control).unwrap_or_default();
        }
    }

    /// Keeps its standard input open, for whoever made it.
    pub fn keep_stdin(&self, stdin: mpsc::Sender<Vec<u8>>) {
        // One that has ended reads nothing.
        if self.told().is_none() {
            *self.stdin() = Some(stdin);
        }
    }

    /// Its standard input, if it is kept, for whoever made it.
    pub fn take_stdin(&self, by: &Maker) -> Option<mpsc::Sender<Vec<u8>>> {
        match self.maker.get() {
            Some(maker) if maker == by => self.stdin().take(),
            _ => None,
        }
    }

    /// It waits for a person. It may be for days, so nothing is kept of the way to its program.
    pub fn waits_for_person(&self) {
        self.progress.waits_for_person();
        *self.control() = None;
        self.changed.notify_waiters();
    }

    /// Whoever takes its output is there for as long as it runs, and not while it waits for a person.
    pub fn goes_unattended(&self) {
        drop(self.output.lock().map(|mut output| output.take()));
    }

    /// Waits until a person has to approve it, or it has ended. Says whether it waits.
    pub async fn held(&self) -> bool {
        loop {
            let changed = self.changed.notified();
            match self.phase() {
                Phase::Held => return true,
                Phase::Ended => return false,
                Phase::Waiting | Phase::Running => changed.await,
            }
        }
    }

    /// Goes on after it waited: the way to the program is another one now. Gives the way to whoever takes its output, if
    /// there still is somebody.
    pub fn go_on(&self, control: mpsc::Sender<Control>) -> Option<mpsc::Sender<Event>> {
        *self.control() = Some(control);
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.clone().filter(|output| !output.is_closed())
    }

    /// Keeps a piece of output.
    pub fn see(&self, event: Event) {
        let Event::Output(stream, bytes) = event;
        let mut seen = self.seen();
        seen.bytes += bytes.len();
        seen.pieces.push_back((stream, bytes.into()));
        while seen.bytes > MAX_KEPT_OUTPUT_BYTES
            && let Some((_, old)) = seen.pieces.pop_front()
        {
            seen.bytes -= old.len();
            seen.first += 1;
        }
        drop(seen);
        self.changed.notify_waiters();
    }

    fn stdin(&self) -> MutexGuard<'_, Option<mpsc::Sender<Vec<u8>>>> {
        self.stdin.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn control(&self) -> MutexGuard<'_, Option<mpsc::Sender<Control>>> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The calls that run or ran not long ago.
#[derive(Debug, Default)]
pub struct RunningCalls {
    rows: Mutex<Rows>,
    timing: Timing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Timing {
    #[default]
    Off,
    On,
}

#[derive(Debug, Default)]
struct Rows {
    calls: HashMap<DecisionId, Arc<RunningCall>>,
    /// By owner, the oldest first.
    ended: HashMap<Owner, VecDeque<DecisionId>>,
    ended_count: usize,
}

impl Rows {
    /// Forgets the oldest that ended of the owner who has the most: nobody's flood takes away another's
    /// answers.
    fn forget_one(&mut self) {
        let most = self.ended.iter().max_by_key(|(_, ended)| ended.len());
        let Some(owner) = most.map(|(owner, _)| owner.clone()) else {
            return;
        };
        let Some(ended) = self.ended.get_mut(&owner) else {
            return;
        };
        if let Some(old) = ended.pop_front() {
            self.calls.remove(&old);
            self.ended_count -= 1;
        }
        if ended.is_empty() {
            self.ended.remove(&owner);
        }
    }
}

impl RunningCalls {
    /// Calls whose steps are measured.
    #[must_use]
    pub fn timed() -> Self {
        Self {
            timing: Timing::On,
            ..Self::default()
        }
    }

    /// Notes a call that begins.
    pub fn begin(
        &self,
        id: DecisionId,
        owner: Owner,
        control: Option<mpsc::Sender<Control>>,
        output: Option<mpsc::Sender<Event>>,
    ) -> Arc<RunningCall> {
        let call = Arc::new(RunningCall {
            id,
            owner,
            progress: match self.timing {
                Timing::Off => Arc::default(),
                Timing::On => Arc::new(Progress::timed()),
            },
            about: OnceLock::new(),
            maker: OnceLock::new(),
            control: Mutex::new(control),
            stdin: Mutex::default(),
            output: Mutex::new(output),
            seen: Mutex::default(),
            changed: Notify::new(),
        });
        self.rows().calls.insert(id, Arc::clone(&call));
        call
    }

    /// Notes the end of a call, once: the first answer stays. Another that ended is forgotten for it.
    pub fn end(&self, call: &RunningCall, told: Arc<Told>) {
        {
            let mut seen = call.seen();
            if seen.told.is_some() {
                return;
            }
            seen.told = Some(told);
        }
        drop(call.output.lock().map(|mut output| output.take()));
        *call.stdin() = None;
        call.changed.notify_waiters();
        let mut rows = self.rows();
        let ended = rows.ended.entry(call.owner.clone()).or_default();
        ended.push_back(call.id);
        rows.ended_count += 1;
        if rows.ended_count > MAX_ENDED_CALLS {
            rows.forget_one();
        }
    }

    /// The owner's call of this name; another's is as unknown as one that never was.
    #[must_use]
    pub fn get(&self, tenant: &str, id: DecisionId) -> Option<Arc<RunningCall>> {
        let rows = self.rows();
        let call = rows.calls.get(&id)?;
        (call.owner.tenant == tenant).then(|| Arc::clone(call))
    }

    /// The calls in a thread of an owner's that run or are about to.
    #[must_use]
    pub fn going_in(&self, owner: &Owner, thread: &str) -> Vec<Arc<RunningCall>> {
        let rows = self.rows();
        let going = |call: &&Arc<RunningCall>| {
            call.owner == *owner
                && call.thread() == Some(thread)
                && !matches!(call.phase(), Phase::Held | Phase::Ended)
        };
        rows.calls.values().filter(going).cloned().collect()
    }

    /// The calls of a tenant that have not ended.
    #[must_use]
    pub fn going_of(&self, tenant: &str) -> Vec<Arc<RunningCall>> {
        let rows = self.rows();
        let going =
            |call: &&Arc<RunningCall>| call.owner.tenant == tenant && call.phase() != Phase::Ended;
        rows.calls.values().filter(going).cloned().collect()
    }

    /// Cancels every call that runs or is about to. Says how many.
    pub fn cancel_all(&self) -> usize {
        let rows = self.rows();
        let going = |call: &&Arc<RunningCall>| !matches!(call.phase(), Phase::Held | Phase::Ended);
        let running = rows.calls.values().filter(going);
        running.filter(|call| call.cancel()).count()
    }

    /// How many calls wait for a person.
    #[must_use]
    pub fn held(&self) -> usize {
        let rows = self.rows();
        let held = |call: &&Arc<RunningCall>| call.phase() == Phase::Held;
        rows.calls.values().filter(held).count()
    }

    /// How many calls have not ended.
    #[must_use]
    pub fn count(&self) -> usize {
        let rows = self.rows();
        rows.calls.len() - rows.ended_count
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;

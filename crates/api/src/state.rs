//! What every request needs, and how a call begins.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use casemate_authority::Switchboard;
use casemate_callers::Callers;
use casemate_gateway::{
    Ask, Crew, Demand, Maker, NewCall, Proposed, RunningCall, RunningCalls, Sessions, Told,
};
use casemate_model::Isolation;
use casemate_ports::{CHANNEL_CAPACITY, CallIo, Control, Event, InputFile};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::{
    e2b::Sandboxes,
    limits::{MAX_LIVE_CALLS, MAX_RESUMING},
    mcp::Conversations,
    openai::Uploads,
    problem::Problem,
    readers::Readers,
    refusals::Refusals,
    routes::{Keeps, Remembers},
    status::{Household, Readiness},
    who::Who,
    writers::Writers,
};

/// The gateway behind the interface.
#[derive(Debug)]
pub struct Api<K, P> {
    pub(crate) sessions: Arc<Sessions<K, P>>,
    pub(crate) crew: Crew,
    pub(crate) calls: RunningCalls,
    /// Lets so many approved calls go on at once.
    pub(crate) resuming: Semaphore,
    /// Counts what changes about calls that wait.
    pub(crate) news: watch::Sender<u64>,
    /// The switches, to throw them.
    pub(crate) switchboard: Switchboard,
    /// Those who may call over a network.
    pub(crate) callers: Option<Arc<Callers>>,
    /// Those who were refused.
    pub(crate) refusals: Refusals,
    /// What clients of the Model Context Protocol are in the middle of.
    pub(crate) conversations: Arc<Conversations>,
    /// The sandboxes of clients of E2B.
    pub(crate) sandboxes: Sandboxes,
    /// Lets so many read the log at one time.
    pub(crate) readers: Readers,
    /// The writers of files that say which ones they know, session by session.
    pub(crate) writers: Writers,
    /// The files that clients of OpenAI brought.
    pub(crate) uploads: Uploads,
    /// The processes beside this one, if somebody knows them.
    pub(crate) household: Option<Arc<dyn Household>>,
    /// Whether calls can be run, as it was found out last.
    pub(crate) readiness: Readiness,
    /// What the newest sandbox of a call really enforced.
    pub(crate) enforced: Mutex<Option<Isolation>>,
}

/// Both ends of a call that has begun.
pub(crate) struct Begun {
    pub(crate) call: Arc<RunningCall>,
    pub(crate) stdin: mpsc::Sender<Vec<u8>>,
    pub(crate) control: mpsc::Sender<Control>,
    /// Its output. Dropping this cancels the call.
    pub(crate) events: mpsc::Receiver<Event>,
}

impl<K: Keeps, P: Remembers> Api<K, P> {
    /// An interface to these sessions, whose calls run on this crew, and to these switches. Without `callers`, nobody is
    /// managed who would call over a network.
    #[must_use]
    pub fn new(
        sessions: Arc<Sessions<K, P>>,
        crew: Crew,
        switchboard: Switchboard,
        callers: Option<Arc<Callers>>,
    ) -> Self {
        Self {
            sessions,
            crew,
            calls: RunningCalls::default(),
            resuming: Semaphore::new(MAX_RESUMING),
            news: watch::Sender::new(0),
            switchboard,
            callers,
            refusals: Refusals::default(),
            conversations: Arc::default(),
            sandboxes: Sandboxes::default(),
            readers: Readers::default(),
            writers: Writers::default(),
            uploads: Uploads::default(),
            household: None,
            readiness: Readiness::default(),
            enforced: Mutex::default(),
        }
    }

    /// The same, which knows these processes.
    #[must_use]
    pub fn with_household(self, household: Arc<dyn Household>) -> Self {
        Self {
            household: Some(household),
            ..self
        }
    }

    /// The same; its answers to calls say how long each step took.
    #[must_use]
    pub fn timed(self) -> Self {
        Self {
            calls: RunningCalls::timed(),
            ..self
        }
    }

    /// Whether every call has ended or waits for a person, with everything that was only for it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.calls.count() == self.calls.held() && self.sessions.load() == (0, 0)
    }

    /// Interrupts every call. Says how many.
    pub fn cancel_all(&self) -> usize {
        self.calls.cancel_all()
    }

    /// Does something with the sessions on a thread that may block.
    pub(crate) async fn with<T, F>(
        &self,
        job: impl FnOnce(Arc<Sessions<K, P>>) -> F + Send + 'static,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let sessions = Arc::clone(&self.sessions);
        Ok(self.crew.run(move || job(sessions)).await?)
    }

    /// Begins a call. It goes on until it has ended, or its output is dropped.
    pub(crate) fn begin(
        self: &Arc<Self>,
        who: &Who,
        ask: Ask,
        inputs: Vec<InputFile>,
        route: Option<String>,
        demand: Demand,
    ) -> Result<Begun, Problem> {
        if self.calls.count() >= MAX_LIVE_CALLS + self.sessions.waiting_count() {
            return Err(Problem::overloaded(MAX_LIVE_CALLS));
        }
        let claims = who.claims();
        let owner = who.owner(ask.agent.clone());
        let thread = self.sessions.thread_of(&owner, ask.within.as_ref());
        let tool = ask.tool.clone();
        let (clock, entropy) = (self.sessions.clock(), self.sessions.entropy());
        let proposed = Proposed::new(ask, inputs, clock, entropy);
        let proposed = proposed.map_err(|error: io::Error| {
            Problem::failed(format!("there is no name for the call: {error}"))
        })?;
        let id = proposed.decision();
        let (stdin_sender, stdin) = mpsc::channel(CHANNEL_CAPACITY);
        let (control_sender, control) = mpsc::channel(CHANNEL_CAPACITY);
        let (events_sender, events) = mpsc::channel(CHANNEL_CAPACITY);
        let call = self.calls.begin(
            id,
            owner,
            Some(control_sender.clone()),
            Some(events_sender.clone()),
        );
        call.is_about(tool, thread);
        call.is_made_by(Maker::of(&claims));
        let new_call = NewCall {
            proposed,
            claims,
            route,
            demand,
            progress: Arc::clone(&call.progress),
        };
        let io = CallIo {
            stdin,
            control,
            events: events_sender,
        };
        let unanswered = Unanswered {
            api: Arc::clone(self),
            call: Arc::clone(&call),
            waits: false,
        };
        // A job that is not taken up, or does not end, leaves its call withdrawn.
        self.crew.send(move || unanswered.answer(new_call, io))?;
        Ok(Begun {
            call,
            stdin: stdin_sender,
            control: control_sender,
            events,
        })
    }
}

/// A call that has no answer yet. Dropped without one, nothing was decided.
struct Unanswered<K: Keeps, P: Remembers> {
    api: Arc<Api<K, P>>,
    call: Arc<RunningCall>,
    /// It waits for a person: its answer comes later.
    waits: bool,
}

impl<K: Keeps, P: Remembers> Unanswered<K, P> {
    /// The life of the call.
    async fn answer(mut self, call: NewCall, io: CallIo) {
        let (tell, told) = oneshot::channel();
        let api = Arc::clone(&self.api);
        let life = Box::pin(api.sessions.call(call, io, tell));
        let note = async {
            match told.await {
                Ok(Told::Held(_)) => {
                    self.waits = true;
                    self.call.waits_for_person();
                }
                Ok(mut told) => {
                    if let Told::Released(released) = &told
                        && let Some(isolation) = &released.facts().isolation
                    {
                        let enforced = api.enforced.lock();
                        let mut enforced = enforced.unwrap_or_else(PoisonError::into_inner);
                        *enforced = Some(isolation.clone());
                    }
                    told.forget_program();
                    self.api.calls.end(&self.call, Arc::new(told));
                }
                Err(_) => {}
            }
        };
        tokio::join!(life, note);
    }
}

impl<K: Keeps, P: Remembers> Drop for Unanswered<K, P> {
    fn drop(&mut self) {
        if self.waits {
            return;
        }
        // The first answer stays.
        let none = Told::Withdrawn(self.call.id);
        self.api.calls.end(&self.call, Arc::new(none));
    }
}

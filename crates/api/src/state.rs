//! What every request needs, and how a call begins.

use std::{fmt, io, sync::Arc};

use casemate_gateway::{
    Ask, Caller, Crew, NewCall, Proposed, RunningCall, RunningCalls, Sessions, Told,
};
use casemate_policy::{Claims, Verified};
use casemate_ports::{CHANNEL_CAPACITY, CallIo, Control, Event, InputFile, Owner};
use tokio::sync::{mpsc, oneshot};

use crate::{
    limits::MAX_LIVE_CALLS,
    problem::Problem,
    routes::{Keeps, Remembers},
};

/// Says who calls.
pub trait Callers: fmt::Debug + Send + Sync {
    /// What is known of whoever is on the other end.
    fn claims(&self) -> Verified<Claims>;
}

/// The gateway behind the interface.
#[derive(Debug)]
pub struct Api<K, P> {
    pub(crate) sessions: Arc<Sessions<K, P>>,
    pub(crate) crew: Crew,
    pub(crate) calls: RunningCalls,
    callers: Box<dyn Callers>,
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
    /// An interface to these sessions, whose calls run on this crew.
    #[must_use]
    pub fn new(sessions: Arc<Sessions<K, P>>, crew: Crew, callers: Box<dyn Callers>) -> Self {
        Self {
            sessions,
            crew,
            calls: RunningCalls::default(),
            callers,
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

    /// Whether every call has ended, with everything that was only for it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.calls.count() == 0 && self.sessions.load() == (0, 0)
    }

    /// Interrupts every call. Says how many.
    pub fn cancel_all(&self) -> usize {
        self.calls.cancel_all()
    }

    /// The tenant of whoever calls.
    pub(crate) fn tenant(&self) -> String {
        self.callers.claims().get().tenant.clone()
    }

    /// Whose sessions an agent's are.
    pub(crate) fn owner(&self, agent: String) -> Owner {
        Owner {
            tenant: self.tenant(),
            agent,
        }
    }

    /// Who asks, in the name of an agent.
    pub(crate) fn caller(&self, agent: String) -> Caller {
        Caller {
            claims: self.callers.claims(),
            agent,
        }
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
        ask: Ask,
        inputs: Vec<InputFile>,
        route: Option<String>,
    ) -> Result<Begun, Problem> {
        if self.calls.count() >= MAX_LIVE_CALLS {
            return Err(Problem::overloaded(MAX_LIVE_CALLS));
        }
        let claims = self.callers.claims();
        let owner = Owner {
            tenant: claims.get().tenant.clone(),
            agent: ask.agent.clone(),
        };
        let (clock, entropy) = (self.sessions.clock(), self.sessions.entropy());
        let proposed = Proposed::new(ask, inputs, clock, entropy);
        let proposed = proposed.map_err(|error: io::Error| {
            Problem::failed(format!("there is no name for the call: {error}"))
        })?;
        let id = proposed.decision();
        let (stdin_sender, stdin) = mpsc::channel(CHANNEL_CAPACITY);
        let (control_sender, control) = mpsc::channel(CHANNEL_CAPACITY);
        let (events_sender, events) = mpsc::channel(CHANNEL_CAPACITY);
        let call = self.calls.begin(id, owner, control_sender.clone());
        let new_call = NewCall {
            proposed,
            claims,
            route,
            progress: Arc::clone(&call.progress),
        };
        let io = CallIo {
            stdin,
            control,
            events: events_sender,
        };
        let (api, noted) = (Arc::clone(self), Arc::clone(&call));
        tokio::spawn(async move {
            let life = api.live(new_call, io, Arc::clone(&noted)).await;
            if life.is_err() && noted.told().is_none() {
                api.calls.end(&noted, Arc::new(Told::Withdrawn(noted.id)));
            }
        });
        Ok(Begun {
            call,
            stdin: stdin_sender,
            control: control_sender,
            events,
        })
    }

    /// The life of a call, on the crew.
    async fn live(
        self: &Arc<Self>,
        call: NewCall,
        io: CallIo,
        noted: Arc<RunningCall>,
    ) -> Result<(), casemate_gateway::Stopped> {
        let api = Arc::clone(self);
        let job = move || async move {
            let (tell, told) = oneshot::channel();
            let life = Box::pin(api.sessions.call(call, io, tell));
            let note = async {
                // Without an answer nothing was decided.
                let mut told = told.await.unwrap_or(Told::Withdrawn(noted.id));
                told.forget_program();
                api.calls.end(&noted, Arc::new(told));
            };
            tokio::join!(life, note);
        };
        self.crew.run(job).await
    }
}

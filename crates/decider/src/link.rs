//! Who waits for which answer.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc;

use crate::{DeciderError, wire::Verdict};

/// Numbers so far below the newest are forgotten.
const WINDOW: u64 = 4_096;

/// What comes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It may be sent, as far as the decider is concerned; without these headers, if there are any, and then only after it was judged again.
    Pass {
        /// Names in lower case. `-`, `_` and `.` are the same.
        remove_headers: Vec<String>,
    },
    /// It is not sent.
    Deny(Denial),
}

/// Why a request is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The decider says so.
    Decider {
        /// What an agent is told, 400 to 599.
        status: u16,
        /// What people are told.
        reason: Option<String>,
    },
    /// The decider lets nothing go there.
    NotListed,
    /// It wants to put something in that only we put in.
    Widens,
    /// It wants to see a body that cannot be shown.
    Body,
    /// It did not answer in time.
    TimedOut,
    /// It is gone, or broke the protocol.
    Unavailable,
    /// The protocol cannot carry such a request.
    Inexpressible,
}

impl Denial {
    /// The code of records.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Decider { .. } => "decider_denied",
            Self::NotListed => "decider_not_listed",
            Self::Widens => "decider_widens",
            Self::Body => "decider_body",
            Self::TimedOut => "decider_timeout",
            Self::Unavailable => "decider_unavailable",
            Self::Inexpressible => "decider_inexpressible",
        }
    }
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Asked,
    /// It wants the body.
    Wanted,
    /// It has the body.
    Shown,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    waiting: HashMap<u64, (Stage, mpsc::Sender<Verdict>)>,
    /// Nobody waits for these any more.
    late: BTreeMap<u64, Stage>,
    dead: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Link {
    state: Mutex<State>,
}

/// Waits for the answers to one request; the link forgets it when this is dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    link: Arc<Link>,
    id: u64,
    verdicts: mpsc::Receiver<Verdict>,
}

impl Link {
    /// Numbers a request, and has it sent before anybody else's: numbers go upwards.
    pub(crate) fn ask(self: &Arc<Self>, send: impl FnOnce(u64) -> Option<()>) -> Option<Waiting> {
        let mut state = self.state();
        if state.dead {
            return None;
        }
        let id = state.last + 1;
        send(id)?;
        state.last = id;
        // One that wants the body, and one that ends it.
        let (sender, verdicts) = mpsc::channel(2);
        state.waiting.insert(id, (Stage::Asked, sender));
        Some(Waiting {
            link: Arc::clone(self),
            id,
            verdicts,
        })
    }

    /// Gives an answer to whoever waits for it.
    pub(crate) fn answer(&self, id: u64, verdict: Verdict) -> Result<(), DeciderError> {
        let mut state = self.state();
        let wants = matches!(verdict, Verdict::NeedBody { .. });
        let Some((stage, sender)) = state.waiting.get_mut(&id) else {
            return state.answer_late(id, wants);
        };
        let ends = matches!(verdict, Verdict::Deny { .. });
        match (*stage, wants) {
            (Stage::Asked, true) => *stage = Stage::Wanted,
            (_, true) => return Err(DeciderError::OutOfTurn { id }),
            (Stage::Wanted, false) if !ends => return Err(DeciderError::OutOfTurn { id }),
            _ => {}
        }
        // Whoever asked may be gone.
        let _ = sender.try_send(verdict);
        if !wants {
            state.waiting.remove(&id);
        }
        Ok(())
    }

    /// Ends everything.
    pub(crate) fn die(&self) {
        let mut state = self.state();
        state.dead = true;
        state.waiting.clear();
        state.late.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn answer_late(&mut self, id: u64, wants: bool) -> Result<(), DeciderError> {
        match self.late.get(&id) {
            Some(Stage::Asked) if wants => Ok(()),
            Some(_) if wants => Err(DeciderError::OutOfTurn { id }),
            Some(_) => {
                self.late.remove(&id);
                Ok(())
            }
            None if id < self.last && self.last - id >= WINDOW => Ok(()),
            None => Err(DeciderError::Stray { id }),
        }
    }
}

impl Waiting {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The next answer, or nothing if there will be none.
    pub(crate) async fn next(&mut self) -> Option<Verdict> {
        self.verdicts.recv().await
    }

    /// Has the body sent, unless the decider made up its mind without it.
    pub(crate) fn show(&self, send: impl FnOnce()) {
        if let Some((stage, _)) = self.link.state().waiting.get_mut(&self.id) {
            *stage = Stage::Shown;
            send();
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.link.state();
        let Some((stage, _)) = state.waiting.remove(&self.id) else {
            return;
        };
        state.late.insert(self.id, stage);
        let oldest = state.last.saturating_sub(WINDOW - 1);
        state.late = state.late.split_off(&oldest);
    }
}

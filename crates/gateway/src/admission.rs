//! Whose turn it is: calls wait in bounded queues, and every tenant, agent, session and lane gets its share.
//!
//! A session with ten thousand waiting calls delays the first call of another by one call, not by ten
//! thousand: whenever a place is free, it goes round between tenants, in each between agents, in each
//! between sessions. Within a lane of a session, calls keep their order.

mod tree;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use self::tree::{Entered, Tree};

/// How much of something may go on at once, and how much may wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Calls that run.
    pub calls: u64,
    /// Calls that wait.
    pub queued: u64,
}

/// Where a call stands in line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The tenant, and what all its calls may do.
    pub tenant: (Arc<str>, Bounds),
    /// The agent, and what all its calls may do.
    pub agent: (Arc<str>, Bounds),
    /// The session, and what all its calls may do.
    pub session: (Arc<str>, Bounds),
    /// The lane of the session, in which calls keep their order, and what it may do.
    pub lane: (Arc<str>, Bounds),
}

/// Whose bound it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// That of the whole host.
    Host,
    /// The tenant's.
    Tenant,
    /// The agent's.
    Agent,
    /// The session's.
    Session,
    /// The lane's.
    Lane,
}

/// The queue that has no room for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Whose.
    pub whose: Whose,
    /// How many calls it takes.
    pub limit: u64,
    /// How many are in it.
    pub used: u64,
}

/// The line of all calls of this host.
#[derive(Debug)]
pub struct Admission {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    tree: Tree,
    waiting: HashMap<u64, oneshot::Sender<()>>,
    next_ticket: u64,
}

/// A place in the line and, later, the right to run. Dropping it gives either back.
#[derive(Debug)]
pub struct Turn {
    state: Arc<Mutex<State>>,
    line: Line,
    ticket: u64,
    called: Option<oneshot::Receiver<()>>,
}

impl Admission {
    /// A line for a host with these bounds.
    #[must_use]
    pub fn new(host: Bounds) -> Self {
        let state = State {
            tree: Tree::new(host),
            waiting: HashMap::new(),
            next_ticket: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Lines a call up.
    ///
    /// # Errors
    /// When it would have to wait and a queue on its way is full.
    pub fn enter(&self, line: Line) -> Result<Turn, Full> {
        let mut state = lock(&self.state);
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let called = match state.tree.enter(&line, ticket)? {
            Entered::Running => None,
            Entered::Waiting => {
                let (call, called) = oneshot::channel();
                state.waiting.insert(ticket, call);
                Some(called)
            }
        };
        // Bounds may have grown with this call.
        state.call();
        drop(state);
        Ok(Turn {
            state: Arc::clone(&self.state),
            line,
            ticket,
            called,
        })
    }

    /// How many calls run, and how many wait.
    #[must_use]
    pub fn load(&self) -> (u64, u64) {
        lock(&self.state).tree.load()
    }
}

impl State {
    /// Calls whoever can run now.
    fn call(&mut self) {
        while let Some(ticket) = self.tree.next() {
            if let Some(call) = self.waiting.remove(&ticket) {
                // Whoever has gone away gives the turn back when it is dropped.
                let _: Result<(), ()> = call.send(());
            }
        }
    }
}

impl Turn {
    /// Waits until the call may run. Cancelling this loses nothing: the call keeps its place.
    pub async fn come(&mut self) {
        if let Some(called) = &mut self.called {
            // Its sender is dropped only after it has called.
            drop(called.await);
            self.called = None;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.waiting.remove(&self.ticket);
        state.tree.leave(&self.line, self.ticket);
        state.call();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Nothing in here panics half-way.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

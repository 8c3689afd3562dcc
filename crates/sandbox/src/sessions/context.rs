//! Contexts: interpreters that stay, and run one cell after the other.

use std::{cell::RefCell, os::fd::OwnedFd, rc::Rc, sync::Arc};

use casemate_frames::Waiting;
use casemate_model::{Cause, ContextId, Isolation, Limits};
use casemate_ports::{CallIo, Command, Ended, KeeperError};
use rustix::process::{Signal, pidfd_send_signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Session, Turn};
use crate::{
    keeper::During as _,
    place::{AskedWay, Namespace, Prepared, Stay, order},
    run::Ending,
    session::SessionSandbox,
};

/// A context.
#[derive(Debug)]
pub(crate) struct Context {
    /// Its place, while no cell runs in it.
    idle: RefCell<Option<Box<Prepared>>>,
    /// The place's first process, to end what runs there.
    first: OwnedFd,
    /// One permit, in the order in which it is asked for; closed with the context.
    turns: Arc<Semaphore>,
    isolation: Isolation,
    /// Its network, if it has one of its own.
    pub(super) namespace: Option<Rc<Namespace>>,
    sandbox: Rc<SessionSandbox>,
}

impl Context {
    pub(super) async fn open(sandbox: &Rc<SessionSandbox>) -> Result<Rc<Self>, KeeperError> {
        let prepared = match sandbox.take_spare() {
            Some(spare) => spare,
            None => {
                let wanted = sandbox.for_any(Waiting::Lean);
                sandbox.prepare(wanted, Vec::new()).await?.0
            }
        };
        Ok(Rc::new(Self {
            isolation: prepared.isolation().clone(),
            namespace: prepared.namespace(),
            first: prepared
                .first
                .pidfd()
                .try_clone()
                .during("keep the context")?,
            idle: RefCell::new(Some(Box::new(prepared))),
            turns: Arc::new(Semaphore::new(1)),
            sandbox: Rc::clone(sandbox),
        }))
    }

    /// Ends it; a cell that runs in it ends with it.
    pub(super) fn close(&self) {
        self.turns.close();
        self.idle.borrow_mut().take();
        // One that has ended is as dead as one that is killed.
        let _ = pidfd_send_signal(&self.first, Signal::KILL);
    }
}

impl Session {
    /// Waits until no other cell runs in `context`, nor waits to.
    pub(super) async fn turn_in(&self, context: ContextId) -> Result<ContextTurn, KeeperError> {
        let missing = || KeeperError::NoContext {
            session: self.spec.id,
            context,
        };
        let found = self
            .contexts
            .borrow()
            .get(&context)
            .cloned()
            .ok_or_else(missing)?;
        let turn = Arc::clone(&found.turns).acquire_owned().await;
        let idle = found.idle.borrow_mut().take();
        // It may have died while nobody used it.
        let whole = idle.filter(|prepared| prepared.is_whole());
        let (Ok(turn), Some(prepared)) = (turn, whole) else {
            found.close();
            self.contexts.borrow_mut().remove(&context);
            return Err(missing());
        };
        Ok(ContextTurn {
            prepared: Some(prepared),
            running: false,
            context: Rc::clone(&found),
            _turn: turn,
        })
    }
}

/// The right to run one cell in a context.
#[derive(Debug)]
pub(crate) struct ContextTurn {
    prepared: Option<Box<Prepared>>,
    running: bool,
    context: Rc<Context>,
    /// Last: the next cell finds the place.
    _turn: OwnedSemaphorePermit,
}

impl ContextTurn {
    pub(crate) fn isolation(&self) -> Isolation {
        self.context.isolation.clone()
    }

    /// Runs a cell. What ends the cell only leaves the variables; what needed a kill ends the context.
    pub(crate) async fn run(
        &mut self,
        command: &Command,
        limits: &Limits,
        way: Option<&AskedWay>,
        io: CallIo,
        turn: &Turn,
    ) -> Result<Ended, KeeperError> {
        let Some(prepared) = &mut self.prepared else {
            return Err(KeeperError::Spec(
                "a turn in a context is for one cell".into(),
            ));
        };
        if command.cell.is_none() {
            let why = "a context runs cells of Python, and nothing else";
            return Err(KeeperError::Spec(why.into()));
        }
        let sandbox = &self.context.sandbox;
        prepared.limit(limits, sandbox, Stay::ForMore)?;
        // Until then nothing of the cell runs: the context is as it was.
        prepared.open_way(way, Stay::ForMore).await?;
        self.running = true;
        let order = order(command, sandbox.variables(), Stay::ForMore);
        let (ended, stay) = prepared
            .run(&order, limits, Ending::Interrupt, sandbox, io)
            .await?;
        self.running = stay != Stay::ForMore || ended.cause == Cause::Violation;
        if self.running {
            prepared.end(sandbox, turn, Ok(ended)).await
        } else {
            Ok(ended)
        }
    }
}

impl Drop for ContextTurn {
    fn drop(&mut self) {
        if self.running {
            self.context.close();
        } else if !self.context.turns.is_closed() {
            *self.context.idle.borrow_mut() = self.prepared.take();
        }
    }
}

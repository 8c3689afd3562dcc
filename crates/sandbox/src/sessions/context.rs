//! Contexts: interpreters that stay, and run one cell after the other.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use casemate_frames::Waiting;
use casemate_model::{ContextId, Isolation, Limits};
use casemate_ports::{CallIo, Command, Ended, KeeperError};
use tokio::sync::Notify;

use super::Session;
use crate::{
    place::{Prepared, Stay, order},
    run::Ending,
    session::SessionSandbox,
};

/// A context.
#[derive(Debug)]
pub(crate) struct Context {
    /// Its place, while no cell runs in it.
    idle: RefCell<Option<Box<Prepared>>>,
    freed: Notify,
    dead: Cell<bool>,
    isolation: Isolation,
    sandbox: Rc<SessionSandbox>,
}

impl Context {
    pub(super) async fn open(sandbox: &Rc<SessionSandbox>) -> Result<Rc<Self>, KeeperError> {
        let prepared = match sandbox.take_spare() {
            Some(spare) => spare,
            None => sandbox.prepare(Waiting::Lean, Vec::new()).await?.0,
        };
        Ok(Rc::new(Self {
            isolation: prepared.isolation().clone(),
            idle: RefCell::new(Some(Box::new(prepared))),
            freed: Notify::new(),
            dead: Cell::new(false),
            sandbox: Rc::clone(sandbox),
        }))
    }

    /// Ends it; a cell that runs in it ends with it.
    pub(super) fn close(&self) {
        self.dead.set(true);
        self.idle.borrow_mut().take();
        self.freed.notify_waiters();
    }
}

impl Session {
    /// Waits until no other cell runs in `context`.
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
        loop {
            // Before the look, so that nothing is missed in between.
            let freed = found.freed.notified();
            if found.dead.get() {
                self.contexts.borrow_mut().remove(&context);
                return Err(missing());
            }
            let idle = found.idle.borrow_mut().take();
            if let Some(prepared) = idle {
                if !prepared.is_whole() {
                    // It died while nobody used it.
                    found.close();
                    continue;
                }
                return Ok(ContextTurn {
                    prepared: Some(prepared),
                    running: false,
                    context: Rc::clone(&found),
                });
            }
            freed.await;
        }
    }
}

/// The right to run one cell in a context.
#[derive(Debug)]
pub(crate) struct ContextTurn {
    prepared: Option<Box<Prepared>>,
    running: bool,
    context: Rc<Context>,
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
        io: CallIo,
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
        self.running = true;
        prepared.limit(limits, sandbox, Stay::ForMore).await?;
        let order = order(command, sandbox.variables(), Stay::ForMore);
        let (ended, stay) = prepared.run(&order, limits, Ending::Interrupt, io).await?;
        self.running = stay != Stay::ForMore;
        if self.running {
            prepared.kill().await?;
        }
        Ok(ended)
    }
}

impl Drop for ContextTurn {
    fn drop(&mut self) {
        if self.running {
            self.context.dead.set(true);
        }
        if !self.context.dead.get() {
            *self.context.idle.borrow_mut() = self.prepared.take();
        }
        self.context.freed.notify_waiters();
    }
}

//! What there is in the house of sessions: how one is found, and how it ends.

use std::rc::Rc;

use casemate_model::SessionId;
use casemate_ports::{Gone, KeeperError, Kind, Owner, PoolSize, SessionStatus};

use super::{House, MAX_REMEMBERED, SLIM_AFTER, SLIM_AT_ONCE, Session, Turn};
use crate::{pool::Pool, session::SessionSandbox};

impl House {
    /// Has one of the sessions that wait for long take less memory.
    pub(super) fn slim(&self) {
        let waits = |session: &&Rc<Session>| {
            let idle = session.calls.get() == 0 && session.used.get().elapsed() >= SLIM_AFTER;
            idle && !session.slim.replace(true)
        };
        for session in self
            .sessions
            .borrow()
            .values()
            .filter(waits)
            .take(SLIM_AT_ONCE)
        {
            let sandbox = Rc::clone(&session.sandbox);
            tokio::task::spawn_local(async move {
                // What cannot be made stays as it is.
                drop(sandbox.slim().await);
            });
        }
    }

    pub(super) fn pool(&self, owner: &Owner, kind: Kind, size: Option<PoolSize>) -> Rc<Pool> {
        let key = (owner.clone(), kind);
        if let Some(pool) = self.pools.borrow().get(&key) {
            if let Some(size) = size {
                pool.resize(size);
            }
            return Rc::clone(pool);
        }
        let none = PoolSize {
            min: 0,
            max: 0,
            idle_ms: 0,
        };
        let pool = Pool::new(
            owner.clone(),
            kind,
            size.unwrap_or(none),
            Rc::clone(&self.grounds),
            self.grounds.groups(owner, &kind.quotas),
        );
        self.pools.borrow_mut().insert(key, Rc::clone(&pool));
        pool
    }

    /// The session, if it is alive and `owner`'s.
    pub(super) fn session(&self, id: SessionId, owner: &Owner) -> Result<Rc<Session>, KeeperError> {
        if let Some(session) = self.sessions.borrow().get(&id)
            && session.spec.owner == *owner
        {
            return Ok(Rc::clone(session));
        }
        let ended = self.ended.borrow();
        let gone = ended
            .iter()
            .find(|ended| ended.id == id && ended.owner == *owner)
            .and_then(|ended| ended.gone);
        Err(match gone {
            Some(why) => KeeperError::SessionGone { session: id, why },
            None => KeeperError::NoSession(id),
        })
    }

    /// Whether the session still has this sandbox, and not the one that it came back in.
    pub(super) fn has(&self, id: SessionId, sandbox: &Rc<SessionSandbox>) -> bool {
        let sessions = self.sessions.borrow();
        let session = sessions.get(&id);
        session.is_some_and(|session| Rc::ptr_eq(&session.sandbox, sandbox))
    }

    /// Ends a session, and remembers why.
    pub(super) fn end(&self, id: SessionId, why: Gone) -> Option<Rc<Session>> {
        let session = self.sessions.borrow_mut().remove(&id)?;
        session.sandbox.first.kill();
        session.contexts.borrow_mut().clear();
        let mut ended = self.ended.borrow_mut();
        if ended.len() == MAX_REMEMBERED {
            ended.pop_front();
        }
        ended.push_back(SessionStatus {
            gone: Some(why),
            contexts: Vec::new(),
            ..session.status()
        });
        Some(session)
    }
}

impl House {
    /// The sandbox of a session for something beside calls, which keeps the session from being idle.
    pub(super) fn for_files(
        &self,
        session: SessionId,
        owner: &Owner,
    ) -> Result<(Rc<SessionSandbox>, Turn), KeeperError> {
        let session = self.session(session, owner)?;
        let turn = Turn::take(&session)?;
        Ok((Rc::clone(&session.sandbox), turn))
    }

    /// What a failure means when the session has ended meanwhile.
    pub(super) fn explain(
        &self,
        session: SessionId,
        owner: &Owner,
        error: KeeperError,
    ) -> KeeperError {
        match error {
            KeeperError::Lost(_) | KeeperError::Build { .. } => {
                self.session(session, owner).err().unwrap_or(error)
            }
            error => error,
        }
    }
}

//! The calls of a session that run at once, and what it does when one has ended.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use casemate_model::Cause;
use casemate_ports::{Ended, KeeperError};

use super::Session;

/// How long a session that had a call waits for a quiet moment before it prepares for the next one: while any call runs, and
/// then while so many do that they wait for each other.
const QUIET_LOOKS: u32 = 10;
const QUIET_PAUSE: Duration = Duration::from_millis(2);
const CROWD_LOOKS: u32 = 10;
const CROWD_PAUSE: Duration = Duration::from_millis(20);

/// One of the calls that may run at once. Dropped when everything of the call is gone.
#[derive(Debug)]
pub(crate) struct Turn {
    session: Rc<Session>,
}

impl Turn {
    /// The only one in its session, as long as it is held: while another one is, there is none.
    pub(super) fn alone(session: &Rc<Session>) -> Result<Self, KeeperError> {
        if session.calls.get() > 0 {
            return Err(KeeperError::Busy(session.spec.id));
        }
        let turn = Self::take(session)?;
        session.alone.set(true);
        Ok(turn)
    }

    pub(super) fn take(session: &Rc<Session>) -> Result<Self, KeeperError> {
        if session.alone.get() {
            return Err(KeeperError::Busy(session.spec.id));
        }
        let quotas = &session.spec.kind.quotas;
        let owner = &session.spec.owner;
        let groups = &session.pool.groups;
        for (used, limit, of) in [
            (
                &session.calls,
                quotas.session.calls,
                session.spec.id.to_string(),
            ),
            (&groups.agent_calls, quotas.agent.calls, owner.agent.clone()),
            (
                groups.tenant_calls(),
                quotas.tenant.calls,
                owner.tenant.clone(),
            ),
        ] {
            if used.get() >= limit {
                return Err(KeeperError::Quota {
                    quota: "calls".into(),
                    of,
                    limit,
                    used: used.get(),
                });
            }
        }
        let turn = Self {
            session: Rc::clone(session),
        };
        turn.count(1);
        Ok(turn)
    }

    /// Looks at how a call ended: one that ended by a violation takes the session along.
    pub(crate) fn after(&self, ended: &Result<Ended, KeeperError>) {
        if ended
            .as_ref()
            .is_ok_and(|ended| ended.cause == Cause::Violation)
        {
            self.session.violated();
        }
    }

    fn count(&self, by: i64) {
        let groups = &self.session.pool.groups;
        for count in [
            &self.session.calls,
            &groups.agent_calls,
            groups.tenant_calls(),
        ] {
            count.set(count.get().saturating_add_signed(by));
        }
        self.session.pool.grounds().busy(by);
        self.session.used.set(Instant::now());
        self.session.slim.set(false);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.count(-1);
        // If it was alone, it was the last.
        self.session.alone.set(false);
        if !self.session.preparing.replace(true) {
            tokio::task::spawn_local(prepare_for_next(Rc::clone(&self.session)));
        }
    }
}

/// Makes a place for the session's next call, when there is likely to be one and the machine has nothing better to do.
async fn prepare_for_next(session: Rc<Session>) {
    // A session of one call ends now, and calls that run come first.
    let grounds = session.pool.grounds();
    for _ in 0..QUIET_LOOKS {
        tokio::time::sleep(QUIET_PAUSE).await;
        if !grounds.is_busy() || grounds.is_crowded() {
            break;
        }
    }
    for _ in 0..CROWD_LOOKS {
        if !grounds.is_crowded() {
            break;
        }
        tokio::time::sleep(CROWD_PAUSE).await;
    }
    if session.sandbox.first.pid().is_some() {
        // A place that cannot be made is made, or fails, for the call that needs it.
        drop(session.sandbox.make_spare().await);
    }
    session.preparing.set(false);
}

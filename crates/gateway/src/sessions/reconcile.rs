//! After a restart: what the stores remember against what the keeper has.

use std::{collections::HashMap, sync::Arc};

use casemate_model::SessionId;
use casemate_ports::{Gone, KeeperError, Owner, SessionKeeper, SessionStatus};
use casemate_store::{SessionRecord, SessionStore as _};

use super::{Ending, Live, SessionError, SessionStores, Sessions};
use crate::limits::SESSION_MEMORY_MS;

/// What came of a reconciliation.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// Sessions that are whole.
    pub kept: Vec<SessionId>,
    /// Sessions that are gone, and why.
    pub gone: Vec<(SessionId, Ending)>,
    /// Sandboxes that no store knows, destroyed.
    pub closed: Vec<SessionId>,
    /// Agents whose store or log cannot be used; their sandboxes stay until they are too old.
    pub failed: Vec<(String, SessionError)>,
}

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// Finds out which sessions came through a restart whole, notes which did not, and destroys what
    /// nobody remembers. Call it before the first call.
    ///
    /// # Errors
    /// When the keeper does not say what it has, or the agents cannot be listed.
    pub async fn reconcile(&self) -> Result<Reconciled, SessionError> {
        let statuses = self.keeper.sessions().await?.into_iter();
        let mut kept: HashMap<_, _> = statuses.map(|status| (status.id, status)).collect();
        let mut done = Reconciled::default();
        for agent in self.stores.agents().await? {
            if let Err(error) = self.reconcile_agent(&agent, &mut kept, &mut done).await {
                kept.retain(|_, status| status.owner.agent != agent);
                done.failed.push((agent, error));
            }
        }
        for (id, status) in kept {
            if status.gone.is_some() {
                continue;
            }
            let owner = status.owner.clone();
            match self.keeper.close(id, status.owner).await {
                Ok(()) => {
                    self.note_end(&owner, id, None, Ending::Unremembered)?;
                    done.closed.push(id);
                }
                Err(KeeperError::NoSession(_) | KeeperError::SessionGone { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(done)
    }

    async fn reconcile_agent(
        &self,
        agent: &str,
        kept: &mut HashMap<SessionId, SessionStatus>,
        done: &mut Reconciled,
    ) -> Result<(), SessionError> {
        let Some(store) = self.stores.find(agent).await? else {
            return Ok(());
        };
        let now_ms = self.clock.now_ms();
        let living = store.living_sessions().await?;
        let lost = self.sweep_paused(agent, &living)?;
        for record in living {
            if record.paused.is_some() && !lost.contains(&record.id) {
                // A pause or resumption was killed in the middle: what counts is what is kept.
                if let Some(status) = kept.remove(&record.id)
                    && status.gone.is_none()
                {
                    drop(self.keeper.close(record.id, status.owner).await);
                }
                continue;
            }
            let status = kept.remove(&record.id).filter(|status| {
                status.owner.agent == agent && status.owner.tenant == record.tenant
            });
            let why = match status {
                _ if record.paused.is_some() => Gone::Lost,
                Some(status) if status.gone.is_none() => {
                    done.kept.push(record.id);
                    self.take_up(record, status);
                    continue;
                }
                Some(SessionStatus {
                    gone: Some(why), ..
                }) => why,
                _ => Gone::KeeperLost,
            };
            let why = Ending::Kept(why);
            store.end_session(record.id, why.as_str(), now_ms).await?;
            let owner = Owner {
                tenant: record.tenant,
                agent: agent.to_owned(),
            };
            self.note_end(&owner, record.id, Some(record.profile), why)?;
            done.gone.push((record.id, why));
        }
        let long_ago = now_ms.saturating_sub(SESSION_MEMORY_MS);
        store.forget_sessions(long_ago).await?;
        Ok(())
    }

    /// Goes on with a session of an earlier process.
    fn take_up(&self, record: SessionRecord, status: SessionStatus) {
        let live = Live::new(
            record.id,
            status.owner,
            record.thread,
            record.profile,
            status.contexts,
            record.used_at_ms,
        );
        let live = Arc::new(live);
        self.table.add(&live);
        self.table.seat(&live);
    }
}

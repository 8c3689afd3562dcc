//! What an owner sees of sessions, and may do with them as a whole.

use std::collections::HashMap;

use casemate_model::SessionId;
use casemate_policy::{Access, RoutePolicy};
use casemate_ports::{Gone, KeeperError, Owner, PoolStatus, SessionKeeper, SessionStatus};
use casemate_store::{SessionRecord, SessionStore as _};

use super::{
    Ending, Live, SessionError, SessionStores, Sessions,
    access::{Intent, conclude},
    lodge::Stay,
    opening::Tell,
};
use crate::{Caller, Done, Lodging, deed::Subject, limits::MAX_LISTED};

/// A session as its owner sees it.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// What is remembered of it.
    pub record: SessionRecord,
    /// How it stands, if it lives.
    pub status: Option<SessionStatus>,
}

impl SessionView {
    /// Why it is over, if it is.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        let end = self.record.end.as_ref()?;
        Some(Ending::from_word(&end.why))
    }
}

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// The session of a thread, opened if it has none; without a thread, a session for itself. Says whether
    /// it was opened just now.
    ///
    /// # Errors
    /// [`SessionError::Gone`] once when the thread's session was lost, and when none may or can be opened.
    pub async fn open_session(
        &self,
        caller: &Caller,
        thread: Option<&str>,
        policy: &RoutePolicy,
    ) -> Result<Done<(SessionId, bool)>, SessionError> {
        let owner = caller.owner();
        let intent = Intent {
            caller,
            access: Access::OpenSession,
            lodging: Lodging::default(),
            subject: Subject {
                thread: thread.map(str::to_owned),
                ..Subject::default()
            },
        };
        let mut open = self.decide(intent, policy)?;
        let opened = match thread {
            Some(thread) => match self.of_thread(&owner, thread, policy).await {
                Ok((found, new)) => found.noted().await.map(|live| (live.id, new)),
                Err(error) => Err(error),
            },
            None => match self.open(&owner, None, policy, Stay::Named).await {
                Ok(opened) => opened.noted().await.map(|live| (live.id, true)),
                Err(error) => Err(error),
            },
        };
        let lodging = &mut open.deed.lodging;
        match &opened {
            Ok((session, new)) => (lodging.session, lodging.new_session) = (Some(*session), *new),
            Err(error) => lodging.session = error.session(),
        }
        conclude(open, opened)
    }

    /// The owner's sessions: those that live, and those that ended not too long ago.
    ///
    /// # Errors
    /// When the store or the keeper does not answer.
    pub async fn list(&self, owner: &Owner) -> Result<Vec<SessionView>, SessionError> {
        let Some(store) = self.stores.find(&owner.agent).await? else {
            return Ok(Vec::new());
        };
        self.freshen(owner).await?;
        let records = store.sessions(&owner.tenant, MAX_LISTED).await?;
        let statuses = self.keeper.sessions().await?.into_iter();
        let mut statuses: HashMap<_, _> = statuses.map(|status| (status.id, status)).collect();
        let view = |record: SessionRecord| SessionView {
            status: statuses
                .remove(&record.id)
                .filter(|status| status.owner == *owner && status.gone.is_none()),
            record,
        };
        Ok(records.into_iter().map(view).collect())
    }

    /// One session of the owner's, alive or not.
    ///
    /// # Errors
    /// [`SessionError::Unknown`], and when the store or the keeper does not answer.
    pub async fn show(
        &self,
        owner: &Owner,
        session: SessionId,
    ) -> Result<SessionView, SessionError> {
        let unknown = || SessionError::Unknown(session);
        let store = self.stores.find(&owner.agent).await?.ok_or_else(unknown)?;
        self.freshen(owner).await?;
        let record = store.session(session).await?;
        let record = record
            .filter(|record| record.tenant == owner.tenant)
            .ok_or_else(unknown)?;
        let statuses = self.keeper.sessions().await?;
        let status = statuses
            .into_iter()
            .find(|status| status.id == session && status.owner == *owner && status.gone.is_none());
        Ok(SessionView { record, status })
    }

    /// Destroys a session of the caller's with everything in it.
    ///
    /// # Errors
    /// When there is none of this name, it is over already, or the keeper cannot destroy it.
    pub async fn destroy(
        &self,
        caller: &Caller,
        session: SessionId,
    ) -> Result<Done<()>, SessionError> {
        // One that lives can be destroyed whatever its store does.
        if self.table.get(session).is_none()
            && let Some(done) = self.destroy_paused(caller, session).await?
        {
            return Ok(done);
        }
        let intent = Intent::within(caller, Access::DestroySession, session);
        let (live, open) = self.permit(intent, session).await?;
        let _alone = match self.table.alone(session) {
            Ok(alone) => alone,
            Err(error) => return conclude(open, Err(error)),
        };
        let destroyed = match self.keeper.close(session, caller.owner()).await {
            Ok(()) => {
                let why = Ending::Kept(Gone::Destroyed);
                self.end(&live, why, Tell::Caller).await
            }
            Err(error @ (KeeperError::NoSession(_) | KeeperError::SessionGone { .. })) => {
                Err(self.judge(&live, Stay::Named, error).await.into())
            }
            Err(error) => Err(error.into()),
        };
        conclude(open, destroyed)
    }

    /// How the pools of the owner stand.
    ///
    /// # Errors
    /// When the keeper does not answer.
    pub async fn pools(&self, tenant: &str) -> Result<Vec<PoolStatus>, SessionError> {
        let mut pools = self.keeper.pools().await?;
        pools.retain(|pool| pool.owner.tenant == tenant);
        Ok(pools)
    }

    /// Notes which of the owner's sessions ended without anybody being told.
    async fn freshen(&self, owner: &Owner) -> Result<(), SessionError> {
        // In this order: one that is opened meanwhile is not taken for lost.
        let known = self.table.of(owner);
        let statuses = self.keeper.sessions().await?.into_iter();
        let gone: HashMap<_, _> = statuses.map(|status| (status.id, status.gone)).collect();
        for live in known {
            let why = match gone.get(&live.id) {
                Some(None) => continue,
                Some(Some(why)) => *why,
                None => Gone::KeeperLost,
            };
            self.end(&live, Ending::Kept(why), Tell::Caller).await?;
        }
        Ok(())
    }

    /// The owner's session of this name, and what it is called in a quota.
    pub(super) fn called(live: &Live) -> String {
        format!("the session {}", live.id)
    }
}

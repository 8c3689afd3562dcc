//! Stateful interpreters of sessions.

use std::sync::Arc;

use casemate_model::{ContextId, SessionId};
use casemate_policy::Access;
use casemate_ports::{KeeperError, SessionKeeper};

use super::{
    Live, SessionError, SessionStores, Sessions,
    access::{Intent, conclude},
    bounds,
    live::own_context,
    lodge::Stay,
};
use crate::{Caller, Done, limits::MAX_CONTEXTS};

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// Starts a stateful Python interpreter in a session of the caller's.
    ///
    /// # Errors
    /// When there is no such session, its profile does not allow it, the session has too many, and when the
    /// keeper cannot start it.
    pub async fn open_context(
        &self,
        caller: &Caller,
        session: SessionId,
    ) -> Result<Done<ContextId>, SessionError> {
        let context = self.new_context()?;
        let intent = Intent::within(caller, Access::OpenContext, session).context(context);
        let (live, open) = self.permit(intent, session).await?;
        let started = self.start(&live, context, Stay::Named).await;
        if started.is_ok() {
            live.add_context(context);
        }
        conclude(open, started.map(|()| context))
    }

    /// Ends a stateful interpreter of the caller's.
    ///
    /// # Errors
    /// When there is none of this name, and when the keeper cannot end it.
    pub async fn close_context(
        &self,
        caller: &Caller,
        context: ContextId,
    ) -> Result<Done<()>, SessionError> {
        let owner = caller.owner();
        let live = self.table.with_context(&owner, context);
        let live = live.filter(|live| bounds::reaches(caller.claims.get(), live));
        let live = live.ok_or(SessionError::NoContext(context))?;
        let intent = Intent::within(caller, Access::CloseContext, live.id).context(context);
        let open = self.permit_in(intent, &live).await?;
        live.forget_context(context);
        let closed = match self.keeper.close_context(live.id, owner, context).await {
            Ok(()) | Err(KeeperError::NoContext { .. }) => Ok(()),
            Err(error) => Err(self.judge(&live, Stay::Named, error).await.into()),
        };
        conclude(open, closed)
    }

    /// The interpreter of a session's thread, and whether it was started just now.
    pub(super) async fn own_context(
        &self,
        live: &Arc<Live>,
        stay: Stay,
    ) -> Result<(ContextId, bool), SessionError> {
        if let Some(context) = live.own_context() {
            return Ok((context, false));
        }
        let _starting = live.starting.lock().await;
        if let Some(context) = live.own_context() {
            return Ok((context, false));
        }
        let context = match own_context(live.id).filter(|_| live.takes_first_name()) {
            Some(context) => context,
            None => self.new_context()?,
        };
        self.start(live, context, stay).await?;
        live.own(context);
        Ok((context, true))
    }

    async fn start(&self, live: &Live, context: ContextId, stay: Stay) -> Result<(), SessionError> {
        if live.count_contexts() >= MAX_CONTEXTS {
            return Err(SessionError::TooManyContexts {
                session: live.id,
                limit: MAX_CONTEXTS as u64,
            });
        }
        let opened = self
            .keeper
            .open_context(live.id, live.owner.clone(), context);
        match opened.await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.judge(live, stay, error).await.into()),
        }
    }
}

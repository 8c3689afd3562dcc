//! Copying a session: a new one, with the files as they are now, and nothing else of it.

use std::sync::Arc;

use casemate_model::SessionId;
use casemate_policy::{Access, RoutePolicy};
use casemate_ports::SessionKeeper;

use super::{
    Live, SessionError, SessionStores, Sessions,
    access::{Intent, conclude},
    lodge::Stay,
    opening::{Made, OfThread},
};
use crate::{Caller, Done, deed::Subject};

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// Opens a new session of the same agent and profile with the files of this one; for a thread that has none, or for itself.
    /// Refused while anything goes on in the one that is copied.
    ///
    /// # Errors
    /// When there is no such session, its profile does not allow it, something goes on in it, the thread has a session, or the files
    /// cannot be copied; then there is no new one.
    pub async fn copy_session(
        &self,
        caller: &Caller,
        session: SessionId,
        thread: Option<&str>,
    ) -> Result<Done<SessionId>, SessionError> {
        let subject = Subject {
            thread: thread.map(str::to_owned),
            ..Subject::default()
        };
        let intent = Intent::within(caller, Access::CopySession, session).about(subject);
        let (live, mut open) = self.permit(intent, session).await?;
        let copied = match self.under(&live) {
            Some(policy) => self.copy_of(&live, thread, &policy).await,
            None => Err(self.outgrown(&live, Stay::Named).await),
        };
        open.deed.lodging.copy = copied.as_ref().ok().copied();
        conclude(open, copied)
    }

    async fn copy_of(
        &self,
        live: &Arc<Live>,
        thread: Option<&str>,
        policy: &RoutePolicy,
    ) -> Result<SessionId, SessionError> {
        let _alone = self.table.alone(live.id)?;
        let owner = &live.owner;
        let of = match thread {
            Some(thread) => {
                let slot = self.table.slot((owner.clone(), thread.to_owned()));
                let slot = slot.lock_owned().await;
                if slot.as_ref().is_some_and(|other| !other.is_over()) {
                    return Err(SessionError::Invalid(format!(
                        "the thread `{}` has a session: name another one, or none",
                        thread.escape_debug()
                    )));
                }
                Some(OfThread { thread, slot })
            }
            None => None,
        };
        let Made {
            store,
            record,
            live: new,
            slot,
        } = self.make(owner, of, policy).await?;
        let id = new.id;
        if let Err(error) = self.put_copy(live, &new).await {
            // Nobody heard of it.
            drop(self.keeper.close(id, owner.clone()).await);
            return Err(error);
        }
        self.note_opened(store, record, new, slot).await?;
        Ok(id)
    }

    async fn put_copy(&self, live: &Live, new: &Live) -> Result<(), SessionError> {
        let packing = self.keeper.pack(live.id, live.owner.clone());
        let (_, content) = match packing.await {
            Ok(packed) => packed,
            Err(error) => return Err(self.file_error(live, error).await),
        };
        let put = self.keeper.unpack(new.id, new.owner.clone(), content);
        Ok(put.await?)
    }
}

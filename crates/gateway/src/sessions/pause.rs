//! Pausing a session: its files are kept, sealed, and nothing else of it. And bringing it back, in a new sandbox.
//!
//! The row in the store decides which of both there is: the files are written before it changes, and removed after.

use std::{collections::HashSet, sync::Arc};

use casemate_model::SessionId;
use casemate_policy::{Access, RoutePolicy};
use casemate_ports::{CHANNEL_CAPACITY, Chunk, Gone, KeeperError, Owner, SessionKeeper};
use casemate_store::{PausedReader, SessionPause, SessionRecord, SessionStore as _, StoreError};
use tokio::sync::mpsc;

use super::{
    Ending, Live, SessionError, SessionStores, Sessions,
    access::{Intent, conclude},
    bounds,
    lodge::Stay,
    opening::Tell,
};
use crate::{Caller, Done, QuotaUse, limits::MAX_PAUSED};

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// Ends everything in a session but its files, which are kept on disk until it is resumed. Refused while anything goes on in it.
    ///
    /// # Errors
    /// When there is no such session, its profile does not allow it, something goes on in it, its files are more than may be kept, or
    /// they cannot be kept; then it lives on as it was.
    pub async fn pause_session(
        &self,
        caller: &Caller,
        session: SessionId,
    ) -> Result<Done<SessionPause>, SessionError> {
        let intent = Intent::within(caller, Access::PauseSession, session);
        let (live, mut open) = self.permit(intent, session).await?;
        let paused = self.put_away(&live).await;
        if let Ok(pause) = &paused {
            open.deed.subject.bytes = Some(pause.bytes);
        }
        conclude(open, paused)
    }

    async fn put_away(&self, live: &Arc<Live>) -> Result<SessionPause, SessionError> {
        let alone = self.table.alone(live.id)?;
        let Some(policy) = self.under(live) else {
            return Err(self.outgrown(live, Stay::Named).await);
        };
        // Nothing else begins in the session until this is dropped.
        let packing = self.keeper.pack(live.id, live.owner.clone());
        let (bytes, mut content) = match packing.await {
            Ok(packed) => packed,
            Err(error) => return Err(self.file_error(live, error).await),
        };
        let store = self.stores.open(&live.owner.agent).await?;
        // Before the rows are read: what is kept meanwhile is counted in one of both.
        let others = alone.keeping(&live.owner, bytes);
        make_room(live, &policy, bytes, others, store.living_sessions().await?)?;
        let image = self.keep_files(live, bytes, &mut content).await?;
        let at_ms = self.clock.now_ms();
        let pause = SessionPause {
            image,
            bytes,
            at_ms,
            until_ms: at_ms.saturating_add(policy.sandbox.session_paused_ms),
        };
        live.put_away();
        match store.pause_session(live.id, &pause).await {
            Ok(true) => {}
            Ok(false) => {
                // It ended meanwhile, and its row says why.
                live.end();
                live.take_out();
                self.paused.remove(&live.owner.agent, &pause.image)?;
                let named = self.named(&live.owner, live.id).await;
                return Err(named.err().unwrap_or(SessionError::Unknown(live.id)));
            }
            Err(error) => {
                // It may have been written. Where even that cannot be known, nothing begins in the session until the next start knows.
                let undone = store.resume_session(live.id, &pause.image, at_ms).await;
                if undone.is_ok() {
                    live.take_out();
                    // What is left is swept at the next start.
                    drop(self.paused.remove(&live.owner.agent, &pause.image));
                }
                return Err(error.into());
            }
        }
        live.end();
        self.table.remove(live);
        // One that cannot be closed now is, at the latest, when it is resumed or the gateway starts.
        drop(self.keeper.close(live.id, live.owner.clone()).await);
        drop(content);
        Ok(pause)
    }

    async fn keep_files(
        &self,
        live: &Live,
        bytes: u64,
        content: &mut mpsc::Receiver<Chunk>,
    ) -> Result<String, SessionError> {
        let keys = &self.journal.keys;
        let mut writer = self.paused.create(keys, &live.owner.agent, live.id)?;
        let mut left = bytes;
        loop {
            match content.recv().await {
                Some(Chunk::Bytes(chunk)) => match left.checked_sub(chunk.len() as u64) {
                    Some(rest) => {
                        left = rest;
                        writer.write(&chunk)?;
                    }
                    None => return Err(broke_off().into()),
                },
                Some(Chunk::End) if left == 0 => return Ok(writer.finish()?),
                _ => return Err(broke_off().into()),
            }
        }
    }

    /// Brings a paused session back, under its name: a new sandbox with its files.
    ///
    /// # Errors
    /// When there is no such session, it is not paused, its profile does not allow it or is another one now, or its files cannot be
    /// brought back; then it stays paused.
    pub async fn resume_session(
        &self,
        caller: &Caller,
        session: SessionId,
    ) -> Result<Done<()>, SessionError> {
        let intent = Intent::within(caller, Access::ResumeSession, session);
        let found = match self.paused_one(caller, session).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => {
                // Whoever may see it is told that it lives, or how it ended.
                let claims = caller.claims.get();
                Err(match self.named(&caller.owner(), session).await {
                    Ok(live) if bounds::reaches(claims, &live) => SessionError::NotPaused(session),
                    Err(error) if claims.bounds.is_open() => error,
                    _ => SessionError::Unknown(session),
                })
            }
            Err(error) => Err(error),
        };
        let (live, pause) = match found {
            Ok(found) => found,
            Err(error) => return Err(self.turn_away(intent, None, error)),
        };
        let mut open = match self.permit_in(intent, &live).await {
            Ok(open) => open,
            Err(error) => {
                if matches!(error, SessionError::Gone { .. }) {
                    // Its profile is another one now.
                    self.paused.remove(&live.owner.agent, &pause.image)?;
                }
                return Err(error);
            }
        };
        open.deed.subject.bytes = Some(pause.bytes);
        let resumed = self.bring_back(live, &pause).await;
        conclude(open, resumed)
    }

    async fn bring_back(&self, live: Live, pause: &SessionPause) -> Result<(), SessionError> {
        let _alone = self.table.alone(live.id)?;
        // Nobody opens another one for its thread meanwhile.
        let mut slot = match &live.thread {
            Some(thread) => {
                let slot = self.table.slot((live.owner.clone(), thread.clone()));
                Some(slot.lock_owned().await)
            }
            None => None,
        };
        let (id, owner) = (live.id, live.owner.clone());
        let Some(policy) = self.under(&live) else {
            return Err(self.outgrown(&live, Stay::Named).await);
        };
        let keys = &self.journal.keys;
        let Some(reader) = self.paused.open(keys, &owner.agent, id, &pause.image)? else {
            let why = Ending::Kept(Gone::Lost);
            self.end(&live, why, Tell::Caller).await?;
            return Err(SessionError::Gone { session: id, why });
        };
        let mut spec = self.spec(&owner, &policy)?;
        (spec.id, spec.resumes) = (id, true);
        let kind = spec.kind;
        // What a pause left behind that was killed in its last step.
        drop(self.keeper.close(id, owner.clone()).await);
        self.keeper.open(spec).await?;
        let back = match self.put_files(&live, reader).await {
            Ok(()) => {
                let store = self.stores.open(&owner.agent).await?;
                let now_ms = self.clock.now_ms();
                let resumed = store.resume_session(id, &pause.image, now_ms).await;
                resumed.map_err(SessionError::from)
            }
            Err(error) => Err(error),
        };
        match back {
            Ok(true) => {}
            Ok(false) => {
                drop(self.keeper.close(id, owner).await);
                return Err(SessionError::NotPaused(id));
            }
            Err(error) => {
                drop(self.keeper.close(id, owner).await);
                return Err(error);
            }
        }
        let live = Arc::new(live);
        self.table.add(&live);
        if let Some(slot) = &mut slot {
            **slot = Some(live);
        }
        self.stock(&owner, kind, &policy).await;
        // What is left is swept at the next start.
        drop(self.paused.remove(&owner.agent, &pause.image));
        Ok(())
    }

    async fn put_files(
        &self,
        live: &Live,
        mut reader: PausedReader<'_>,
    ) -> Result<(), SessionError> {
        let (sender, content) = mpsc::channel(CHANNEL_CAPACITY);
        let feed = async move {
            // Without the end it is cut off, and the keeper takes it for that.
            while let Some(bytes) = reader.read()? {
                if sender.send(Chunk::Bytes(bytes.to_vec())).await.is_err() {
                    return Ok(());
                }
            }
            drop(sender.send(Chunk::End).await);
            Ok::<(), StoreError>(())
        };
        let put = self.keeper.unpack(live.id, live.owner.clone(), content);
        let (fed, put) = tokio::join!(feed, put);
        // What broke it off says more than that it was.
        fed?;
        Ok(put?)
    }

    /// A paused session of the caller's, if it is one; not known to anybody until it is brought back.
    async fn paused_one(
        &self,
        caller: &Caller,
        session: SessionId,
    ) -> Result<Option<(Live, SessionPause)>, SessionError> {
        let owner = caller.owner();
        let Some(store) = self.stores.find(&owner.agent).await? else {
            return Ok(None);
        };
        let record = store.session(session).await?;
        let record = record.filter(|record| record.tenant == owner.tenant);
        let Some((record, pause)) = record.and_then(|record| {
            let pause = record.paused.clone()?;
            Some((record, pause))
        }) else {
            return Ok(None);
        };
        let live = Self::asleep(owner, record);
        if !bounds::reaches(caller.claims.get(), &live) {
            return Err(SessionError::Unknown(session));
        }
        if pause.until_ms <= self.clock.now_ms() {
            let why = Ending::Kept(Gone::Expired);
            self.end_paused(&live, &pause, why).await?;
            return Err(SessionError::Gone { session, why });
        }
        Ok(Some((live, pause)))
    }

    fn asleep(owner: Owner, record: SessionRecord) -> Live {
        let used_at_ms = record.used_at_ms;
        let live = Live::new(
            record.id,
            owner,
            record.thread,
            record.profile,
            [],
            used_at_ms,
        );
        // Its interpreters are gone: none is taken for one of them.
        live.had_context();
        live
    }

    async fn end_paused(
        &self,
        live: &Live,
        pause: &SessionPause,
        why: Ending,
    ) -> Result<(), SessionError> {
        self.end(live, why, Tell::Caller).await?;
        Ok(self.paused.remove(&live.owner.agent, &pause.image)?)
    }

    /// Destroys a session that is paused, with its files; nothing if it is not.
    pub(super) async fn destroy_paused(
        &self,
        caller: &Caller,
        session: SessionId,
    ) -> Result<Option<Done<()>>, SessionError> {
        let intent = Intent::within(caller, Access::DestroySession, session);
        let (live, pause) = match self.paused_one(caller, session).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(error) => return Err(self.turn_away(intent, None, error)),
        };
        let open = self.permit_in(intent, &live).await?;
        let why = Ending::Kept(Gone::Destroyed);
        let destroyed = match self.table.alone(session) {
            Ok(_alone) => self.end_paused(&live, &pause, why).await,
            Err(error) => Err(error),
        };
        conclude(open, destroyed).map(Some)
    }

    /// Ends the paused sessions whose time is over.
    ///
    /// # Errors
    /// When a store cannot be read or written; the other agents are looked at all the same.
    pub async fn end_overdue_pauses(&self) -> Result<(), SessionError> {
        let mut first = Ok(());
        for agent in self.stores.agents().await? {
            let ended = self.end_overdue_of(&agent).await;
            first = first.and(ended);
        }
        first
    }

    async fn end_overdue_of(&self, agent: &str) -> Result<(), SessionError> {
        let Some(store) = self.stores.find(agent).await? else {
            return Ok(());
        };
        let now_ms = self.clock.now_ms();
        for record in store.living_sessions().await? {
            let Some(pause) = record.paused.clone() else {
                continue;
            };
            if pause.until_ms > now_ms {
                continue;
            }
            let owner = Owner {
                tenant: record.tenant.clone(),
                agent: agent.to_owned(),
            };
            let live = Self::asleep(owner, record);
            if let Ok(_alone) = self.table.alone(live.id) {
                let why = Ending::Kept(Gone::Expired);
                self.end_paused(&live, &pause, why).await?;
            }
        }
        Ok(())
    }

    /// At the start: removes what no paused session has, and says which of those that are paused have lost their files.
    pub(super) fn sweep_paused(
        &self,
        agent: &str,
        records: &[SessionRecord],
    ) -> Result<Vec<SessionId>, SessionError> {
        let images = records
            .iter()
            .filter_map(|record| Some((record.id, record.paused.as_ref()?.image.clone())));
        let images: Vec<_> = images.collect();
        let kept: HashSet<_> = images.iter().map(|(_, image)| image.clone()).collect();
        let found = self.paused.sweep(agent, &kept)?;
        let lost = images
            .into_iter()
            .filter(|(_, image)| !found.contains(image));
        Ok(lost.map(|(id, _)| id).collect())
    }
}

/// Whether so many bytes may be kept of a session beside what is kept of its agent, and what others are about to keep.
fn make_room(
    live: &Live,
    policy: &RoutePolicy,
    bytes: u64,
    others: u64,
    living: Vec<SessionRecord>,
) -> Result<(), SessionError> {
    // Agents of several tenants may have one name.
    let of_tenant = living
        .into_iter()
        .filter(|record| record.tenant == live.owner.tenant);
    let paused: Vec<_> = of_tenant.filter_map(|record| record.paused).collect();
    let kept = paused.iter().map(|pause| pause.bytes);
    let used = kept.fold(others, u64::saturating_add);
    let most = policy.sandbox.session_paused_bytes;
    let over = |quota: &str, limit, used| SessionError::Quota {
        session: live.id,
        quota: QuotaUse {
            quota: quota.to_owned(),
            of: format!("the agent {}", live.owner.agent),
            limit,
            used,
            retry_after_ms: None,
        },
    };
    if paused.len() >= MAX_PAUSED {
        return Err(over("paused", MAX_PAUSED as u64, paused.len() as u64));
    }
    if used.saturating_add(bytes) > most {
        return Err(over("session_paused_bytes", most, used));
    }
    Ok(())
}

fn broke_off() -> KeeperError {
    KeeperError::Lost("its files broke off".into())
}

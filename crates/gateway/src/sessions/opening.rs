//! How a session begins, is used and ends.

use std::sync::Arc;

use casemate_model::{Digest, SessionId};
use casemate_policy::Profile;
use casemate_ports::{Gone, KeeperError, Owner, SessionKeeper};
use casemate_store::{SessionRecord, SessionStore as _};
use tokio::sync::OwnedMutexGuard;

use super::{Ending, Live, SessionError, SessionStores, Sessions, image_name, lodge::Stay};
use crate::{Lodging, beside::Beside, limits::TOUCH_EVERY_MS};

/// Whether the one who asks is told of an end in the name of its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    /// It is.
    Thread,
    /// Only for itself.
    Caller,
}

/// A session that was opened, and what is still being done about it.
pub(super) struct Opened<'s> {
    pub(super) live: Arc<Live>,
    /// Its way onto the disk. Nobody may hear of the session, and nothing run in it, before that has come to its end.
    pub(super) noted: Noted<'s>,
}

/// That a session is on disk, sooner or later.
pub(super) type Noted<'s> = Beside<'s, Result<(), SessionError>>;

/// Of which thread a new session is, and the thread's slot, held until the session is known.
pub(super) struct OfThread<'t> {
    pub(super) thread: &'t str,
    pub(super) slot: OwnedMutexGuard<Option<Arc<Live>>>,
}

/// A session that was made, and that nobody knows of yet.
pub(super) struct Made<S> {
    pub(super) store: S,
    pub(super) record: SessionRecord,
    pub(super) live: Arc<Live>,
    /// Its thread's.
    pub(super) slot: Option<OwnedMutexGuard<Option<Arc<Live>>>>,
}

impl Opened<'_> {
    /// The session, when it is on disk.
    pub(super) async fn noted(self) -> Result<Arc<Live>, SessionError> {
        self.noted.result().await.map(|()| self.live)
    }
}

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// Opens a session.
    pub(super) async fn open<'s>(
        &'s self,
        owner: &Owner,
        of: Option<OfThread<'_>>,
        profile: &Profile,
        stay: Stay,
    ) -> Result<Opened<'s>, SessionError> {
        let Made {
            store,
            record,
            live,
            slot,
        } = self.make(owner, of, profile).await?;
        let noted = match stay {
            Stay::Once => Beside::Done(Ok(())),
            Stay::ForThread | Stay::Named => {
                Beside::new(self.note_opened(store, record, Arc::clone(&live), slot))
            }
        };
        Ok(Opened { live, noted })
    }

    /// Makes a session that nobody knows of yet.
    pub(super) async fn make<'t>(
        &self,
        owner: &Owner,
        of: Option<OfThread<'t>>,
        profile: &Profile,
    ) -> Result<Made<P::Store>, SessionError> {
        let spec = self.spec(owner, profile)?;
        let (id, kind) = (spec.id, spec.kind);
        let now_ms = self.clock.now_ms();
        let thread = of.as_ref().map(|of| of.thread.to_owned());
        // Also for one that is not remembered: an agent without a store cannot have calls recorded.
        let store = self.stores.open(&owner.agent).await?;
        let status = match &thread {
            Some(thread) => {
                // Most threads had none before.
                let before = self.before(&store, &owner.tenant, thread);
                let (before, opened) = tokio::join!(before, self.keeper.open(spec));
                match (before, opened) {
                    (Ok(()), opened) => opened?,
                    (Err(error), Ok(_)) => {
                        drop(self.keeper.close(id, owner.clone()).await);
                        return Err(error);
                    }
                    (Err(error), Err(_)) => return Err(error),
                }
            }
            None => self.keeper.open(spec).await?,
        };
        let record = SessionRecord {
            id,
            tenant: owner.tenant.clone(),
            thread: thread.clone(),
            image: image_name(profile),
            profile: profile.digest(),
            created_at_ms: now_ms,
            used_at_ms: now_ms,
            paused: None,
            end: None,
        };
        let owned = owner.clone();
        let live = Arc::new(Live::new(id, owned, thread, record.profile, [], now_ms));
        if !status.warm {
            // Its pool is empty, or its keeper is another one, which knows of no pool.
            self.forget_stock_of(owner, kind);
        }
        self.stock(owner, kind, profile).await;
        Ok(Made {
            store,
            record,
            live,
            slot: of.map(|of| of.slot),
        })
    }

    /// Puts a session that stays on disk, and then where others find it.
    pub(super) async fn note_opened(
        &self,
        store: P::Store,
        record: SessionRecord,
        live: Arc<Live>,
        slot: Option<OwnedMutexGuard<Option<Arc<Live>>>>,
    ) -> Result<(), SessionError> {
        if let Err(error) = store.add_session(&record).await {
            live.end();
            // What is not remembered must not stay.
            drop(self.keeper.close(live.id, live.owner.clone()).await);
            return Err(error.into());
        }
        // Its first call may have found it dead already.
        if !live.is_over() {
            self.table.add(&live);
            if let Some(mut slot) = slot {
                *slot = Some(live);
            }
        }
        Ok(())
    }

    /// Notes that a session is used, now and then.
    pub(super) async fn note_use(&self, live: &Live) -> Result<(), SessionError> {
        let now_ms = self.clock.now_ms();
        if live.is_to_be_noted(now_ms, TOUCH_EVERY_MS) {
            let store = self.stores.open(&live.owner.agent).await?;
            store.use_session(live.id, now_ms).await?;
        }
        Ok(())
    }

    /// Notes that a session is over.
    pub(super) async fn end(
        &self,
        live: &Live,
        why: Ending,
        tell: Tell,
    ) -> Result<(), SessionError> {
        if live.is_away() {
            // Its sandbox ended, and its files are kept.
            return Ok(());
        }
        let store = self.stores.open(&live.owner.agent).await?;
        let now_ms = self.clock.now_ms();
        // On disk first: whoever finds it over finds out why.
        let first = store.end_session(live.id, why.as_str(), now_ms).await?;
        if tell == Tell::Thread {
            store.tell_session(live.id).await?;
        }
        live.end();
        self.table.remove(live);
        // Who asks for an end has that on record already.
        if first && why != Ending::Kept(Gone::Destroyed) {
            self.note_end(&live.owner, live.id, Some(live.profile), why)?;
        }
        Ok(())
    }

    /// Notes that a session was destroyed because of what a call in it did. The call's own record says so, and alerts.
    pub(super) async fn violated(&self, live: &Live, stay: Stay) -> Result<(), SessionError> {
        live.end();
        if stay != Stay::Once {
            let store = self.stores.open(&live.owner.agent).await?;
            let why = Ending::Kept(Gone::Violation);
            // Its thread is told when it looks for its files.
            store
                .end_session(live.id, why.as_str(), self.clock.now_ms())
                .await?;
            self.table.remove(live);
        }
        Ok(())
    }

    /// Records that a session ended by itself.
    pub(super) fn note_end(
        &self,
        owner: &Owner,
        session: SessionId,
        policy: Option<Digest>,
        why: Ending,
    ) -> Result<(), SessionError> {
        let lodging = Lodging {
            session: Some(session),
            ..Lodging::default()
        };
        self.journal
            .session_ended(owner, lodging, policy, why.as_str())
            .map_err(SessionError::Unrecorded)
    }

    /// What the keeper's answer means for a session that this process took for alive: if it is over, that is
    /// noted, and the answer says so.
    pub(super) async fn judge(&self, live: &Live, stay: Stay, error: KeeperError) -> KeeperError {
        let why = match &error {
            KeeperError::SessionGone { session, why } if *session == live.id => *why,
            // The keeper had it once: the one that answers is another one.
            KeeperError::NoSession(session) if *session == live.id => {
                self.forget_stock();
                Gone::KeeperLost
            }
            KeeperError::NoContext { context, .. } => {
                live.forget_context(*context);
                return error;
            }
            _ => return error,
        };
        let tell = match stay {
            Stay::ForThread => Tell::Thread,
            Stay::Once | Stay::Named => Tell::Caller,
        };
        if live.is_away() {
            return KeeperError::Busy(live.id);
        }
        if stay != Stay::Once {
            // If it cannot be noted, the next caller finds it out again.
            drop(self.end(live, Ending::Kept(why), tell).await);
        }
        KeeperError::SessionGone {
            session: live.id,
            why,
        }
    }

    /// Ends a session whose profile is not the one that it was opened under: what its files may be used for
    /// was decided by the old one. One of another route is left alone.
    pub(super) async fn outgrown(&self, live: &Live, stay: Stay) -> SessionError {
        if let Some(profile) = self.under(live) {
            return SessionError::OtherRoute {
                session: live.id,
                route: profile.route.clone(),
            };
        }
        let why = Ending::ProfileChanged;
        let tell = match stay {
            Stay::ForThread => Tell::Thread,
            Stay::Once | Stay::Named => Tell::Caller,
        };
        drop(self.keeper.close(live.id, live.owner.clone()).await);
        match self.end(live, why, tell).await {
            Ok(()) => SessionError::Gone {
                session: live.id,
                why,
            },
            Err(error) => error,
        }
    }
}

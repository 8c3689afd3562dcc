//! Finds a call its session: the one that its thread has, a named one, or a new one.

use std::sync::Arc;

use casemate_model::{SessionId, Within};
use casemate_policy::{Profile, SessionMode};
use casemate_ports::{Gone, Owner, SessionKeeper};
use casemate_store::SessionStore as _;

use super::{
    Ending, Live, SessionError, SessionStores, Sessions, bounds,
    opening::{Noted, OfThread, Opened},
};
use crate::{Caller, Lodging, beside::Beside};

/// A call's session.
pub(super) struct Lodged<'s> {
    pub(super) live: Arc<Live>,
    /// If it is new: when it is on disk.
    pub(super) noted: Noted<'s>,
    pub(super) lodging: Lodging,
    /// How long the session lives.
    pub(super) stay: Stay,
}

/// How long the session of a call lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    /// It is destroyed after the call (R32).
    Once,
    /// It stays for its thread's next call.
    ForThread,
    /// It stays, and this caller named it.
    Named,
}

/// What a call asks of a session.
pub(super) struct Wish<'a> {
    pub(super) owner: &'a Owner,
    pub(super) within: Option<&'a Within>,
    pub(super) profile: &'a Profile,
    /// The tool, when it is one that is executed and not a cell.
    pub(super) executes: Option<&'a str>,
}

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// The session, and the context, that a call is to run in.
    pub(super) async fn lodge<'s>(&'s self, wish: &Wish<'_>) -> Result<Lodged<'s>, SessionError> {
        let none = Within::default();
        let within = wish.within.unwrap_or(&none);
        let mode = wish.profile.sandbox.session;
        let (found, new_session, stay) = match (within.session, &within.thread, within.context) {
            (Some(_), Some(_), _) => {
                let both = "a call names a thread or a session, not both";
                return Err(SessionError::Invalid(both.to_owned()));
            }
            (Some(session), None, _) => {
                let live = self.named(wish.owner, session).await?;
                (found(live), false, Stay::Named)
            }
            (None, None, Some(context)) => {
                let live = self.table.with_context(wish.owner, context);
                let live = live.ok_or(SessionError::NoContext(context))?;
                (found(live), false, Stay::Named)
            }
            (None, Some(thread), _) if mode != SessionMode::Call => {
                let (found, new) = self.of_thread(wish.owner, thread, wish.profile).await?;
                (found, new, Stay::ForThread)
            }
            (None, _, _) => {
                let opened = self
                    .open(wish.owner, None, wish.profile, Stay::Once)
                    .await?;
                (opened, true, Stay::Once)
            }
        };
        let Opened { live, mut noted } = found;
        if live.profile != wish.profile.digest() {
            return Err(self.outgrown(&live, stay).await);
        }
        let mut lodging = Lodging {
            session: Some(live.id),
            new_session,
            ..Lodging::default()
        };
        if let Some(context) = within.context {
            if !live.has_context(context) {
                return Err(SessionError::NoContext(context));
            }
            if let Some(tool) = wish.executes {
                let tool = tool.to_owned();
                return Err(SessionError::OtherLanguage { context, tool });
            }
            lodging.context = Some(context);
        } else if (mode == SessionMode::Context || within.interpreter)
            && stay != Stay::Once
            && wish.executes.is_none()
        {
            let started = noted.during(self.own_context(&live, stay)).await;
            if started.is_err() {
                // Not left half known.
                noted.done().await;
            }
            let (context, new) = started?;
            lodging.context = Some(context);
            lodging.new_context = new;
        }
        self.note_use(&live).await?;
        Ok(Lodged {
            live,
            noted,
            lodging,
            stay,
        })
    }

    /// The session of this name, if it is the owner's.
    pub(super) async fn named(
        &self,
        owner: &Owner,
        session: SessionId,
    ) -> Result<Arc<Live>, SessionError> {
        if let Some(live) = self.table.get(session)
            && live.owner == *owner
            && !live.is_over()
        {
            return match live.is_away() {
                true => Err(SessionError::Busy(session)),
                false => Ok(live),
            };
        }
        // Another agent's session is not in this agent's store: nobody can tell it from one that never was.
        let Some(store) = self.stores.find(&owner.agent).await? else {
            return Err(SessionError::Unknown(session));
        };
        match store.session(session).await? {
            Some(record) if record.tenant == owner.tenant && record.paused.is_some() => {
                Err(SessionError::Paused(session))
            }
            Some(record) if record.tenant == owner.tenant => Err(SessionError::Gone {
                session,
                why: match record.end {
                    Some(end) => Ending::from_word(&end.why),
                    None => Ending::Kept(Gone::KeeperLost),
                },
            }),
            _ => Err(SessionError::Unknown(session)),
        }
    }

    /// The session that a thread of the caller's has, if it has one; of this profile, if one is named.
    pub async fn thread_session(
        &self,
        caller: &Caller,
        thread: &str,
        profile: Option<&Profile>,
    ) -> Option<SessionId> {
        let slot = self.table.slot((caller.owner(), thread.to_owned()));
        // Whoever is about to open it is waited for.
        let slot = slot.lock().await;
        let live = slot.as_ref().filter(|live| !live.is_over())?;
        let fits = profile.is_none_or(|profile| live.profile == profile.digest());
        (fits && bounds::reaches(caller.claims.get(), live)).then_some(live.id)
    }

    /// The session that a thread has, and whether it was opened just now. If the thread had one and lost
    /// it, the first who expects its files is told so.
    pub(super) async fn of_thread<'s>(
        &'s self,
        owner: &Owner,
        thread: &str,
        profile: &Profile,
    ) -> Result<(Opened<'s>, bool), SessionError> {
        let slot = self.table.slot((owner.clone(), thread.to_owned()));
        let mut slot = slot.lock_owned().await;
        if let Some(live) = slot.as_ref().filter(|live| !live.is_over()) {
            let live = Arc::clone(live);
            if live.is_away() {
                return Err(SessionError::Busy(live.id));
            }
            return Ok((found(self.fitting(live, profile).await?), false));
        }
        *slot = None;
        let of = Some(OfThread { thread, slot });
        let opened = self.open(owner, of, profile, Stay::ForThread).await?;
        Ok((opened, true))
    }

    /// Whether a thread may have a new session: not before it was told what became of the one that it had.
    pub(super) async fn before(
        &self,
        store: &P::Store,
        tenant: &str,
        thread: &str,
    ) -> Result<(), SessionError> {
        let Some(record) = store.thread_session(tenant, thread).await? else {
            return Ok(());
        };
        let session = record.id;
        if record.paused.is_some() {
            return Err(SessionError::Paused(session));
        }
        let why = match record.end {
            None => {
                // It lived when its process died, and nobody has it now.
                let why = Ending::Kept(Gone::KeeperLost);
                let now_ms = self.clock.now_ms();
                store.end_session(session, why.as_str(), now_ms).await?;
                store.tell_session(session).await?;
                return Err(SessionError::Gone { session, why });
            }
            Some(end) => Ending::from_word(&end.why),
        };
        // Whoever destroyed it knows, and whoever could not open it.
        if matches!(why, Ending::Kept(Gone::Destroyed) | Ending::NeverOpened)
            || !store.tell_session(session).await?
        {
            return Ok(());
        }
        Err(SessionError::Gone { session, why })
    }

    /// A thread's session, if its profile is still the one that it was opened under.
    async fn fitting(&self, live: Arc<Live>, profile: &Profile) -> Result<Arc<Live>, SessionError> {
        if live.profile == profile.digest() {
            Ok(live)
        } else {
            Err(self.outgrown(&live, Stay::ForThread).await)
        }
    }
}

/// A session that was there before.
const fn found<'s>(live: Arc<Live>) -> Opened<'s> {
    Opened {
        live,
        noted: Beside::Done(Ok(())),
    }
}

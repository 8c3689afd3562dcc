//! Finds a call its session: the one that its thread has, a named one, or a new one.

use std::sync::Arc;

use casemate_model::{SessionId, Within};
use casemate_policy::{Profile, SessionMode};
use casemate_ports::{Gone, Owner, SessionKeeper};
use casemate_store::SessionStore as _;

use super::{Ending, Live, SessionError, SessionStores, Sessions};
use crate::Lodging;

/// A call's session.
pub(super) struct Lodged {
    pub(super) live: Arc<Live>,
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
    pub(super) async fn lodge(&self, wish: &Wish<'_>) -> Result<Lodged, SessionError> {
        let none = Within::default();
        let within = wish.within.unwrap_or(&none);
        let mode = wish.profile.sandbox.session;
        let (live, new_session, stay) = match (within.session, &within.thread, within.context) {
            (Some(_), Some(_), _) => {
                let both = "a call names a thread or a session, not both";
                return Err(SessionError::Invalid(both.to_owned()));
            }
            (Some(session), None, _) => {
                (self.named(wish.owner, session).await?, false, Stay::Named)
            }
            (None, None, Some(context)) => {
                let found = self.table.with_context(wish.owner, context);
                let live = found.ok_or(SessionError::NoContext(context))?;
                (live, false, Stay::Named)
            }
            (None, Some(thread), _) if mode != SessionMode::Call => {
                let (live, new) = self.of_thread(wish.owner, thread, wish.profile).await?;
                (live, new, Stay::ForThread)
            }
            (None, _, _) => {
                let live = self
                    .open(wish.owner, None, wish.profile, Stay::Once)
                    .await?;
                (live, true, Stay::Once)
            }
        };
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
        } else if mode == SessionMode::Context && stay != Stay::Once && wish.executes.is_none() {
            let (context, new) = self.own_context(&live, stay).await?;
            lodging.context = Some(context);
            lodging.new_context = new;
        }
        self.note_use(&live).await?;
        Ok(Lodged {
            live,
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
            return Ok(live);
        }
        // Another agent's session is not in this agent's store: nobody can tell it from one that never was.
        let Some(store) = self.stores.find(&owner.agent).await? else {
            return Err(SessionError::Unknown(session));
        };
        match store.session(session).await? {
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

    /// The session that a thread has, and whether it was opened just now. If the thread had one and lost
    /// it, the first who expects its files is told so.
    pub(super) async fn of_thread(
        &self,
        owner: &Owner,
        thread: &str,
        profile: &Profile,
    ) -> Result<(Arc<Live>, bool), SessionError> {
        let slot = self.table.slot((owner.clone(), thread.to_owned()));
        let mut current = slot.lock().await;
        if let Some(live) = current.as_ref()
            && !live.is_over()
        {
            return self.fitting(live, profile).await;
        }
        *current = None;
        let store = self.stores.open(&owner.agent).await?;
        if let Some(record) = store.thread_session(&owner.tenant, thread).await? {
            match &record.end {
                None => {
                    if let Some(live) = self.table.get(record.id) {
                        *current = Some(Arc::clone(&live));
                        return self.fitting(&live, profile).await;
                    }
                    // It lived when its process died, and nobody has it now.
                    let why = Ending::Kept(Gone::KeeperLost);
                    let now_ms = self.clock.now_ms();
                    store.end_session(record.id, why.as_str(), now_ms).await?;
                    store.tell_session(record.id).await?;
                    let session = record.id;
                    return Err(SessionError::Gone { session, why });
                }
                // Whoever destroyed it knows, and whoever could not open it.
                Some(end)
                    if !matches!(
                        Ending::from_word(&end.why),
                        Ending::Kept(Gone::Destroyed) | Ending::NeverOpened
                    ) =>
                {
                    if store.tell_session(record.id).await? {
                        return Err(SessionError::Gone {
                            session: record.id,
                            why: Ending::from_word(&end.why),
                        });
                    }
                }
                Some(_) => {}
            }
        }
        let live = self
            .open(owner, Some(thread), profile, Stay::ForThread)
            .await?;
        *current = Some(Arc::clone(&live));
        Ok((live, true))
    }

    /// A thread's session, if its profile is still the one that it was opened under.
    async fn fitting(
        &self,
        live: &Arc<Live>,
        profile: &Profile,
    ) -> Result<(Arc<Live>, bool), SessionError> {
        if live.profile == profile.digest() {
            Ok((Arc::clone(live), false))
        } else {
            Err(self.outgrown(live, Stay::ForThread).await)
        }
    }
}

//! The sessions of an agent: which thread has which, and what became of them.

use std::{future::Future, sync::Arc};

use casemate_model::{Digest, SessionId};

use crate::{MAX_NAME_BYTES, StoreError};

/// A session as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Which.
    pub id: SessionId,
    /// Whose data it holds.
    pub tenant: String,
    /// The thread that it is for, if it is for one.
    pub thread: Option<String>,
    /// The name or digest of its image.
    pub image: String,
    /// The digest of the profile under which it was opened.
    pub profile: Digest,
    /// When it was opened, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it was last used, as far as that was noted.
    pub used_at_ms: u64,
    /// Where its files are, while it is paused.
    pub paused: Option<SessionPause>,
    /// What became of it, if it is over.
    pub end: Option<SessionEnd>,
}

/// The pause of a session that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPause {
    /// The name of its files among those of [`crate::PausedFiles`].
    pub image: String,
    /// How many bytes they are.
    pub bytes: u64,
    /// Since when, in milliseconds since 1970.
    pub at_ms: u64,
    /// Until when it can be resumed.
    pub until_ms: u64,
}

/// The end of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    /// Why, in one word.
    pub why: String,
    /// When it was found out, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whether its thread was told.
    pub told: bool,
}

/// Remembers sessions. What it has answered is durable.
///
/// A future that is dropped may or may not have had its effect, as a process that is killed.
pub trait SessionStore {
    /// Notes a new session, which lives.
    ///
    /// # Errors
    /// [`StoreError::Name`] when a name cannot be stored, [`StoreError::SessionHeld`] when the id is taken
    /// or its thread has a living session, and when the store fails.
    fn add_session(
        &self,
        session: &SessionRecord,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Notes that a living session was used.
    ///
    /// # Errors
    /// When the store fails.
    fn use_session(
        &self,
        session: SessionId,
        at_ms: u64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Notes that a session is over, also a paused one, and why. Says whether it lived until then: the first reason stays.
    ///
    /// # Errors
    /// When `why` cannot be stored, and when the store fails.
    fn end_session(
        &self,
        session: SessionId,
        why: &str,
        at_ms: u64,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Notes that a living session is paused, with its files. Says whether it was not before.
    ///
    /// # Errors
    /// When the name cannot be stored, and when the store fails.
    fn pause_session(
        &self,
        session: SessionId,
        pause: &SessionPause,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Notes that a session is paused no more, if it still is with these files. Says whether it was.
    ///
    /// # Errors
    /// When the store fails.
    fn resume_session(
        &self,
        session: SessionId,
        image: &str,
        at_ms: u64,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Notes that the thread of a session was told of its end. Says whether this is the first time: of any
    /// number of callers at one time exactly one is the first.
    ///
    /// # Errors
    /// When the store fails.
    fn tell_session(
        &self,
        session: SessionId,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The session with this id.
    ///
    /// # Errors
    /// When the store fails.
    fn session(
        &self,
        session: SessionId,
    ) -> impl Future<Output = Result<Option<SessionRecord>, StoreError>> + Send;

    /// The newest session of a thread.
    ///
    /// # Errors
    /// When the store fails.
    fn thread_session(
        &self,
        tenant: &str,
        thread: &str,
    ) -> impl Future<Output = Result<Option<SessionRecord>, StoreError>> + Send;

    /// The newest sessions of a tenant, at most so many, those that live first.
    ///
    /// # Errors
    /// When the store fails.
    fn sessions(
        &self,
        tenant: &str,
        most: u32,
    ) -> impl Future<Output = Result<Vec<SessionRecord>, StoreError>> + Send;

    /// Every session that lives, paused ones among them.
    ///
    /// # Errors
    /// When the store fails.
    fn living_sessions(
        &self,
    ) -> impl Future<Output = Result<Vec<SessionRecord>, StoreError>> + Send;

    /// Forgets the sessions that ended before `at_ms`. Says how many.
    ///
    /// # Errors
    /// When the store fails.
    fn forget_sessions(&self, at_ms: u64) -> impl Future<Output = Result<u64, StoreError>> + Send;
}

impl SessionRecord {
    /// Refuses what no driver should have to store.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        check_name("the tenant", &self.tenant)?;
        check_name("the image", &self.image)?;
        match &self.thread {
            Some(thread) => check_name("the thread", thread),
            None => Ok(()),
        }
    }
}

/// Refuses a name that no driver should have to store.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), StoreError> {
    let bytes = name.len();
    if bytes == 0 || bytes > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(StoreError::Name { what, bytes });
    }
    Ok(())
}

impl<T: SessionStore + Send + Sync> SessionStore for Arc<T> {
    async fn add_session(&self, session: &SessionRecord) -> Result<(), StoreError> {
        T::add_session(self, session).await
    }

    async fn use_session(&self, session: SessionId, at_ms: u64) -> Result<(), StoreError> {
        T::use_session(self, session, at_ms).await
    }

    async fn end_session(
        &self,
        session: SessionId,
        why: &str,
        at_ms: u64,
    ) -> Result<bool, StoreError> {
        T::end_session(self, session, why, at_ms).await
    }

    async fn pause_session(
        &self,
        session: SessionId,
        pause: &SessionPause,
    ) -> Result<bool, StoreError> {
        T::pause_session(self, session, pause).await
    }

    async fn resume_session(
        &self,
        session: SessionId,
        image: &str,
        at_ms: u64,
    ) -> Result<bool, StoreError> {
        T::resume_session(self, session, image, at_ms).await
    }

    async fn tell_session(&self, session: SessionId) -> Result<bool, StoreError> {
        T::tell_session(self, session).await
    }

    async fn session(&self, session: SessionId) -> Result<Option<SessionRecord>, StoreError> {
        T::session(self, session).await
    }

    async fn thread_session(
        &self,
        tenant: &str,
        thread: &str,
    ) -> Result<Option<SessionRecord>, StoreError> {
        T::thread_session(self, tenant, thread).await
    }

    async fn sessions(&self, tenant: &str, most: u32) -> Result<Vec<SessionRecord>, StoreError> {
        T::sessions(self, tenant, most).await
    }

    async fn living_sessions(&self) -> Result<Vec<SessionRecord>, StoreError> {
        T::living_sessions(self).await
    }

    async fn forget_sessions(&self, at_ms: u64) -> Result<u64, StoreError> {
        T::forget_sessions(self, at_ms).await
    }
}

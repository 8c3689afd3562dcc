//! Why a session cannot be used.

use std::fmt;

use casemate_model::{ContextId, Reason, SessionId};
use casemate_ports::{Gone, KeeperError};
use casemate_store::StoreError;

/// Why a session is over, as it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As the keeper says.
    Kept(Gone),
    /// Its profile is another one now: what it may do could not be told.
    ProfileChanged,
}

const WORDS: [(Ending, &str); 6] = [
    (Ending::Kept(Gone::Destroyed), "destroyed"),
    (Ending::Kept(Gone::Idle), "idle"),
    (Ending::Kept(Gone::Expired), "expired"),
    (Ending::Kept(Gone::Lost), "lost"),
    (Ending::Kept(Gone::KeeperLost), "keeper_lost"),
    (Ending::ProfileChanged, "profile_changed"),
];

impl Ending {
    /// The word as it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let found = WORDS.iter().find(|(ending, _)| *ending == self);
        found.map_or("lost", |(_, word)| word)
    }

    /// The ending that a stored word names; whatever is not known is a loss.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        let found = WORDS.iter().find(|(_, other)| *other == word);
        found.map_or(Self::Kept(Gone::Lost), |(ending, _)| *ending)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept(gone) => gone.fmt(f),
            Self::ProfileChanged => f.write_str("its profile was changed"),
        }
    }
}

/// Why a session, or something in it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There is no such session, or it is somebody else's: nobody can tell which.
    #[error("there is no session {0}")]
    Unknown(SessionId),
    /// It is over, and its files are gone.
    #[error("the session {session} is gone: {why}")]
    Gone {
        /// Which.
        session: SessionId,
        /// Why.
        why: Ending,
    },
    /// There is no such context in the caller's sessions, or its interpreter died.
    #[error("there is no context {0}")]
    NoContext(ContextId),
    /// A context runs cells of its own language and nothing else.
    #[error("the context {context} runs Python, not `{tool}`")]
    OtherLanguage {
        /// Which.
        context: ContextId,
        /// What was to be run.
        tool: String,
    },
    /// The session has as many contexts as it may.
    #[error("the session {session} has {limit} contexts, and may not have more")]
    TooManyContexts {
        /// Which.
        session: SessionId,
        /// How many it may have.
        limit: u64,
    },
    /// A demand that contradicts itself or names nothing that there could be.
    #[error("{0}")]
    Invalid(String),
    /// The profile names an image that is not there.
    #[error("there is no image `{0}`")]
    NoImage(String),
    /// There is no entropy for an id.
    #[error("there is no entropy for an id")]
    Entropy(#[source] std::io::Error),
    /// The keeper cannot, or will not.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// What became of sessions cannot be read or noted.
    #[error("the store of sessions fails")]
    Store(#[from] StoreError),
}

impl SessionError {
    /// What it means for a call.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Unknown(_) | Self::Keeper(KeeperError::NoSession(_)) => Reason::SessionUnknown,
            Self::Gone { .. } | Self::Keeper(KeeperError::SessionGone { .. }) => {
                Reason::SessionGone
            }
            Self::NoContext(_) | Self::Keeper(KeeperError::NoContext { .. }) => {
                Reason::ContextUnknown
            }
            Self::OtherLanguage { .. } => Reason::ContextMismatch,
            Self::TooManyContexts { .. } | Self::Keeper(KeeperError::Quota { .. }) => {
                Reason::QuotaExceeded
            }
            Self::Invalid(_)
            | Self::Keeper(KeeperError::Spec(_) | KeeperError::File { .. })
            | Self::Store(StoreError::AgentName { .. } | StoreError::Name { .. }) => {
                Reason::InvalidCall
            }
            Self::NoImage(_) => Reason::InvalidProfile,
            Self::Keeper(_) => Reason::IsolationUnavailable,
            Self::Entropy(_) | Self::Store(_) => Reason::RecordUnavailable,
        }
    }

    /// The session that was meant, if one was.
    #[must_use]
    pub const fn session(&self) -> Option<SessionId> {
        match self {
            Self::Unknown(session)
            | Self::Gone { session, .. }
            | Self::TooManyContexts { session, .. }
            | Self::Keeper(
                KeeperError::NoSession(session)
                | KeeperError::SessionGone { session, .. }
                | KeeperError::NoContext { session, .. },
            ) => Some(*session),
            _ => None,
        }
    }

    /// The context that was meant, if one was.
    #[must_use]
    pub const fn context(&self) -> Option<ContextId> {
        match self {
            Self::NoContext(context)
            | Self::OtherLanguage { context, .. }
            | Self::Keeper(KeeperError::NoContext { context, .. }) => Some(*context),
            _ => None,
        }
    }
}

//! Why a session cannot be used.

use std::fmt;

use casemate_model::{ContextId, DecisionId, Limits, Reason, SessionId, Text};
use casemate_ports::{FileFault, Gone, KeeperError, TooManyPorts};
use casemate_store::StoreError;

use crate::{QuotaUse, RecordError};

/// Why a session is over, as it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As the keeper says.
    Kept(Gone),
    /// Its profile is another one now: what it may do could not be told.
    ProfileChanged,
    /// No store remembers it.
    Unremembered,
    /// It could not be opened.
    NeverOpened,
}

const WORDS: [(Ending, &str); 9] = [
    (Ending::Kept(Gone::Destroyed), "destroyed"),
    (Ending::Kept(Gone::Idle), "idle"),
    (Ending::Kept(Gone::Expired), "expired"),
    (Ending::Kept(Gone::Lost), "lost"),
    (Ending::Kept(Gone::KeeperLost), "keeper_lost"),
    (Ending::Kept(Gone::Violation), "violation"),
    (Ending::ProfileChanged, "profile_changed"),
    (Ending::Unremembered, "unremembered"),
    (Ending::NeverOpened, "never_opened"),
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
            Self::Unremembered => f.write_str("no store remembers it"),
            Self::NeverOpened => f.write_str("it could not be opened"),
        }
    }
}

/// How much of something a session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// On its disk.
    Disk {
        /// In bytes.
        bytes: u64,
        /// In files and directories.
        files: u64,
    },
    /// In one file, in bytes.
    File(u64),
}

impl Room {
    /// What `fault` says is used up, under these limits.
    pub(super) const fn of(fault: FileFault, limits: &Limits) -> Option<Self> {
        match fault {
            FileFault::NoSpace => Some(Self::Disk {
                bytes: limits.disk_bytes,
                files: limits.disk_files,
            }),
            FileFault::TooLarge => Some(Self::File(limits.file_bytes)),
            _ => None,
        }
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk { bytes, files } => {
                write!(f, "it takes {bytes} bytes in {files} files and directories")
            }
            Self::File(bytes) => write!(f, "it is {bytes} bytes"),
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
    /// It is paused: its files are kept, and nothing runs in it.
    #[error("the session {0} is paused")]
    Paused(SessionId),
    /// It lives: there is nothing to resume.
    #[error("the session {0} is not paused")]
    NotPaused(SessionId),
    /// Something goes on in it, and what was asked for must be alone there.
    #[error("something goes on in the session {0}: wait for its calls, or cancel them")]
    Busy(SessionId),
    /// There is no such context in the caller's sessions, or its interpreter died.
    #[error("there is no context {0}")]
    NoContext(ContextId),
    /// A context runs cells of its own language and nothing else.
    #[error("the context {context} runs cells of Python, not a program of the tool `{tool}`")]
    OtherLanguage {
        /// Which.
        context: ContextId,
        /// What was to be run.
        tool: String,
    },
    /// The session was opened by another route, whose profile rules it.
    #[error("the session {session} is of the route `{route}`")]
    OtherRoute {
        /// Which.
        session: SessionId,
        /// The route.
        route: String,
    },
    /// The profile does not let it happen.
    #[error("{detail}")]
    Refused {
        /// The refusal, on record.
        decision: DecisionId,
        /// The session that was meant, if there was one.
        session: Option<SessionId>,
        /// Why, for machines.
        reason: Reason,
        /// Why, for people.
        detail: String,
    },
    /// A quota of ours is used up.
    #[error("the quota `{}` of {} is used up: {} of {}", .quota.quota, .quota.of, .quota.used, .quota.limit)]
    Quota {
        /// The session that was meant.
        session: SessionId,
        /// Which, and how much.
        quota: QuotaUse,
    },
    /// Something is wrong with a file of a session.
    #[error("`{path}`: {fault}{}", .room.map_or_else(String::new, |room| format!(": {room}")))]
    File {
        /// Which session.
        session: SessionId,
        /// Its path, as it was named.
        path: Text,
        /// What is wrong.
        fault: FileFault,
        /// How much there is of what is used up, if something is.
        room: Option<Room>,
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
    #[error("there is no image `{0}`: `casemate image list` shows those that there are")]
    NoImage(String),
    /// The profile names more ports than there can be.
    #[error(transparent)]
    Ports(#[from] TooManyPorts),
    /// There is no entropy for an id.
    #[error("there is no entropy for an id")]
    Entropy(#[source] std::io::Error),
    /// The keeper cannot, or will not.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// What was to be done, or what came of it, cannot be recorded.
    #[error("it cannot be recorded")]
    Unrecorded(#[from] RecordError),
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
            Self::Paused(_) => Reason::SessionPaused,
            Self::Busy(_) | Self::Keeper(KeeperError::Busy(_)) => Reason::SessionBusy,
            Self::NoContext(_) | Self::Keeper(KeeperError::NoContext { .. }) => {
                Reason::ContextUnknown
            }
            Self::OtherLanguage { .. } => Reason::ContextMismatch,
            Self::TooManyContexts { .. }
            | Self::Quota { .. }
            | Self::Keeper(KeeperError::Quota { .. })
            | Self::File {
                fault: FileFault::NoSpace | FileFault::TooLarge,
                ..
            } => Reason::QuotaExceeded,
            Self::Refused { reason, .. } => *reason,
            Self::Invalid(_)
            | Self::NotPaused(_)
            | Self::OtherRoute { .. }
            | Self::File { .. }
            | Self::Keeper(KeeperError::Spec(_) | KeeperError::File { .. })
            | Self::Store(StoreError::AgentName { .. } | StoreError::Name { .. }) => {
                Reason::InvalidCall
            }
            Self::NoImage(_) | Self::Ports(_) => Reason::InvalidProfile,
            Self::Keeper(_) => Reason::IsolationUnavailable,
            Self::Entropy(_) | Self::Unrecorded(_) | Self::Store(_) => Reason::RecordUnavailable,
        }
    }

    /// Whether something that was there is gone, by nothing that anybody decided about it.
    pub(super) const fn is_loss(&self) -> bool {
        matches!(
            self,
            Self::Gone {
                why: Ending::Kept(_),
                ..
            } | Self::Keeper(KeeperError::SessionGone { .. } | KeeperError::NoContext { .. })
        )
    }

    /// The session that was meant, if one was.
    #[must_use]
    pub const fn session(&self) -> Option<SessionId> {
        match self {
            Self::Refused { session, .. } => *session,
            Self::Unknown(session)
            | Self::Paused(session)
            | Self::NotPaused(session)
            | Self::Busy(session)
            | Self::Gone { session, .. }
            | Self::OtherRoute { session, .. }
            | Self::Quota { session, .. }
            | Self::File { session, .. }
            | Self::TooManyContexts { session, .. }
            | Self::Keeper(
                KeeperError::NoSession(session)
                | KeeperError::Busy(session)
                | KeeperError::SessionGone { session, .. }
                | KeeperError::NoContext { session, .. },
            ) => Some(*session),
            _ => None,
        }
    }

    /// The name of the refusal on record, if this is one.
    #[must_use]
    pub const fn decision(&self) -> Option<DecisionId> {
        match self {
            Self::Refused { decision, .. } => Some(*decision),
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

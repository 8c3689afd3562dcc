//! What can go wrong with durable state, by step.

use std::{io, path::PathBuf};

use casemate_model::{DecisionId, SessionId};

use crate::{CryptoError, State};

/// Why state could not be read or written. No message holds a secret or content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A name that could not be a directory name of ours.
    #[error(
        "{name:?} is not an agent name: use 1 to 63 of a-z, 0-9, `-` and `_`, starting with a \
         letter or a digit"
    )]
    AgentName {
        /// The start of the name.
        name: String,
    },
    /// The system refused a step.
    #[error("cannot {step} {path:?}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The state directory does not exist and cannot be made.
    #[error("cannot create the state directory {path:?}: choose a place that you can write to")]
    Create {
        /// The directory, or the missing parent that could not be made.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A file, a link or a device stands where a directory should be.
    #[error("{path:?} is not a directory: move it away or choose another state directory")]
    NotADirectory {
        /// Where.
        path: PathBuf,
    },
    /// Somebody else owns it and could read or change what is in it.
    #[error(
        "{path:?} belongs to uid {owner}, not to uid {user}: choose another state directory, or \
         run as its owner"
    )]
    ForeignOwner {
        /// What.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user that this process runs as.
        user: u32,
    },
    /// Others can put files into it.
    #[error(
        "others can write to {path:?} (mode {mode:04o}): check what is in it, then run `chmod go-w` \
         on it"
    )]
    WritableByOthers {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others can read or write it.
    #[error(
        "others have access to {path:?} (mode {mode:04o}): treat what is in it as known to them, \
         then run `chmod 600` on it"
    )]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A link, a pipe or a device stands where a file should be.
    #[error("{path:?} is not a regular file: remove it and restore the file from a backup")]
    NotAFile {
        /// Where.
        path: PathBuf,
    },
    /// A key file that cannot be one.
    #[error("{path:?} has {bytes} bytes, which no key file has: restore it from a backup")]
    KeyFileSize {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Another process holds a lock for longer than it could need.
    #[error("{path:?} stayed locked for {waited_ms} ms: end the process that holds it")]
    Locked {
        /// The directory.
        path: PathBuf,
        /// How long this process waited.
        waited_ms: u64,
    },
    /// There are wrapped keys, but not the key that wraps them.
    #[error(
        "{path:?} is gone, but keys that only it can unwrap are there: restore it from a backup, or \
         remove the whole `keys` directory to give up everything sealed under them"
    )]
    ProviderKeyLost {
        /// Where the provider key was.
        path: PathBuf,
    },
    /// A wrapped key that its provider refuses.
    #[error(
        "cannot unwrap the key in {path:?}: restore it and its provider key from the same backup"
    )]
    Unwrap {
        /// The file.
        path: PathBuf,
        /// The provider's answer.
        #[source]
        source: CryptoError,
    },
    /// A new key or a new ciphertext could not be made.
    #[error("cannot make {what}")]
    Crypto {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: CryptoError,
    },
    /// More than can be kept.
    #[error("{what} has {bytes} bytes, at most {max} can be kept")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The key that a sealed payload names cannot be one of ours.
    #[error("{text:?} is not the id of a data key")]
    KeyId {
        /// The start of the text.
        text: String,
    },
    /// The agent never had this key here.
    #[error("agent {agent} has no data key {key}: was it sealed for another agent or elsewhere?")]
    KeyNotFound {
        /// The agent.
        agent: String,
        /// The key.
        key: String,
    },
    /// The key was destroyed on purpose, and the content with it.
    #[error("data key {key} of agent {agent} was erased: its content is gone for good")]
    KeyErased {
        /// The agent.
        agent: String,
        /// The key.
        key: String,
    },
    /// A sealed payload that is not what was sealed, or not in its place.
    #[error("the payload under key {key} of agent {agent} was changed or belongs elsewhere")]
    Unseal {
        /// The agent.
        agent: String,
        /// The key.
        key: String,
        /// The cipher's answer.
        #[source]
        source: CryptoError,
    },
    /// A part of an idempotency key, or a name of a session, that cannot be stored.
    #[error(
        "{what} must have 1 to 255 bytes and no control characters; this one has {bytes} bytes"
    )]
    Name {
        /// Which part.
        what: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// A session's id is taken, or its thread has a living session.
    #[error("{session} cannot be added: its id is taken, or its thread has a living session")]
    SessionHeld {
        /// The session that was to be added.
        session: SessionId,
    },
    /// A call, or its idempotency key, waits for approval already.
    #[error("{decision} cannot wait: it, or another call with its idempotency key, waits already")]
    ApprovalHeld {
        /// The call that was to wait.
        decision: DecisionId,
    },
    /// A decision may claim one key only.
    #[error("{decision} has claimed another idempotency key")]
    DecisionReused {
        /// The decision.
        decision: DecisionId,
    },
    /// Nothing was claimed under this decision, or it was released.
    #[error("{decision} holds no idempotency key")]
    NoClaim {
        /// The decision.
        decision: DecisionId,
    },
    /// A claim ends once.
    #[error("the claim of {decision} has ended already: it is {state}")]
    ClaimEnded {
        /// The decision.
        decision: DecisionId,
        /// How it ended.
        state: State,
    },
    /// The database's own checks failed.
    #[error("the database {path:?} is damaged: move it away and restore it from a backup")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The database's answer.
        #[source]
        source: sqlx::Error,
    },
    /// A file that Casemate did not make stands in the database's place, or a part of one that it made.
    #[error(
        "{path:?} is not a complete Casemate database: move it away and restore it from a backup"
    )]
    ForeignDatabase {
        /// The file.
        path: PathBuf,
    },
    /// A write-ahead log without its database.
    #[error("{path:?} is there, but its database is gone: restore both from the same backup")]
    OrphanedLog {
        /// The write-ahead log.
        path: PathBuf,
    },
    /// The schema is not one that this version knows.
    #[error("the schema of {path:?} is not this version's: was it written by a newer Casemate?")]
    Schema {
        /// The file.
        path: PathBuf,
        /// What is different.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// Other processes kept the database busy for too long.
    #[error("the database {path:?} is busy: try again")]
    Busy {
        /// The file.
        path: PathBuf,
        /// The database's answer.
        #[source]
        source: sqlx::Error,
    },
    /// The database refused a step.
    #[error("cannot {step} in {path:?}")]
    Database {
        /// What was tried.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// The database's answer.
        #[source]
        source: sqlx::Error,
    },
    /// A stored value that Casemate cannot have written.
    #[error("the database {path:?} holds {what} that cannot be read")]
    Value {
        /// The file.
        path: PathBuf,
        /// Which value.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    pub(crate) fn io<E: Into<io::Error>>(
        step: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io {
            step,
            path,
            source: source.into(),
        }
    }
}

/// As much of a hostile text as a message repeats.
pub(crate) fn start_of(text: &str) -> String {
    const SHOWN_CHARS: usize = 100;
    text.chars().take(SHOWN_CHARS).collect()
}

//! What can go wrong, in words for the person who has to act.

use std::{io, path::PathBuf, sync::Arc};

use crate::{
    VerifyError,
    limits::{
        MAX_LOG_RECORDS, MAX_NAME_BYTES, MAX_OPEN_DECISIONS, MAX_RECORD_BYTES, MAX_SUMMARY_DEPTH,
    },
    note::KeyError,
};

/// Why the ledger could not be opened or did not take an entry.
///
/// After any of these the entry is not in the log, with one exception that [`LedgerError::Sync`]
/// names.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// The key cannot sign.
    #[error("the log's key cannot be used")]
    Key(#[from] KeyError),
    /// A file or directory of the ledger could not be made, opened, read or written.
    #[error("cannot {step} `{path}`")]
    File {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: Arc<io::Error>,
    },
    /// The directory holds the log of another key.
    #[error(
        "`{path}` says that the log was signed by `{found}`: continue it with that key, or use \
             another directory"
    )]
    OtherKey {
        /// The public key file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
    /// Another process held the lock for too long.
    #[error(
        "another process has held `{path}` for {waited_ms} ms: is it stopped or is its disk stuck?"
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long this process waited.
        waited_ms: u64,
    },
    /// What is on disk is not what was signed. Nothing is appended to such a log.
    #[error("the log is damaged and is not continued: see `casemate audit verify`")]
    Damaged(#[source] Arc<VerifyError>),
    /// The log is shorter than it was. Nothing is appended to such a log.
    #[error(
        "`{path}` has {len} bytes, but {signed} were signed: it was truncated and is not continued"
    )]
    Truncated {
        /// The log file.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
        /// The length that its head was signed over.
        signed: u64,
    },
    /// The log file was moved, removed or replaced while it was open.
    #[error(
        "`{path}` was moved, removed or replaced while it was open: restart to use what is \
             there now"
    )]
    Replaced {
        /// The log file.
        path: PathBuf,
    },
    /// The batch could not be written. It was taken back.
    #[error("cannot write to the log `{path}`")]
    Write {
        /// The log file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: Arc<io::Error>,
    },
    /// The batch could not be made durable. Whether it will be found after a power cut is unknown.
    #[error("cannot make the log `{path}` durable")]
    Sync {
        /// The log file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: Arc<io::Error>,
    },
    /// An earlier failure left the log in a state that this process cannot know.
    #[error(
        "the log takes no entries since an earlier failure of its disk: check the disk, then \
             restart"
    )]
    Poisoned(#[source] Arc<io::Error>),
    /// The summary is not a JSON object.
    #[error("an entry's summary must be a JSON object")]
    SummaryNotObject,
    /// The summary nests too deep.
    #[error("an entry's summary nests deeper than {MAX_SUMMARY_DEPTH}")]
    SummaryTooDeep,
    /// The name of an agent or a tenant is too long.
    #[error("the name of an agent or a tenant has {bytes} bytes; the limit is {MAX_NAME_BYTES}")]
    NameTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The entry cannot be written as JSON.
    #[error("an entry cannot be written as JSON")]
    Serialise {
        /// Why.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// The entry is too large.
    #[error("an entry has {bytes} bytes; the limit is {MAX_RECORD_BYTES}")]
    EntryTooLarge {
        /// Its size in JSON.
        bytes: usize,
    },
    /// Too many decisions are open.
    #[error(
        "{MAX_OPEN_DECISIONS} decisions are open, which is the limit: record the outcomes of some"
    )]
    TooManyOpen,
    /// The name of a request is that of a decision which is open.
    #[error("another decision of this name is open: give the request its own")]
    NameTaken,
    /// The decision to close is not open: it was closed already, or never allowed.
    #[error("the decision is not open any more")]
    NotOpen,
    /// The log has as many records as a log can have.
    #[error("the log has {MAX_LOG_RECORDS} records, which is the limit: start a new one")]
    Full,
    /// This process cannot be named as the owner of a decision.
    #[error("cannot read from /proc which process this is")]
    Owner {
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The thread that was writing the entry died.
    #[error("the thread that was to write the entry died")]
    Abandoned,
}

impl LedgerError {
    /// Says on what an operation failed: for `map_err`.
    pub(crate) fn file(
        step: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            step,
            path,
            source: Arc::new(source),
        }
    }
}

impl From<VerifyError> for LedgerError {
    fn from(fault: VerifyError) -> Self {
        Self::Damaged(Arc::new(fault))
    }
}

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no log yet.
    #[error("`{path}` does not exist: nothing has been recorded there")]
    NoLog {
        /// Where it would be.
        path: PathBuf,
    },
    /// The log cannot be opened.
    #[error("cannot open the log `{path}`")]
    Open {
        /// The log file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody knows how far the log is durable.
    #[error("`{path}` does not say how far the log is durable: see `casemate audit verify`")]
    NoHead {
        /// The head file.
        path: PathBuf,
    },
    /// Reading was to go on where this log has not come to.
    #[error(
        "`{path}` ends before record {next}, from which reading goes on: it is an older copy, or another ledger. \
         Put the newer one back, or remove the cursor to go on with what happens next"
    )]
    Beyond {
        /// The log file.
        path: PathBuf,
        /// The next record, had it come so far.
        next: u64,
    },
    /// The log cannot be read, or holds what nobody recorded.
    #[error("the log cannot be read further: see `casemate audit verify`")]
    Damaged(#[source] VerifyError),
}

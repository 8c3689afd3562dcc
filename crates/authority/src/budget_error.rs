//! Why something may not be spent.

use std::{io, path::PathBuf, sync::Arc};

use casemate_files::FileError;

use crate::{
    Exhausted, ReservationId, Resource,
    limits::{
        MAX_ACCOUNTS, MAX_AMOUNT, MAX_BUDGET_BYTES, MAX_NAME_BYTES, MAX_OPEN_RESERVATIONS,
        MAX_RULES,
    },
};

/// Why something may not be spent, or was not written down. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// A rule leaves no room for it.
    #[error("a budget is used up")]
    Exhausted(#[from] Exhausted),
    /// A name that cannot be one.
    #[error("the name of a {what} must have 1 to {MAX_NAME_BYTES} bytes and no control characters")]
    Name {
        /// Of what.
        what: &'static str,
    },
    /// More than anybody can reserve.
    #[error("{amount} {resource} cannot be reserved: the limit is {MAX_AMOUNT}")]
    Amount {
        /// Of what.
        resource: Resource,
        /// How much.
        amount: u64,
    },
    /// Too many rules.
    #[error("{rules} rules limit this; there can be {MAX_RULES}")]
    TooManyRules {
        /// How many.
        rules: usize,
    },
    /// Too much is going on.
    #[error("{MAX_OPEN_RESERVATIONS} reservations are open, which is the limit: settle some")]
    TooManyOpen,
    /// Too many have spent something.
    #[error(
        "{MAX_ACCOUNTS} tenants, agents and threads have spent something, which is the limit: forget threads"
    )]
    TooManyAccounts,
    /// The reservation was settled, or there never was one.
    #[error("reservation {id} is not open")]
    NotOpen {
        /// Which.
        id: ReservationId,
    },
    /// The thread still spends.
    #[error("{open} reservations of the thread are open: settle them first")]
    StillOpen {
        /// How many.
        open: usize,
    },
    /// A file or directory of budgets.
    #[error("budgets cannot be read or written")]
    File(#[from] FileError),
    /// The file is gone. Without it everything could be spent again.
    #[error("{path:?} is missing: bring back the newest copy")]
    Lost {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file holds what nobody wrote.
    #[error("{path:?} is damaged from byte {at} on: bring back the newest copy")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// How.
        #[source]
        source: BudgetDamage,
    },
    /// The file is as long as it may be, and could not be written anew.
    #[error("{path:?} has {MAX_BUDGET_BYTES} bytes, which is the limit: is its disk full?")]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// It could not be written down. It was taken back.
    #[error("cannot write to {path:?}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A record cannot be written as JSON.
    #[error("spending cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
    /// What is on disk is not known since an earlier failure.
    #[error("nothing is spent since an earlier failure of the disk: check it, then restart")]
    Failed(#[source] Arc<BudgetFailure>),
    /// A thread died while it changed the books.
    #[error("nothing is spent since a thread died while it wrote: restart")]
    Poisoned,
    /// The thread that makes spending durable cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// What is wrong with the content of the file of budgets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetDamage {
    /// A line is not what was written, or not where it was written.
    #[error("a line has another CRC")]
    Crc,
    /// A line is not JSON of this form.
    #[error("a line cannot be parsed")]
    Json(#[source] serde_json::Error),
    /// No budget has such a line there.
    #[error("a line makes no sense where it is")]
    Unsound,
    /// The beginning, which was whole before anybody saw it, is not.
    #[error("its beginning was cut off")]
    Cut,
}

/// What went wrong with the disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetFailure {
    /// What was half written could not be taken back.
    #[error("cannot take back what was half written")]
    TakeBack(#[source] io::Error),
    /// What was written could not be made durable.
    #[error("cannot make spending durable")]
    Sync(#[source] io::Error),
    /// The file that was written anew could not be put in place durably.
    #[error("cannot replace the file durably")]
    Replace(#[source] FileError),
}

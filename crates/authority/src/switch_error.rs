//! Why a switch was not thrown, why a board cannot be read, and why something may not run.

use std::{io, path::PathBuf, sync::Arc};

use casemate_files::FileError;
use casemate_model::Digest;

use crate::{
    Epoch, Switch, SwitchKind,
    limits::{MAX_NAME_BYTES, MAX_REASON_BYTES, MAX_SWITCHES, MAX_TENANT_SWITCHES},
};

/// Why a switch was not thrown.
///
/// After [`SwitchError::File`] it may have been: throw it again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwitchError {
    /// A name that cannot be one.
    #[error("the name of {what} must have 1 to {MAX_NAME_BYTES} bytes and no control characters")]
    Name {
        /// Of what.
        what: &'static str,
    },
    /// The name of a destination that no host has.
    #[error(
        "a destination is a host, or `*.` and a host: without a scheme, port or path, in ASCII"
    )]
    Destination,
    /// A switch of a tenant that is to work within a tenant.
    #[error("the switch of a tenant cannot be within a tenant")]
    TenantInTenant,
    /// The reason cannot be kept.
    #[error("a reason has at most {MAX_REASON_BYTES} bytes and no control characters")]
    Reason,
    /// Everything that the board has room for is off.
    #[error(
        "{MAX_SWITCHES} switches are off, which is the limit: throw one for more of them at once"
    )]
    Full,
    /// Everything that there is room for within the tenant is off.
    #[error(
        "{MAX_TENANT_SWITCHES} switches within the tenant are off, which is the limit: throw one for more of them at once, such as the tenant's"
    )]
    TenantFull,
    /// A board that can be read is not made anew.
    #[error("the switchboard can be read: throw its switches instead")]
    NotLost,
    /// The board cannot be read, so that nothing can be added to it.
    #[error("the switchboard cannot be read")]
    Unreadable(#[from] Arc<Unreadable>),
    /// The board could not be written.
    #[error("the switchboard cannot be written")]
    File(#[from] FileError),
}

/// Why a board cannot be read. Nothing may run then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// The board's file or directory.
    #[error("the switchboard cannot be read")]
    File(#[from] FileError),
    /// There is no board.
    #[error("{path:?} is missing: bring it back, or begin a switchboard")]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The board is not one that was written by a throw.
    #[error("{path:?} is damaged: bring back the newest copy")]
    Damaged {
        /// The board or its mark.
        path: PathBuf,
        /// How.
        #[source]
        source: Damage,
    },
    /// The board is older than it was.
    #[error("{path:?} is of epoch {found}, but there was one of epoch {newest}: bring that back")]
    WentBack {
        /// The board.
        path: PathBuf,
        /// Its epoch.
        found: Epoch,
        /// The newest epoch that was seen.
        newest: Epoch,
    },
    /// The board has another content than it had in the same epoch.
    #[error("{path:?} of epoch {epoch} is {found}, but it was {seen}: somebody edited it")]
    Forked {
        /// The board.
        path: PathBuf,
        /// The epoch.
        epoch: Epoch,
        /// The digest of the content.
        found: Digest,
        /// The digest that it had.
        seen: Digest,
    },
    /// The board is not watched any more.
    #[error("the switchboard is not watched any more")]
    Watch(#[from] WatchError),
}

/// What is wrong with the content of a board or its mark.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// It does not begin as one.
    #[error("it does not begin with `casemate switchboard 1`")]
    Title,
    /// The content is not what was written.
    #[error("it has the digest {found}, not {written}")]
    Digest {
        /// That of the content.
        found: Digest,
        /// The one that was written.
        written: String,
    },
    /// The content is not JSON of this form.
    #[error("its content cannot be parsed")]
    Json(#[source] serde_json::Error),
    /// No throw leaves a board like this.
    #[error("no throw leaves {0}")]
    Unsound(&'static str),
    /// The mark of the newest epoch is not a number, or missing.
    #[error("it does not name an epoch")]
    Mark,
}

/// Why a board cannot be watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The system refused a step.
    #[error("cannot {step} to watch {path:?}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// The board's directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The directory was moved or removed, or its file system is gone.
    #[error("{path:?} was moved or removed while it was watched")]
    Lost {
        /// The board's directory.
        path: PathBuf,
    },
}

/// Why something may not run.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Stopped {
    /// A switch is off.
    #[error("{} `{}` is switched off since epoch {}", .0.kind, .0.name, .0.epoch)]
    Off(Arc<Switch>),
    /// A switch was thrown after authority was given, also if it is on again.
    #[error("{} `{}` was switched in epoch {}, after this was allowed", .0.kind, .0.name, .0.epoch)]
    Thrown(Arc<Switch>),
    /// Authority from so long ago that the board does not know any more what was thrown since.
    #[error(
        "this was allowed in epoch {since}; what was thrown until {forgotten} is not known any more"
    )]
    TooOld {
        /// When authority was given.
        since: Epoch,
        /// The newest throw that is not known any more.
        forgotten: Epoch,
    },
    /// It has a name for which there can be no switch: what cannot be stopped is not started.
    #[error("this {0} has a name that cannot be switched off")]
    Unnameable(SwitchKind),
    /// The board cannot be read: closed.
    #[error("nothing runs, because the switchboard cannot be read")]
    Unreadable(#[source] Arc<Unreadable>),
}

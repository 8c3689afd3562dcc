//! Ways out of calls: the proxy of `egress`, judging by the rules of a profile, and recording with whoever keeps the record
//! of the call.
//!
//! One [`Service`] serves any number of calls: in a thread of `casemate run` ([`Here`]), or in a process of its own under
//! `casemate serve`. The sockets of a call are in the network of its sandbox, so that whoever connects to them is that call
//! (I4). They are served from when the call has its lease until its program has ended.

mod authorities;
mod call;
mod credentials;
mod doors;
mod here;
mod in_place;
mod judge;
mod known;
mod names;
mod placeholders;
mod policies;
mod recorder;
mod right;
mod scrubs;
mod seams;
mod service;
mod telling;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use casemate_egress::{Trust, TrustError, limits::MAX_ROOTS_BYTES};
use casemate_files::{FileError, Privacy, read_file};

use self::names::Names;
pub(crate) use self::{
    here::Here,
    names::NamesError,
    policies::Policies,
    right::{MOST_ORDERS, Right, Voucher, order},
    service::{ORDER_TIMEOUT, Service},
    telling::{Held, Telling},
};

/// Why there is no way out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WayError {
    /// The operator's authorities cannot be read.
    #[error("the authorities for destinations cannot be read")]
    Roots(#[source] FileError),
    /// The operator's authorities cannot be used.
    #[error("the authorities for destinations in `{0}` cannot be used")]
    Trust(String, #[source] TrustError),
    /// Nobody can be asked for addresses.
    #[error("there is no resolver for the way out")]
    Names(#[from] NamesError),
}

/// The operator's own authorities for destinations, beside Mozilla's.
pub(crate) fn roots_in(root: &Path) -> PathBuf {
    root.join("egress").join("roots.pem")
}

/// A service for this machine, which also believes the authorities of the file at `roots`, if there is one.
///
/// # Errors
/// When what it is made of cannot be read.
pub(crate) fn service(roots: &Path) -> Result<Service, WayError> {
    Ok(Service::new(trust(roots)?, Arc::new(Names::of_system()?)))
}

/// Mozilla's authorities, and those of the operator's file if there is one.
fn trust(path: &Path) -> Result<Trust, WayError> {
    let bundled = Trust::bundled();
    match path.try_exists() {
        Ok(false) => return Ok(bundled),
        Ok(true) => {}
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(bundled),
        // What cannot be looked at is said by who reads it.
        Err(_) => {}
    }
    let pem =
        read_file(path, MAX_ROOTS_BYTES as u64, Privacy::Configured).map_err(WayError::Roots)?;
    bundled
        .with_pem(&pem)
        .map_err(|error| WayError::Trust(path.display().to_string(), error))
}

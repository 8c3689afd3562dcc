//! Places of a sandbox for what its clients begin: whoever begins something has one first, and keeps it while it lasts.

use std::sync::Arc;

use casemate_e2b::{Code, Fault};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A place that somebody has.
pub(super) type Place = OwnedSemaphorePermit;

/// So many places for one kind of thing.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    most: usize,
    kind: &'static str,
}

impl Places {
    pub(super) fn new(most: usize, kind: &'static str) -> Self {
        let free = Arc::new(Semaphore::new(most));
        Self { free, most, kind }
    }

    /// One of them, if one is free.
    pub(super) fn take(&self) -> Result<Place, Fault> {
        Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            let message = format!(
                "a sandbox has at most {} {}: end some",
                self.most, self.kind
            );
            Fault::new(Code::ResourceExhausted, message)
        })
    }
}

//! What the threads that spend share with the one that makes spending durable.

use std::{
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use casemate_files::{Dir, Held};

use crate::{
    BudgetError, BudgetFailure,
    books::Books,
    journal::{AppendError, Journal},
    limits::MAX_BUDGET_BYTES,
    record::{self, Record},
};

/// The file of budgets.
pub(crate) const FILE: &str = "budgets";

/// An open directory of budgets.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dir: Dir,
    /// For as long as this process spends.
    pub(crate) held: Held,
    /// Held by whoever syncs or replaces the file: what was synced must be in the file that replaces it. Taken before
    /// `inner`.
    pub(crate) disk: Mutex<()>,
    pub(crate) inner: Mutex<Inner>,
    pub(crate) wake: Condvar,
}

/// The books and their file, which always say the same.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) books: Books,
    pub(crate) journal: Journal,
    /// While the file is written anew: what was appended meanwhile.
    pub(crate) meanwhile: Option<Vec<Vec<u8>>>,
    /// The length of the file when it was last written anew.
    pub(crate) compact_len: u64,
    /// Something is not durable yet.
    pub(crate) dirty: bool,
    pub(crate) stop: bool,
    pub(crate) failed: Option<Arc<BudgetFailure>>,
}

impl Shared {
    /// The books. Not if they may be wrong.
    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, Inner>, BudgetError> {
        let inner = self.inner.lock().map_err(|_| BudgetError::Poisoned)?;
        match &inner.failed {
            Some(failed) => Err(BudgetError::Failed(Arc::clone(failed))),
            None => Ok(inner),
        }
    }

    /// The books, whatever happened to them.
    pub(crate) fn lock_anyway(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path(FILE)
    }

    /// Writes a record down. Only then the books may change.
    pub(crate) fn append(&self, inner: &mut Inner, record: &Record<'_>) -> Result<(), BudgetError> {
        let json = record::json(record).map_err(BudgetError::Encode)?;
        if inner.journal.len + json.len() as u64 >= MAX_BUDGET_BYTES {
            return Err(BudgetError::Full { path: self.path() });
        }
        match inner.journal.append(&json) {
            Ok(()) => {}
            Err(AppendError::Write(source)) => {
                let path = self.path();
                return Err(BudgetError::Write { path, source });
            }
            Err(AppendError::Failed(failure)) => {
                let failed = inner.failed.insert(Arc::new(failure));
                return Err(BudgetError::Failed(Arc::clone(failed)));
            }
        }
        if let Some(meanwhile) = &mut inner.meanwhile {
            meanwhile.push(json);
        }
        if !inner.dirty {
            inner.dirty = true;
            self.wake.notify_all();
        }
        Ok(())
    }
}

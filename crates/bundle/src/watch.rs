//! Noticing that something else came into force, before each decision, at the cost of one system call.

use std::{fs, io, path::PathBuf};

use casemate_files::Pinned;

use crate::{Activation, PolicyStore, PolicyStoreError, store::CURRENT};

/// What was in force when somebody last looked.
#[derive(Debug)]
pub struct Watch {
    store: PolicyStore,
    path: PathBuf,
    current: Option<Activation>,
    seen: Option<Pinned>,
}

impl PolicyStore {
    /// Looks at what is in force.
    ///
    /// # Errors
    /// As [`PolicyStore::current`].
    pub fn watch(&self) -> Result<Watch, PolicyStoreError> {
        let mut watch = Watch {
            path: self.path().join(CURRENT),
            store: self.clone(),
            current: None,
            seen: None,
        };
        watch.look()?;
        Ok(watch)
    }
}

impl Watch {
    /// What was in force when [`Watch::refresh`] last returned `Ok`.
    #[must_use]
    pub const fn current(&self) -> Option<&Activation> {
        self.current.as_ref()
    }

    /// Whether the record is not the file that was read: one system call. Also when that cannot be told: then
    /// [`Watch::refresh`] says why.
    #[must_use]
    pub fn changed(&self) -> bool {
        match (fs::symlink_metadata(&self.path), &self.seen) {
            (Ok(found), Some(seen)) => !seen.is(&found),
            (Err(error), None) => error.kind() != io::ErrorKind::NotFound,
            _ => true,
        }
    }

    /// Looks again, if the record changed. Returns whether something else came into force.
    ///
    /// # Errors
    /// As [`PolicyStore::current`], and when the record is older than the one before. Nothing may be decided then: what
    /// was in force may not be any more.
    pub fn refresh(&mut self) -> Result<bool, PolicyStoreError> {
        match self.changed() {
            true => self.look(),
            false => Ok(false),
        }
    }

    fn look(&mut self) -> Result<bool, PolicyStoreError> {
        let path = || self.path.clone();
        let before = self.current.as_ref().map(|current| current.sequence);
        let Some(found) = self.store.find_current()? else {
            return match before {
                None => Ok(false),
                Some(_) => Err(PolicyStoreError::CurrentLost { path: path() }),
            };
        };
        let sequence = found.activation.sequence;
        if let Some(newest) = before.filter(|before| *before > sequence) {
            return Err(PolicyStoreError::WentBack {
                path: path(),
                found: sequence,
                newest,
            });
        }
        self.seen = Some(found.file);
        let now = Some(found.activation);
        let changed = self.current != now;
        self.current = now;
        Ok(changed)
    }
}

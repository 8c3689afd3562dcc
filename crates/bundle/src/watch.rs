//! Noticing that something else came into force, before each decision, at the cost of one system call.

use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
};

use crate::{Activation, PolicyStore, PolicyStoreError, store::CURRENT};

/// What was in force when somebody last looked.
#[derive(Debug)]
pub struct Watch {
    store: PolicyStore,
    path: PathBuf,
    current: Option<Activation>,
    seen: Option<Seen>,
}

/// The file that the record was read from.
#[derive(Debug)]
struct Seen {
    stamp: Stamp,
    /// While it is open no other file has its number.
    _file: File,
}

/// What of a file changes when it does.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
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
            (Ok(found), Some(seen)) => Stamp::of(&found) != seen.stamp,
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
        self.seen = Some(Seen {
            stamp: Stamp::of(&found.opened),
            _file: found.file,
        });
        let now = Some(found.activation);
        let changed = self.current != now;
        self.current = now;
        Ok(changed)
    }
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

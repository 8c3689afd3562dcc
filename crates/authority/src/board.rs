//! Asking the switches, before each decision, at the cost of one system call.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use casemate_files::{Dir, Pinned, Privacy};
use casemate_model::Digest;

use crate::{
    Epoch, Stopped, Subject, Switch, Switches, Unreadable,
    board_file::{self, BOARD, Found},
};

/// What a [`Board`] answers with: the switches, or why it is closed.
pub type Readable = Result<Arc<Switches>, Arc<Unreadable>>;

/// The switches of a directory, as they are now.
///
/// A throw that has returned, in whatever process, is seen by every check that begins after it.
#[derive(Debug)]
pub struct Board {
    dir: PathBuf,
    file: PathBuf,
    now: RwLock<Now>,
}

/// What is known of a board. It is only ever assigned whole, so that a panic elsewhere cannot leave half of it.
#[derive(Debug, Default)]
struct Now {
    seen: Option<Seen>,
    /// The newest that was ever seen.
    newest: Option<(Epoch, Digest)>,
}

/// A board that was read and is still there, as far as its stamp tells.
#[derive(Debug)]
struct Seen {
    file: Pinned,
    switches: Arc<Switches>,
}

impl Board {
    /// The board in the directory `dir`. It is closed for as long as there is none.
    #[must_use]
    pub fn open(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            file: dir.join(BOARD),
            now: RwLock::default(),
        }
    }

    /// Whether something new may run.
    ///
    /// # Errors
    /// A switch of it is off, or the board cannot be read.
    pub fn check(&self, subject: &Subject<'_>) -> Result<Epoch, Stopped> {
        self.switches().map_err(Stopped::Unreadable)?.check(subject)
    }

    /// Whether something may still run that was allowed in the epoch `since`. What was switched off and on again since
    /// then does not get its authority back.
    ///
    /// # Errors
    /// A switch of it is off or was thrown since, or the board cannot be read.
    pub fn check_held(&self, subject: &Subject<'_>, since: Epoch) -> Result<Epoch, Stopped> {
        self.switches()
            .map_err(Stopped::Unreadable)?
            .check_held(subject, since)
    }

    /// The switches that were thrown after `epoch`, the last thrown last. Nothing if some of them may be forgotten.
    ///
    /// # Errors
    /// The board cannot be read.
    pub fn since(&self, epoch: Epoch) -> Result<Option<Vec<Arc<Switch>>>, Arc<Unreadable>> {
        Ok(self.switches()?.since(epoch).map(<[_]>::to_vec))
    }

    /// All switches.
    ///
    /// # Errors
    /// The board cannot be read. Nothing may run then.
    pub fn switches(&self) -> Readable {
        let found = fs::symlink_metadata(&self.file);
        let same = |seen: &&Seen| found.as_ref().is_ok_and(|found| seen.file.is(found));
        if let Some(seen) = self.read_now().seen.as_ref().filter(same) {
            return Ok(Arc::clone(&seen.switches));
        }
        let mut now = self.write_now();
        // Another thread may have been here meanwhile.
        match &now.seen {
            Some(seen) if self.is_there(seen) => Ok(Arc::clone(&seen.switches)),
            _ => self.look(&mut now),
        }
    }

    /// All switches, read again whatever the board's stamp says.
    pub(crate) fn read_again(&self) -> Readable {
        self.look(&mut self.write_now())
    }

    /// The board's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn is_there(&self, seen: &Seen) -> bool {
        fs::symlink_metadata(&self.file).is_ok_and(|found| seen.file.is(&found))
    }

    fn look(&self, now: &mut Now) -> Readable {
        now.seen = None;
        let found = Dir::open(&self.dir, Privacy::Secret)
            .map_err(Unreadable::from)
            .and_then(|dir| board_file::find(&dir))
            .and_then(|found| self.not_before(now.newest, found))
            .map_err(Arc::new)?;
        now.newest = Some((found.content.epoch, found.digest));
        let switches = Arc::new(Switches::new(found.content));
        now.seen = Some(Seen {
            file: found.file,
            switches: Arc::clone(&switches),
        });
        Ok(switches)
    }

    /// Refuses what is older than, or in the same epoch other than, what was seen before.
    fn not_before(
        &self,
        newest: Option<(Epoch, Digest)>,
        found: Option<Found>,
    ) -> Result<Found, Unreadable> {
        let path = || self.file.clone();
        let found = found.ok_or_else(|| Unreadable::Missing { path: path() })?;
        let (epoch, digest) = (found.content.epoch, found.digest);
        match newest {
            Some((newest, _)) if newest > epoch => Err(Unreadable::WentBack {
                path: path(),
                found: epoch,
                newest,
            }),
            Some((newest, seen)) if newest == epoch && seen != digest => Err(Unreadable::Forked {
                path: path(),
                epoch,
                found: digest,
                seen,
            }),
            _ => Ok(found),
        }
    }

    fn read_now(&self) -> RwLockReadGuard<'_, Now> {
        self.now.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_now(&self) -> RwLockWriteGuard<'_, Now> {
        self.now.write().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The one that writes: under the directory's lock, batch by batch.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    LedgerError, LogKey, Receipt, VerifyError,
    batch::{Batch, Draft},
    disk::LogFile,
    entry::Body,
    head::{self, Head, HeadFile},
    lock::DirLock,
    open_set::OpenSet,
    resume::resume,
    state::State,
    walk::{Step, Walk},
};

/// An open log that can be appended to.
#[derive(Debug)]
pub(crate) struct Writer {
    key: LogKey,
    lock: Arc<DirLock>,
    path: PathBuf,
    log: Arc<dyn LogFile>,
    /// Device and inode of the log file.
    identity: (u64, u64),
    head: HeadFile,
    /// What is on disk, as far as this process knows; `None` when it has to look again.
    state: Option<State>,
    /// The failure after which nothing can be known.
    poison: Option<Arc<io::Error>>,
}

impl Writer {
    /// Opens the log in `dir`, and makes it if there is none. `wrap` is where a test puts a faulty
    /// disk.
    pub(crate) fn open(
        dir: &Path,
        key: LogKey,
        lock_wait: Duration,
        wrap: impl FnOnce(File) -> Arc<dyn LogFile>,
    ) -> Result<Self, LedgerError> {
        create_dir(dir)?;
        let lock = Arc::new(DirLock::open(dir, lock_wait)?);
        let held = lock.acquire()?;
        check_key(dir, &key)?;
        let path = log_path(dir);
        let file = match open_log(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_log(dir, &key)?;
                open_log(&path)
            }
            opened => opened,
        };
        let file = file.map_err(LedgerError::file("open", &path))?;
        let metadata = file.metadata().map_err(LedgerError::file("open", &path))?;
        let mut writer = Self {
            key,
            lock: Arc::clone(&lock),
            identity: (metadata.dev(), metadata.ino()),
            path,
            log: wrap(file),
            head: HeadFile::open(dir)?,
            state: None,
            poison: None,
        };
        if writer.refresh()?.end == 0 {
            // Whoever made the log may have died before its name was durable.
            let synced = lock.dir().sync_all();
            synced.map_err(LedgerError::file("sync", dir))?;
        }
        drop(held);
        Ok(writer)
    }

    /// Writes one batch and makes it durable. One result for each of `bodies`, in their order.
    pub(crate) fn commit(&mut self, bodies: &[&Body]) -> Vec<Result<Receipt, LedgerError>> {
        self.try_commit(bodies)
            .unwrap_or_else(|error| bodies.iter().map(|_| Err(error.clone())).collect())
    }

    fn try_commit(
        &mut self,
        bodies: &[&Body],
    ) -> Result<Vec<Result<Receipt, LedgerError>>, LedgerError> {
        let lock = Arc::clone(&self.lock);
        let _held = lock.acquire()?;
        self.refresh()?;
        let mut draft = Draft::new(self.state.take().unwrap_or_default());
        let placed: Vec<_> = bodies.iter().map(|body| draft.push(body)).collect();
        if placed.iter().all(Result::is_err) {
            self.state = Some(draft.into_state());
            return Ok(placed
                .into_iter()
                .filter_map(Result::err)
                .map(Err)
                .collect());
        }
        let batch = draft.sign(&self.key)?;
        self.store(&batch)?;
        let receipts = placed
            .into_iter()
            .map(|placed| placed.map(|placed| batch.receipt(placed)))
            .collect();
        self.state = Some(batch.state);
        Ok(receipts)
    }

    /// What is on disk now, other processes' appends included.
    pub(crate) fn current(&mut self) -> Result<&State, LedgerError> {
        let lock = Arc::clone(&self.lock);
        let _held = lock.acquire()?;
        self.refresh()
    }

    /// One write, one fdatasync. The state stays unknown if either fails.
    fn store(&mut self, batch: &Batch) -> Result<(), LedgerError> {
        let start = batch.state.end - batch.bytes.len() as u64;
        if let Err(source) = self.log.write_all_at(&batch.bytes, start) {
            if let Err(stuck) = self.log.set_len(start) {
                self.poison = Some(Arc::new(stuck));
            }
            return Err(LedgerError::Write {
                path: self.path.clone(),
                source: Arc::new(source),
            });
        }
        if let Err(error) = self.settle(&batch.state) {
            // Keeps other processes from building on it.
            let _ = self.log.set_len(start);
            return Err(error);
        }
        Ok(())
    }

    /// Makes the log durable up to `state`, and says so in the head.
    fn settle(&mut self, state: &State) -> Result<(), LedgerError> {
        if let Err(source) = self.log.sync_data() {
            // The kernel may have dropped the pages and forgotten the failure: nothing that it
            // still shows of this file can be believed.
            let source = Arc::new(source);
            self.poison = Some(Arc::clone(&source));
            return Err(LedgerError::Sync {
                path: self.path.clone(),
                source,
            });
        }
        // The entries are durable whatever happens here: an older head only finds fewer
        // truncations.
        let _ = self.head.write(state.end, &state.note);
        Ok(())
    }

    /// Catches up with what is on disk, and cuts off an append that was never finished. Call with
    /// the lock held.
    fn refresh(&mut self) -> Result<&State, LedgerError> {
        if let Some(source) = &self.poison {
            return Err(LedgerError::Poisoned(Arc::clone(source)));
        }
        let here = fs::metadata(&self.path).map(|metadata| (metadata.dev(), metadata.ino()));
        if here.ok() != Some(self.identity) {
            return Err(LedgerError::Replaced {
                path: self.path.clone(),
            });
        }
        let len = self
            .log
            .len()
            .map_err(LedgerError::file("read", &self.path))?;
        let known_end = self.state.as_ref().map_or(0, |state| state.end);
        if self.state.is_some() && known_end == len {
            return Ok(self.state.get_or_insert_default());
        }
        let public = self.key.public();
        let head = self.head.read(&public).filter(|head| head.end > known_end);
        let signed_end = head.as_ref().map_or(known_end, |head| head.end);
        if signed_end > len {
            return Err(LedgerError::Truncated {
                path: self.path.clone(),
                len,
                signed: signed_end,
            });
        }
        let mut state = self.state.take().unwrap_or_default();
        if let Some(head) = head {
            state = self.resume_at(&head, state.open)?;
        }
        let settled = state.end;
        let mut walk = Walk::new(&self.log, len, &public, state)?;
        let mut step = Step::Batch;
        while step == Step::Batch {
            step = walk.step(settled)?;
        }
        let state = walk.into_state();
        if step == Step::Unfinished {
            let cut = self.log.set_len(state.end);
            cut.map_err(LedgerError::file("shorten", &self.path))?;
        }
        if state.end > settled {
            // Written by a process that died before it could make them durable, or say that they
            // are.
            self.settle(&state)?;
        }
        Ok(self.state.insert(state))
    }

    fn resume_at(&self, head: &Head, known: OpenSet) -> Result<State, VerifyError> {
        let state = resume(&self.log, head.end, &self.key.public(), known)?;
        if state.note != head.note {
            return Err(VerifyError::HeadDisagrees { offset: head.end });
        }
        Ok(state)
    }
}

/// Where the log of the ledger in `dir` is.
pub(crate) fn log_path(dir: &Path) -> PathBuf {
    dir.join("log")
}

fn create_dir(dir: &Path) -> Result<(), LedgerError> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .and_then(|()| match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
            _ => Ok(()),
        })
        .map_err(LedgerError::file("create", dir))
}

/// Refuses to continue the log of another key; writes the public key if it is not there.
fn check_key(dir: &Path, key: &LogKey) -> Result<(), LedgerError> {
    let path = dir.join("key.pub");
    let ours = format!("{}\n", key.public());
    match fs::read(&path) {
        Ok(found) if found == ours.as_bytes() => Ok(()),
        Ok(found) => Err(LedgerError::OtherKey {
            path,
            found: String::from_utf8_lossy(&found)
                .trim()
                .chars()
                .take(200)
                .collect(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            head::create_whole(&path, ours.as_bytes(), 0o644)
        }
        Err(error) => Err(LedgerError::file("read", path)(error)),
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Makes an empty log, after its head: a log without a head was tampered with.
fn create_log(dir: &Path, key: &LogKey) -> Result<(), LedgerError> {
    let path = log_path(dir);
    let old = HeadFile::open(dir)?.read(&key.public());
    if let Some(head) = old.filter(|head| head.end > 0) {
        return Err(LedgerError::Truncated {
            path,
            len: 0,
            signed: head.end,
        });
    }
    head::create(dir, key)?;
    let log = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path);
    log.and_then(|log| log.sync_all())
        .map_err(LedgerError::file("create", path))
}

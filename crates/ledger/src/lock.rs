//! One appending process at a time, in turn.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::LedgerError;

const FIRST_WAIT: Duration = Duration::from_micros(20);
const LONGEST_WAIT: Duration = Duration::from_millis(1);

/// The lock of a ledger's directory: a `flock` that the kernel releases when a process dies.
///
/// Waiting is bounded, and there are two locks so that it is fair: who waits for `lock` holds the
/// turn (the directory itself), so that the process which just released `lock` has to queue behind
/// it.
#[derive(Debug)]
pub(crate) struct DirLock {
    turn: File,
    lock: File,
    path: PathBuf,
    wait: Duration,
}

/// The lock, held.
#[derive(Debug)]
pub(crate) struct Held<'a>(&'a File);

impl DirLock {
    /// The lock of `dir`, for which `wait` is waited at most.
    pub(crate) fn open(dir: &Path, wait: Duration) -> Result<Self, LedgerError> {
        let path = dir.join("lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(LedgerError::file("open", &path))?;
        let turn = File::open(dir).map_err(LedgerError::file("open", dir))?;
        Ok(Self {
            turn,
            lock,
            path,
            wait,
        })
    }

    /// Waits for the lock.
    pub(crate) fn acquire(&self) -> Result<Held<'_>, LedgerError> {
        let until = Instant::now() + self.wait;
        let turn = self.poll(&self.turn, until)?;
        let held = self.poll(&self.lock, until)?;
        drop(turn);
        Ok(held)
    }

    /// The directory.
    pub(crate) const fn dir(&self) -> &File {
        &self.turn
    }

    fn poll<'a>(&self, file: &'a File, until: Instant) -> Result<Held<'a>, LedgerError> {
        let mut pause = FIRST_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Held(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_WAIT);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(LedgerError::Locked {
                        path: self.path.clone(),
                        waited_ms: u64::try_from(self.wait.as_millis()).unwrap_or(u64::MAX),
                    });
                }
                Err(TryLockError::Error(source)) => {
                    return Err(LedgerError::File {
                        step: "lock",
                        path: self.path.clone(),
                        source: Arc::new(source),
                    });
                }
            }
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Explicit, because a forked child may still hold a copy of the descriptor. If it fails,
        // closing the file does it.
        let _ = self.0.unlock();
    }
}

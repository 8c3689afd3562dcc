//! One appending process at a time, in turn.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::LedgerError;

const FIRST_WAIT: Duration = Duration::from_micros(20);
const LONGEST_WAIT: Duration = Duration::from_millis(1);
/// How much longer a queue is waited for than one holder.
const MOST_HOLDERS: u32 = 12;

/// The lock of a ledger's directory: a `flock` that the kernel releases when a process dies.
///
/// Waiting is bounded, and there are two locks so that it is fair: who waits for `lock` holds the
/// turn (the directory itself), so that the process which just released `lock` has to queue behind
/// it. `lock` holds the number of times that it was taken: as long as that grows, nobody is stuck,
/// and a queue is waited for longer than a holder.
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
            .read(true)
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
        let mut patience = Patience::new(self);
        let turn = self.poll(&self.turn, &mut patience)?;
        let held = self.poll(&self.lock, &mut patience)?;
        drop(turn);
        // Only those who wait read it: if it cannot be written, they wait as for one holder.
        let _ = self.lock.write_all_at(&(self.taken() + 1).to_le_bytes(), 0);
        Ok(held)
    }

    /// How often the lock was taken.
    fn taken(&self) -> u64 {
        let mut count = [0; 8];
        let read = self.lock.read_exact_at(&mut count, 0);
        read.map_or(0, |()| u64::from_le_bytes(count))
    }

    /// The directory.
    pub(crate) const fn dir(&self) -> &File {
        &self.turn
    }

    fn poll<'a>(
        &self,
        file: &'a File,
        patience: &mut Patience<'_>,
    ) -> Result<Held<'a>, LedgerError> {
        let mut pause = FIRST_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Held(file)),
                Err(TryLockError::WouldBlock) if patience.lasts() => {
                    thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_WAIT);
                }
                Err(TryLockError::WouldBlock) => {
                    let waited = patience.began.elapsed();
                    return Err(LedgerError::Locked {
                        path: self.path.clone(),
                        waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
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

/// How long is waited: `wait` for one holder, and [`MOST_HOLDERS`] times that for a queue.
struct Patience<'l> {
    lock: &'l DirLock,
    began: Instant,
    until: Instant,
    taken: u64,
}

impl<'l> Patience<'l> {
    fn new(lock: &'l DirLock) -> Self {
        let began = Instant::now();
        Self {
            lock,
            began,
            until: began + lock.wait,
            taken: lock.taken(),
        }
    }

    fn lasts(&mut self) -> bool {
        let now = Instant::now();
        if now < self.until {
            return true;
        }
        let taken = self.lock.taken();
        let moves = taken != self.taken && now < self.began + self.lock.wait * MOST_HOLDERS;
        self.taken = taken;
        self.until = now + self.lock.wait;
        moves
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Explicit, because a forked child may still hold a copy of the descriptor. If it fails,
        // closing the file does it.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue that moves is waited for, however long it is; one holder that does not let go is not.
    #[test]
    fn a_queue_is_waited_for_longer_than_a_holder() {
        let dir = tempfile::tempdir().unwrap();
        let others = DirLock::open(dir.path(), Duration::from_secs(60)).unwrap();
        let ours = DirLock::open(dir.path(), Duration::from_secs(1)).unwrap();
        let front = File::open(dir.path()).unwrap();
        // Somebody is always before us, and each of them gets the lock.
        front.lock().unwrap();
        thread::scope(|scope| {
            let waits = scope.spawn(|| ours.acquire().map(drop));
            for taken in 1_u64..=30 {
                thread::sleep(Duration::from_millis(100));
                others.lock.write_all_at(&taken.to_le_bytes(), 0).unwrap();
            }
            front.unlock().unwrap();
            waits.join().unwrap().unwrap();
        });
        let held = others.acquire().unwrap();
        assert!(matches!(
            ours.acquire(),
            Err(LedgerError::Locked {
                waited_ms: 1_000..,
                ..
            })
        ));
        drop(held);
        ours.acquire().unwrap();
        assert_eq!(ours.taken(), 33);
    }
}

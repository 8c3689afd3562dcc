//! The ledger that threads share: group commit.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc::sync_channel},
    time::Duration,
};

use casemate_model::{DecisionId, Digest};

use crate::{
    Entry, Kind, Lead, LedgerError, LogKey, OpenDecision, Owner, PublicKey, ReadError, Receipt,
    Urgency, Written,
    disk::LogFile,
    entry::Body,
    limits::LOCK_WAIT_MS,
    queue::{Queue, Task, Turn, Waiting, Who, pass},
    writer::Writer,
};

/// The audit log of a directory, open for appending.
///
/// Threads share it by reference; several processes may have the same directory open. Appends that
/// come while another is being made durable wait together and become one batch, one write and one
/// fdatasync: an append waits for the batch before it and its own, never longer.
#[derive(Debug)]
pub struct Ledger {
    dir: PathBuf,
    key: PublicKey,
    pub(crate) queue: Mutex<Queue>,
    writer: Mutex<Writer>,
    owner: OnceLock<Owner>,
}

/// How far the log has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// How many records it has.
    pub size: u64,
    /// The root of the Merkle tree over them.
    pub root: Digest,
    /// The signed checkpoint.
    pub checkpoint: String,
}

impl Ledger {
    /// Opens the ledger in `dir`, and makes it if there is none: O(log n + open decisions). An
    /// append that a crash cut short is removed: it was never acknowledged.
    ///
    /// # Errors
    /// When the directory holds the log of another key, was tampered with, or cannot be used.
    pub fn open(dir: &Path, key: LogKey) -> Result<Self, LedgerError> {
        let lock_wait = Duration::from_millis(LOCK_WAIT_MS);
        Self::open_with(dir, key, lock_wait, |file| Arc::new(file))
    }

    pub(crate) fn open_with(
        dir: &Path,
        key: LogKey,
        lock_wait: Duration,
        wrap: impl FnOnce(std::fs::File) -> Arc<dyn LogFile>,
    ) -> Result<Self, LedgerError> {
        Ok(Self {
            dir: dir.to_owned(),
            key: key.public(),
            queue: Mutex::default(),
            writer: Mutex::new(Writer::open(dir, key, lock_wait, wrap)?),
            owner: OnceLock::new(),
        })
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The key that verifies the log.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// Appends an entry. When this returns a receipt, the entry is on disk. [`Kind::Allowed`] opens
    /// the decision in the name of this process, [`Kind::Outcome`] closes it.
    ///
    /// # Errors
    /// When the entry exceeds a limit, or the log cannot be written or was damaged. No entry, no
    /// action.
    pub fn append(&self, entry: Entry) -> Result<Receipt, LedgerError> {
        let owner = self.owner_of(&entry)?;
        self.commit(Body::new(entry, owner)?)
    }

    /// Appends an entry of a request of a call, which does not open what is kept for calls.
    ///
    /// # Errors
    /// As [`Ledger::append`].
    pub fn append_request(&self, entry: Entry) -> Result<Receipt, LedgerError> {
        let owner = self.owner_of(&entry)?;
        self.commit(Body::of_request(entry, owner)?)
    }

    /// Begins to append an entry of a request of a call, for whoever cannot wait in a thread. `lead` is called when somebody has to commit:
    /// it gives the lead a thread that may wait for the disk.
    ///
    /// # Errors
    /// When the entry exceeds a limit.
    pub fn begin_request(
        self: &Arc<Self>,
        entry: Entry,
        urgency: Urgency,
        lead: impl Fn(Lead) + Send + Sync + 'static,
    ) -> Result<Written, LedgerError> {
        let owner = self.owner_of(&entry)?;
        let body = Body::of_request(entry, owner)?;
        let (task, written) = Task::new(Arc::clone(self), lead);
        let waiting = Waiting {
            body,
            urgency,
            who: Who::Task(task),
        };
        let is_led = {
            let mut queue = lock(&self.queue);
            queue.waiting.push_back(waiting);
            urgency == Urgency::Soon || std::mem::replace(&mut queue.led, true)
        };
        if !is_led {
            pass(&self.queue);
        }
        Ok(written)
    }

    /// Has everything committed that waits.
    pub fn hasten(&self) {
        let is_led = {
            let mut queue = lock(&self.queue);
            for waiting in &mut queue.waiting {
                waiting.urgency = Urgency::Now;
            }
            std::mem::replace(&mut queue.led, true)
        };
        if !is_led {
            pass(&self.queue);
        }
    }

    /// Appends an outcome in place of a process that died, if its decision is still open when its turn
    /// comes. Nothing otherwise: the process, or another that looked after it, was faster.
    ///
    /// # Errors
    /// As [`Ledger::append`].
    pub fn close(&self, outcome: Entry) -> Result<Option<Receipt>, LedgerError> {
        match self.commit(Body::closing(outcome)?) {
            Ok(receipt) => Ok(Some(receipt)),
            Err(LedgerError::NotOpen) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn commit(&self, body: Body) -> Result<Receipt, LedgerError> {
        // The leader is told to lead, or done; never both before it listens.
        let (thread, turns) = sync_channel(1);
        let lead = {
            let mut queue = lock(&self.queue);
            queue.waiting.push_back(Waiting {
                body,
                urgency: Urgency::Now,
                who: Who::Thread(thread),
            });
            !std::mem::replace(&mut queue.led, true)
        };
        if lead {
            self.lead();
        }
        loop {
            match turns.recv() {
                Ok(Turn::Lead) => self.lead(),
                Ok(Turn::Done(result)) => return result,
                Err(_) => return Err(LedgerError::Abandoned),
            }
        }
    }

    /// The allowed decisions without an outcome, of every process that writes here.
    ///
    /// # Errors
    /// When the log cannot be read or was damaged.
    pub fn open_decisions(&self) -> Result<Vec<OpenDecision>, LedgerError> {
        let mut writer = lock(&self.writer);
        Ok(writer.current()?.open.decisions().cloned().collect())
    }

    /// What the log says of `decisions`: reads all of it.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn said_of(
        &self,
        decisions: &HashSet<DecisionId>,
    ) -> Result<HashSet<(DecisionId, Kind)>, ReadError> {
        let mut found = HashSet::new();
        for record in crate::read(&self.dir) {
            let entry = record?.entry;
            if decisions.contains(&entry.decision) {
                found.insert((entry.decision, entry.kind));
            }
        }
        Ok(found)
    }

    /// The newest checkpoint; `None` when the log is empty.
    ///
    /// # Errors
    /// When the log cannot be read or was damaged.
    pub fn head(&self) -> Result<Option<Head>, LedgerError> {
        let mut writer = lock(&self.writer);
        let state = writer.current()?;
        if state.size() == 0 {
            return Ok(None);
        }
        let root = state.frontier.root().map_err(crate::VerifyError::Tree)?;
        Ok(Some(Head {
            size: state.size(),
            root: Digest::from_bytes(root.0),
            checkpoint: state.note.clone(),
        }))
    }

    /// In whose name an entry opens its decision, if it does.
    fn owner_of(&self, entry: &Entry) -> Result<Option<Owner>, LedgerError> {
        match entry.kind {
            Kind::Allowed => self.owner().map(Some),
            _ => Ok(None),
        }
    }

    fn owner(&self) -> Result<Owner, LedgerError> {
        if let Some(owner) = self.owner.get() {
            return Ok(owner.clone());
        }
        let owner = Owner::current().map_err(|source| LedgerError::Owner {
            source: Arc::new(source),
        })?;
        Ok(self.owner.get_or_init(|| owner).clone())
    }

    /// Commits one batch, and passes the lead on.
    fn lead(&self) {
        // Passed on before the others are woken, so that the disk does not wait for them.
        let lead = Led(&self.queue);
        let (batch, results) = self.write_batch();
        drop(lead);
        tell(batch, results);
    }

    /// Commits one batch, and keeps the lead.
    pub(crate) fn commit_batch(&self) {
        let (batch, results) = self.write_batch();
        tell(batch, results);
    }

    fn write_batch(&self) -> (Vec<Waiting>, Vec<Result<Receipt, LedgerError>>) {
        let batch = lock(&self.queue).take_batch();
        if batch.is_empty() {
            return (batch, Vec::new());
        }
        let bodies: Vec<_> = batch.iter().map(|waiting| &waiting.body).collect();
        let results = lock(&self.writer).commit(&bodies);
        (batch, results)
    }
}

fn tell(batch: Vec<Waiting>, results: Vec<Result<Receipt, LedgerError>>) {
    for (waiting, result) in batch.into_iter().zip(results) {
        waiting.done(result);
    }
}

/// The lead, which is passed on even when the thread that has it dies.
struct Led<'a>(&'a Mutex<Queue>);

impl Drop for Led<'_> {
    fn drop(&mut self) {
        pass(self.0);
    }
}

/// Every value behind these locks is whole between its statements, so a thread that died does no
/// harm.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

//! The thread that makes spending durable, and writes the file anew when it has grown.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use crate::{
    BudgetError, BudgetFailure,
    journal::Journal,
    limits::{COMPACT_BYTES, SYNC_MS},
    record,
    shared::{FILE, Inner, Shared},
};

impl Shared {
    /// Waits for something to make durable, again and again, until it is told to stop.
    pub(crate) fn flush_until_stopped(&self) {
        let mut inner = self.lock_anyway();
        loop {
            while !inner.dirty && !inner.stop {
                inner = self
                    .wake
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            // More may come, and one fdatasync is enough for all of it.
            let wait = Duration::from_millis(SYNC_MS);
            let waited = self
                .wake
                .wait_timeout_while(inner, wait, |inner| !inner.stop);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
            let stop = inner.stop;
            drop(inner);
            self.sync_all();
            inner = self.lock_anyway();
            if stop || inner.failed.is_some() {
                return;
            }
            if inner.journal.len > COMPACT_BYTES.max(inner.compact_len.saturating_mul(2)) {
                drop(inner);
                // What does not work now is tried again after the next sync, until the file is full.
                let _ = self.compact();
                inner = self.lock_anyway();
            }
        }
    }

    /// Makes everything durable that is written. If that fails nothing is spent any more.
    pub(crate) fn sync_all(&self) {
        let _disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        let file = {
            let mut inner = self.lock_anyway();
            inner.dirty = false;
            Arc::clone(&inner.journal.file)
        };
        // Not under the lock: spending goes on.
        if let Err(error) = file.sync_data() {
            self.lock_anyway().fail(BudgetFailure::Sync(error));
        }
    }

    /// Writes the file anew, with what the old one adds up to. Spending goes on meanwhile.
    pub(crate) fn compact(&self) -> Result<(), BudgetError> {
        let _disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot: Result<Vec<_>, _> = {
            let mut inner = self.lock()?;
            inner.meanwhile = Some(Vec::new());
            record::snapshot(&inner.books)
                .map(|record| record::json(&record))
                .collect()
        };
        let replaced = snapshot
            .map_err(BudgetError::Encode)
            .and_then(|snapshot| self.replace(&snapshot));
        self.lock_anyway().meanwhile = None;
        replaced
    }

    fn replace(&self, snapshot: &[Vec<u8>]) -> Result<(), BudgetError> {
        let (lines, crc) = lines(0, snapshot);
        let file = Arc::new(self.dir.prepare(&self.held, &lines)?);
        let mut journal = Journal::new(Arc::clone(&file), lines.len() as u64, crc);
        let mut inner = self.lock()?;
        for json in inner.meanwhile.take().unwrap_or_default() {
            // If it cannot be taken back, it is only the new file that is lost.
            journal
                .append(&json)
                .map_err(|_| BudgetError::Full { path: self.path() })?;
        }
        self.dir.publish(&self.held, &self.dir, FILE)?;
        inner.journal = journal;
        inner.compact_len = inner.journal.len;
        drop(inner);
        // What was durable in the old file must be so in this one at once.
        let synced = file
            .sync_data()
            .map_err(BudgetFailure::Sync)
            .and_then(|()| self.dir.sync().map_err(BudgetFailure::Replace));
        match synced {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.lock_anyway().fail(failure)),
        }
    }
}

impl Inner {
    fn fail(&mut self, failure: BudgetFailure) -> BudgetError {
        let failed = self.failed.insert(Arc::new(failure));
        BudgetError::Failed(Arc::clone(failed))
    }
}

fn lines(mut crc: u32, records: &[Vec<u8>]) -> (Vec<u8>, u32) {
    let mut lines = Vec::new();
    for json in records {
        crc = record::line(&mut lines, crc, json);
    }
    (lines, crc)
}

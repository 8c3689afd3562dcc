//! Those who wait for a commit, and who commits for all of them.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, mpsc::SyncSender},
    task::{Context, Poll, Waker},
};

use crate::{
    Ledger, LedgerError, Receipt,
    entry::Body,
    layout::RECORD_HEAD_BYTES,
    ledger::lock,
    limits::{MAX_BATCH_BYTES, MAX_BATCH_RECORDS},
};

/// How soon an entry has to be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// As soon as can be: something waits for it.
    Now,
    /// With the next that has to be, or when [`Ledger::hasten`] is called.
    Soon,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) waiting: VecDeque<Waiting>,
    /// Whether somebody commits, or has been told to.
    pub(crate) led: bool,
}

/// An entry, and who waits for it.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) body: Body,
    pub(crate) urgency: Urgency,
    pub(crate) who: Who,
}

#[derive(Debug)]
pub(crate) enum Who {
    /// A thread, which commits when it is told to.
    Thread(SyncSender<Turn>),
    /// Whoever polls a [`Written`].
    Task(Task),
}

/// What a waiting thread is told.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Commit the next batch; your entry is in it, unless it is full.
    Lead,
    /// Your entry is committed, or failed.
    Done(Result<Receipt, LedgerError>),
}

impl Waiting {
    pub(crate) fn done(self, result: Result<Receipt, LedgerError>) {
        match self.who {
            // A thread that is gone needs no answer.
            Who::Thread(thread) => drop(thread.try_send(Turn::Done(result))),
            Who::Task(task) => task.slot.fill(result),
        }
    }
}

impl Queue {
    /// The entries that come first, as many as one batch may hold, and at least one.
    pub(crate) fn take_batch(&mut self) -> Vec<Waiting> {
        let mut bytes = 0;
        let fits = |waiting: &&Waiting| {
            bytes += RECORD_HEAD_BYTES + waiting.body.max_len();
            bytes <= MAX_BATCH_BYTES as usize
        };
        let most = MAX_BATCH_RECORDS as usize;
        let count = self.waiting.iter().take(most).take_while(fits).count();
        self.waiting.drain(..count).collect()
    }

    /// The first that has to be on disk as soon as can be.
    fn urgent(&self) -> Option<usize> {
        let mut waiting = self.waiting.iter();
        waiting.position(|one| one.urgency == Urgency::Now)
    }

    /// Whether whoever is next cannot commit without being given a thread.
    fn is_next_a_task(&self) -> bool {
        let next = self.urgent().and_then(|at| self.waiting.get(at));
        matches!(next.map(|next| &next.who), Some(Who::Task(_)))
    }
}

/// Passes the lead to the first who has to be served, or to nobody if there is none.
pub(crate) fn pass(queue: &Mutex<Queue>) {
    let mut all = lock(queue);
    while let Some(at) = all.urgent() {
        match all.waiting.get(at).map(|next| &next.who) {
            Some(Who::Thread(thread)) => {
                if thread.try_send(Turn::Lead).is_ok() {
                    return;
                }
                all.waiting.remove(at);
            }
            Some(Who::Task(task)) => {
                let (lead, ledger) = (Arc::clone(&task.lead), Arc::clone(&task.ledger));
                // Whoever gets it may give it back at once.
                drop(all);
                return lead(Lead {
                    ledger,
                    commits: false,
                });
            }
            None => break,
        }
    }
    all.led = false;
}

/// Somebody who polls, and what gives a thread to the lead.
pub(crate) struct Task {
    slot: Arc<Slot>,
    lead: Arc<dyn Fn(Lead) + Send + Sync>,
    ledger: Arc<Ledger>,
}

impl Task {
    pub(crate) fn new(
        ledger: Arc<Ledger>,
        lead: impl Fn(Lead) + Send + Sync + 'static,
    ) -> (Self, Written) {
        let slot = Arc::<Slot>::default();
        let written = Written(Arc::clone(&slot));
        let lead = Arc::new(lead);
        (Self { slot, lead, ledger }, written)
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

impl Drop for Task {
    /// Nobody commits it any more, unless that has been done.
    fn drop(&mut self) {
        self.slot.fill(Err(LedgerError::Abandoned));
    }
}

/// Where a result is laid down.
#[derive(Debug, Default)]
struct Slot(Mutex<Laid>);

#[derive(Debug, Default)]
struct Laid {
    result: Option<Result<Receipt, LedgerError>>,
    is_filled: bool,
    waker: Option<Waker>,
}

impl Slot {
    /// The first result counts.
    fn fill(&self, result: Result<Receipt, LedgerError>) {
        let mut laid = lock(&self.0);
        if std::mem::replace(&mut laid.is_filled, true) {
            return;
        }
        laid.result = Some(result);
        let waker = laid.waker.take();
        drop(laid);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// An entry on its way to the disk. Ready with a receipt, it is there. It is written whether or not this is kept.
#[derive(Debug)]
pub struct Written(Arc<Slot>);

impl Future for Written {
    type Output = Result<Receipt, LedgerError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut laid = lock(&self.0.0);
        match laid.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                laid.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// The right, and the duty, to commit what waits, in a thread that may wait for the disk. Dropped instead, what waits without a thread
/// of its own fails.
#[must_use = "nothing is committed until somebody does"]
#[derive(Debug)]
pub struct Lead {
    ledger: Arc<Ledger>,
    commits: bool,
}

impl Lead {
    /// Commits batch after batch, until nobody needs this thread for it. Blocks.
    pub fn commit(mut self) {
        self.commits = true;
        loop {
            self.ledger.commit_batch();
            if !lock(&self.ledger.queue).is_next_a_task() {
                return;
            }
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if !self.commits {
            // There are no more threads to be had where this came from.
            let mut queue = lock(&self.ledger.queue);
            let all = std::mem::take(&mut queue.waiting).into_iter();
            let (threads, stranded): (_, VecDeque<_>) =
                all.partition(|one| matches!(one.who, Who::Thread(_)));
            queue.waiting = threads;
            drop(queue);
            drop(stranded);
        }
        pass(&self.ledger.queue);
    }
}

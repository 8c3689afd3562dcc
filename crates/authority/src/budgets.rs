//! Reserving before something runs, and settling after.

use std::{
    fmt,
    path::Path,
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle},
};

use casemate_files::{Dir, Held, Privacy};
use serde::{Deserialize, Serialize};

use crate::{
    Amounts, BudgetError, BudgetRule, Period, Scope, Spender, Usage,
    books::{Books, Misfit, Open, names, scope_key, spender_key},
    journal::Journal,
    limits::{BUDGET_LOCK_WAIT_MS, MAX_AMOUNT, MAX_BUDGET_BYTES, MAX_RULES},
    name::is_name,
    record::{self, Record},
    shared::{FILE, Inner, Shared},
};

/// Is there as soon as there is a file of budgets, so that one that was lost is not made anew.
const MADE: &str = "made";
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Names a reservation, also after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReservationId(u64);

impl ReservationId {
    /// The reservation with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What may be spent by one call. If it is dropped it stays spent, until it is settled by its id.
#[derive(Debug)]
#[must_use = "what is not settled stays spent"]
pub struct Reservation {
    id: ReservationId,
}

impl Reservation {
    /// Names it, also after a restart.
    #[must_use]
    pub const fn id(&self) -> ReservationId {
        self.id
    }

    /// Leaves it to whoever settles it by its id.
    #[must_use = "what is not settled stays spent"]
    pub const fn into_id(self) -> ReservationId {
        self.id
    }
}

/// A reservation that nobody has settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReservation {
    /// Its id.
    pub id: ReservationId,
    /// Whose tenant.
    pub tenant: String,
    /// Which agent.
    pub agent: String,
    /// Which thread, if a rule was of threads.
    pub thread: Option<String>,
    /// When it was made, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it holds.
    pub amounts: Amounts,
}

/// Who has spent what, in a directory that one process at a time holds.
///
/// What is spent counts for all rules of its tenant and its agent, also for those that are made later. That of a thread
/// counts from when on a rule is of threads.
#[derive(Debug)]
pub struct Budgets {
    shared: Arc<Shared>,
    flush: Option<JoinHandle<()>>,
}

impl Budgets {
    /// The budgets in the directory `dir`, made if there never were any.
    ///
    /// # Errors
    /// They cannot be read, are damaged or were lost, or another process has them. Nothing may be spent then.
    pub fn open(dir: &Path) -> Result<Self, BudgetError> {
        casemate_files::make(dir)?;
        Self::open_in(Dir::open(dir, Privacy::Secret)?)
    }

    fn open_in(dir: Dir) -> Result<Self, BudgetError> {
        let held = dir.lock(BUDGET_LOCK_WAIT_MS)?;
        let inner = load(&dir, &held)?;
        let shared = Arc::new(Shared {
            dir,
            held,
            disk: Mutex::new(()),
            inner: Mutex::new(inner),
            wake: Condvar::new(),
        });
        let flusher = Arc::clone(&shared);
        let flush = thread::Builder::new()
            .name("budgets".to_owned())
            .spawn(move || flusher.flush_until_stopped())
            .map_err(BudgetError::Thread)?;
        Ok(Self {
            shared,
            flush: Some(flush),
        })
    }

    /// Reserves `wanted` under all `rules`, or nothing. When this returns a crash of the process does not forget it; a
    /// power failure may, for less than a second.
    ///
    /// `at_ms` is the time now, in milliseconds since 1970. A day that is over stays over, also when the clock is set
    /// back.
    ///
    /// # Errors
    /// [`BudgetError::Exhausted`] with the first rule that leaves no room; or it could not be written down.
    pub fn reserve(
        &self,
        spender: &Spender<'_>,
        rules: &[BudgetRule],
        wanted: &Amounts,
        at_ms: u64,
    ) -> Result<Reservation, BudgetError> {
        check(spender, rules, wanted)?;
        let key = spender_key(spender, rules);
        let mut inner = self.shared.lock()?;
        let day = inner.books.on(at_ms / DAY_MS);
        inner
            .books
            .judge(&key, day, rules, wanted)
            .map_err(|misfit| match misfit {
                Misfit::Exhausted(exhausted) => BudgetError::Exhausted(exhausted),
                Misfit::TooManyAccounts => BudgetError::TooManyAccounts,
                Misfit::TooManyOpen => BudgetError::TooManyOpen,
            })?;
        let id = inner.books.next;
        let open = Open {
            key,
            day,
            at_ms,
            amounts: *wanted,
        };
        self.shared
            .append(&mut inner, &Record::reserve(id, &open))?;
        inner.books.reserve(id, open);
        let id = ReservationId(id);
        Ok(Reservation { id })
    }

    /// Ends a reservation with what was used. What was not is given back; what was used beyond it is charged, also over
    /// the limit: then the next reservation is refused. It counts on the day on which it was reserved.
    ///
    /// # Errors
    /// It could not be written down. It stays reserved then.
    pub fn settle(&self, reservation: Reservation, actual: &Amounts) -> Result<(), BudgetError> {
        self.settle_by_id(reservation.into_id(), actual)
    }

    /// Ends a reservation of something that did not run.
    ///
    /// # Errors
    /// As [`Budgets::settle`].
    pub fn release(&self, reservation: Reservation) -> Result<(), BudgetError> {
        self.settle(reservation, &Amounts::default())
    }

    /// As [`Budgets::settle`], for a reservation from before a restart.
    ///
    /// # Errors
    /// It is not open, or it could not be written down.
    pub fn settle_by_id(&self, id: ReservationId, actual: &Amounts) -> Result<(), BudgetError> {
        let mut inner = self.shared.lock()?;
        if !inner.books.open.contains_key(&id.0) {
            return Err(BudgetError::NotOpen { id });
        }
        let record = Record::Settle {
            id: id.0,
            actual: *actual,
        };
        self.shared.append(&mut inner, &record)?;
        inner.books.settle(id.0, actual);
        Ok(())
    }

    /// The reservations that nobody has settled, the oldest first.
    ///
    /// # Errors
    /// The budgets failed before.
    pub fn open_reservations(&self) -> Result<Vec<OpenReservation>, BudgetError> {
        let inner = self.shared.lock()?;
        let open = inner.books.open.iter();
        Ok(open
            .map(|(id, open)| OpenReservation::of(*id, open))
            .collect())
    }

    /// Counts what all reservations before `id` hold as used, since nobody will settle them. Returns how many they were.
    ///
    /// # Errors
    /// It could not be written down.
    pub fn forget_before(&self, id: ReservationId) -> Result<usize, BudgetError> {
        let mut inner = self.shared.lock()?;
        if inner.books.open.range(..id.0).next().is_none() {
            return Ok(0);
        }
        self.shared
            .append(&mut inner, &Record::ForgetBefore { id: id.0 })?;
        Ok(inner.books.forget_before(id.0))
    }

    /// The id that the next reservation will have: all before it are of the past. For [`Budgets::forget_before`].
    ///
    /// # Errors
    /// The budgets failed before.
    pub fn next_id(&self) -> Result<ReservationId, BudgetError> {
        Ok(ReservationId(self.shared.lock()?.books.next))
    }

    /// Forgets what a thread has spent, when the thread itself is gone for good. Its agent and tenant keep it.
    ///
    /// # Errors
    /// It still has open reservations, or it could not be written down.
    pub fn forget_thread(&self, spender: &Spender<'_>) -> Result<(), BudgetError> {
        check_names(spender)?;
        let key = format!("{}\0{}\0{}", spender.tenant, spender.agent, spender.thread);
        let mut inner = self.shared.lock()?;
        match inner.books.accounts.get(key.as_str()) {
            None => return Ok(()),
            Some(account) if account.open > 0 => {
                return Err(BudgetError::StillOpen { open: account.open });
            }
            Some(_) => {}
        }
        self.shared
            .append(&mut inner, &Record::forget_thread(&key))?;
        inner.books.accounts.remove(key.as_str());
        Ok(())
    }

    /// What was spent in a scope until now, or on the day of `at_ms`. Nothing for single calls.
    ///
    /// # Errors
    /// The budgets failed before.
    pub fn usage(
        &self,
        spender: &Spender<'_>,
        scope: Scope,
        per: Period,
        at_ms: u64,
    ) -> Result<Usage, BudgetError> {
        let Spender {
            tenant,
            agent,
            thread,
        } = spender;
        let key = format!("{tenant}\0{agent}\0{thread}");
        let inner = self.shared.lock()?;
        let day = inner.books.on(at_ms / DAY_MS);
        let usage = scope_key(&key, scope).map(|key| inner.books.usage(key, per, day));
        Ok(usage.unwrap_or_default())
    }

    /// Makes everything durable that was spent.
    ///
    /// # Errors
    /// It cannot be: nothing is spent any more.
    pub fn sync(&self) -> Result<(), BudgetError> {
        self.shared.sync_all();
        self.shared.lock().map(drop)
    }

    /// Writes the file anew now, instead of when it has grown.
    ///
    /// # Errors
    /// It could not be written. The old one stays.
    #[cfg(test)]
    pub(crate) fn compact(&self) -> Result<(), BudgetError> {
        self.shared.compact()
    }
}

impl Drop for Budgets {
    fn drop(&mut self) {
        self.shared.lock_anyway().stop = true;
        self.shared.wake.notify_all();
        if let Some(flush) = self.flush.take() {
            // It says what failed to whoever spends next, and nobody does.
            let _ = flush.join();
        }
    }
}

impl OpenReservation {
    fn of(id: u64, open: &Open) -> Self {
        let mut names = names(&open.key).into_iter().map(str::to_owned);
        Self {
            id: ReservationId(id),
            tenant: names.next().unwrap_or_default(),
            agent: names.next().unwrap_or_default(),
            thread: names.next(),
            at_ms: open.at_ms,
            amounts: open.amounts,
        }
    }
}

/// Reads what was spent before, or begins.
fn load(dir: &Dir, held: &Held) -> Result<Inner, BudgetError> {
    let path = dir.path(FILE);
    if !dir.has(MADE)? && !dir.has(FILE)? {
        let mut first = Vec::new();
        for record in record::snapshot(&Books::default()) {
            record::line(
                &mut first,
                0,
                &record::json(&record).map_err(BudgetError::Encode)?,
            );
        }
        dir.replace(held, FILE, &first)?;
    }
    let read = dir
        .read_to_change(FILE, MAX_BUDGET_BYTES)?
        .ok_or_else(|| BudgetError::Lost { path: path.clone() })?;
    if !dir.has(MADE)? {
        dir.replace(held, MADE, b"")?;
    }
    let sum = record::sum(&read.content).map_err(|(at, source)| BudgetError::Damaged {
        path: path.clone(),
        at,
        source,
    })?;
    if sum.len < read.content.len() as u64 {
        // The process died while it wrote the last line, and told nobody of it.
        read.file
            .set_len(sum.len)
            .map_err(|source| BudgetError::Write { path, source })?;
    }
    Ok(Inner {
        books: sum.books,
        journal: Journal::new(Arc::new(read.file), sum.len, sum.crc),
        meanwhile: None,
        compact_len: 0,
        dirty: true,
        stop: false,
        failed: None,
    })
}

fn check(spender: &Spender<'_>, rules: &[BudgetRule], wanted: &Amounts) -> Result<(), BudgetError> {
    check_names(spender)?;
    if rules.len() > MAX_RULES {
        return Err(BudgetError::TooManyRules { rules: rules.len() });
    }
    match wanted.above(MAX_AMOUNT) {
        Some(resource) => Err(BudgetError::Amount {
            resource,
            amount: wanted.of(resource),
        }),
        None => Ok(()),
    }
}

fn check_names(spender: &Spender<'_>) -> Result<(), BudgetError> {
    [
        ("tenant", spender.tenant),
        ("agent", spender.agent),
        ("thread", spender.thread),
    ]
    .into_iter()
    .find(|(_, name)| !is_name(name))
    .map_or(Ok(()), |(what, _)| Err(BudgetError::Name { what }))
}

#[cfg(test)]
mod tests;

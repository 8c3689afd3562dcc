//! Stopping what fails the same way again and again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use casemate_model::{Digest, Hasher};

use crate::limits::{
    LOOP_LIMIT, MAX_CAUSE_BYTES, MAX_LOOP_LIMIT, MAX_LOOPS, MAX_LOOPS_PER_THREAD, MIN_LOOP_LIMIT,
};

/// A kind of call: the same tool with the same arguments in one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopKey<'a> {
    /// Whose tenant.
    pub tenant: &'a str,
    /// Which agent.
    pub agent: &'a str,
    /// Which of its threads.
    pub thread: &'a str,
    /// Which tool.
    pub tool: &'a str,
    /// The digest of its arguments.
    pub arguments: Digest,
}

/// A kind of call that has failed the same way too often in a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this call has failed {count} times in a row with `{cause}`")]
pub struct Looping {
    /// How often.
    pub count: u32,
    /// How: the cause of the last failure or denial.
    pub cause: String,
}

/// After how many equal failures in a row a kind of call is stopped. Each profile has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopLimit(u32);

/// A limit that no profile can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} failures in a row cannot be the limit: use {MIN_LOOP_LIMIT} to {MAX_LOOP_LIMIT}")]
pub struct LoopLimitError(pub u32);

impl LoopLimit {
    /// A limit.
    ///
    /// # Errors
    /// It is not between [`MIN_LOOP_LIMIT`] and [`MAX_LOOP_LIMIT`].
    pub fn new(failures: u32) -> Result<Self, LoopLimitError> {
        match (MIN_LOOP_LIMIT..=MAX_LOOP_LIMIT).contains(&failures) {
            true => Ok(Self(failures)),
            false => Err(LoopLimitError(failures)),
        }
    }
}

impl Default for LoopLimit {
    /// [`LOOP_LIMIT`].
    fn default() -> Self {
        Self(LOOP_LIMIT)
    }
}

/// The failures in a row of all kinds of calls, in memory.
///
/// After a restart nothing is remembered: a loop that was stopped may fail as often again before it is stopped again.
/// The same holds for kinds that were forgotten because there are too many; those that failed longest ago go first, and
/// a thread with very many displaces its own.
#[derive(Debug, Default)]
pub struct Loops {
    rows: Mutex<Rows>,
}

/// A kind of call, or a thread, in 32 bytes whatever its names are.
type Key = Digest;

#[derive(Debug, Default)]
struct Rows {
    tick: u64,
    by_key: HashMap<Key, Row>,
    /// By the tick of the last failure.
    oldest: BTreeMap<u64, Key>,
    /// The ticks of a thread.
    threads: HashMap<Key, BTreeSet<u64>>,
}

#[derive(Debug)]
struct Row {
    thread: Key,
    tick: u64,
    count: u32,
    cause: Box<str>,
}

impl Loops {
    /// Whether this kind of call may run again. Asking changes nothing.
    ///
    /// # Errors
    /// It has failed too often in a row with the same cause.
    pub fn check(&self, key: &LoopKey<'_>, limit: LoopLimit) -> Result<(), Looping> {
        match self.rows().by_key.get(&key.call()) {
            Some(row) if row.count >= limit.0 => Err(Looping {
                count: row.count,
                cause: row.cause.clone().into(),
            }),
            _ => Ok(()),
        }
    }

    /// Remembers that it failed, or was denied. Another cause begins a new row, unless the kind was stopped already:
    /// that it was stopped is no other cause.
    pub fn seen(&self, key: &LoopKey<'_>, limit: LoopLimit, cause: &str) {
        let cause = cause
            .get(..cause.floor_char_boundary(MAX_CAUSE_BYTES))
            .unwrap_or_default();
        let (call, thread) = (key.call(), key.thread_key());
        let mut rows = self.rows();
        let (count, cause) = match rows.remove(&call) {
            Some(row) if *row.cause == *cause => (row.count.saturating_add(1), row.cause),
            Some(row) if row.count >= limit.0 => (row.count, row.cause),
            _ => (1, cause.into()),
        };
        rows.insert(call, thread, count, cause);
    }

    /// Remembers that it succeeded: the row is over.
    pub fn succeeded(&self, key: &LoopKey<'_>) {
        self.rows().remove(&key.call());
    }

    /// Lets everything in a thread run again, because an operator says so. Returns how many kinds of calls had failed.
    pub fn clear(&self, tenant: &str, agent: &str, thread: &str) -> usize {
        let thread = digest(&[tenant, agent, thread]);
        let mut rows = self.rows();
        let ticks = rows.threads.remove(&thread).unwrap_or_default();
        for tick in &ticks {
            if let Some(key) = rows.oldest.remove(tick) {
                rows.by_key.remove(&key);
            }
        }
        ticks.len()
    }

    /// Nothing that happens under this lock can panic half-way, so that it is never wrong.
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn insert(&mut self, key: Key, thread: Key, count: u32, cause: Box<str>) {
        let own = self.threads.get(&thread);
        let own = own.filter(|own| own.len() >= MAX_LOOPS_PER_THREAD);
        let first = match own {
            Some(own) => own.first().copied(),
            None if self.by_key.len() >= MAX_LOOPS => self.oldest.keys().next().copied(),
            None => None,
        };
        if let Some(key) = first.and_then(|tick| self.oldest.get(&tick).copied()) {
            self.remove(&key);
        }
        self.tick += 1;
        let tick = self.tick;
        self.oldest.insert(tick, key);
        self.threads.entry(thread).or_default().insert(tick);
        let row = Row {
            thread,
            tick,
            count,
            cause,
        };
        self.by_key.insert(key, row);
    }

    fn remove(&mut self, key: &Key) -> Option<Row> {
        let row = self.by_key.remove(key)?;
        self.oldest.remove(&row.tick);
        if let Some(ticks) = self.threads.get_mut(&row.thread) {
            ticks.remove(&row.tick);
            if ticks.is_empty() {
                self.threads.remove(&row.thread);
            }
        }
        Some(row)
    }
}

impl LoopKey<'_> {
    fn call(&self) -> Key {
        let arguments = self.arguments.to_string();
        digest(&[self.tenant, self.agent, self.thread, self.tool, &arguments])
    }

    fn thread_key(&self) -> Key {
        digest(&[self.tenant, self.agent, self.thread])
    }
}

/// The digest of some names, each with its length before it.
fn digest(names: &[&str]) -> Digest {
    let mut hasher = Hasher::default();
    for name in names {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;

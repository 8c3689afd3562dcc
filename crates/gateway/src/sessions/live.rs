//! The sessions that live, in memory.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use casemate_model::{ContextId, Digest, SessionId};
use casemate_ports::Owner;

use super::SessionError;
use crate::meter::Counter;

/// From so many threads without a session on, they are forgotten.
const MANY_SLOTS: usize = 1_024;

/// A session that lives, as far as this process knows.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) id: SessionId,
    pub(super) owner: Owner,
    pub(super) thread: Option<String>,
    pub(super) profile: Digest,
    /// The bytes that it has given back.
    pub(super) output: Arc<Counter>,
    /// Held while the context of the thread is started.
    pub(super) starting: tokio::sync::Mutex<()>,
    contexts: Mutex<Contexts>,
    noted_at_ms: AtomicU64,
    over: AtomicBool,
    /// Whether its files are kept in its place.
    away: AtomicBool,
}

#[derive(Debug, Default)]
struct Contexts {
    all: BTreeSet<ContextId>,
    /// That of the thread.
    own: Option<ContextId>,
    /// Whether the thread had one already.
    owned: bool,
}

impl Live {
    pub(super) fn new(
        id: SessionId,
        owner: Owner,
        thread: Option<String>,
        profile: Digest,
        contexts: impl IntoIterator<Item = ContextId>,
        at_ms: u64,
    ) -> Self {
        let all: BTreeSet<_> = contexts.into_iter().collect();
        let own = own_context(id).filter(|own| all.contains(own));
        Self {
            id,
            owner,
            thread,
            profile,
            output: Arc::default(),
            starting: tokio::sync::Mutex::new(()),
            contexts: Mutex::new(Contexts {
                owned: own.is_some(),
                all,
                own,
            }),
            noted_at_ms: AtomicU64::new(at_ms),
            over: AtomicBool::new(false),
            away: AtomicBool::new(false),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Notes that it is over.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Notes that its files are kept in its place: nothing begins in it any more, and that its sandbox ends is not its end.
    pub(super) fn put_away(&self) {
        self.away.store(true, Ordering::Release);
    }

    /// They are not, after all.
    pub(super) fn take_out(&self) {
        self.away.store(false, Ordering::Release);
    }

    pub(super) fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    /// Notes that its thread had a context once.
    pub(super) fn had_context(&self) {
        self.contexts().owned = true;
    }

    /// Whether its use is to be noted on disk, after `every_ms`.
    pub(super) fn is_to_be_noted(&self, now_ms: u64, every_ms: u64) -> bool {
        let noted = self.noted_at_ms.load(Ordering::Relaxed);
        now_ms.saturating_sub(noted) >= every_ms
            && self
                .noted_at_ms
                .compare_exchange(noted, now_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    pub(super) fn has_context(&self, context: ContextId) -> bool {
        self.contexts().all.contains(&context)
    }

    pub(super) fn own_context(&self) -> Option<ContextId> {
        self.contexts().own
    }

    /// Whether the thread's context may have the name that every process finds: the first one may.
    pub(super) fn takes_first_name(&self) -> bool {
        !self.contexts().owned
    }

    pub(super) fn count_contexts(&self) -> usize {
        self.contexts().all.len()
    }

    pub(super) fn add_context(&self, context: ContextId) {
        self.contexts().all.insert(context);
    }

    pub(super) fn own(&self, context: ContextId) {
        let mut contexts = self.contexts();
        contexts.all.insert(context);
        contexts.own = Some(context);
        contexts.owned = true;
    }

    pub(super) fn forget_context(&self, context: ContextId) {
        let mut contexts = self.contexts();
        contexts.all.remove(&context);
        contexts.own = contexts.own.filter(|own| *own != context);
    }

    fn contexts(&self) -> MutexGuard<'_, Contexts> {
        self.contexts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a thread's first context: its session's, so that another process finds it again.
pub(super) fn own_context(session: SessionId) -> Option<ContextId> {
    let text = session.to_string();
    let (_, hex) = text.split_once('_')?;
    format!("ctx_{hex}").parse().ok()
}

/// Whose thread it is, and its name.
pub(super) type ThreadKey = (Owner, String);

/// The session of a thread. The lock is held while one is opened, so that only one is.
pub(super) type Slot = tokio::sync::Mutex<Option<Arc<Live>>>;

/// Every session that lives.
#[derive(Debug, Default)]
pub(super) struct Table(Mutex<Rows>);

/// Something that is done with a whole session, alone. The next may begin when this is dropped.
#[derive(Debug)]
pub(super) struct Alone<'t> {
    table: &'t Table,
    session: SessionId,
}

impl Alone<'_> {
    /// Notes that so many bytes are about to be kept for an agent. Says how many others are about to keep.
    pub(super) fn keeping(&self, owner: &Owner, bytes: u64) -> u64 {
        let mut rows = self.table.lock();
        rows.alone.insert(self.session, None);
        let keeping = rows.alone.values().flatten();
        let of_agent = keeping.filter(|(other, _)| other == owner);
        let others = of_agent.fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes));
        rows.alone
            .insert(self.session, Some((owner.clone(), bytes)));
        others
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.table.lock().alone.remove(&self.session);
    }
}

#[derive(Debug, Default)]
struct Rows {
    sessions: HashMap<SessionId, Arc<Live>>,
    threads: HashMap<ThreadKey, Arc<Slot>>,
    /// With which something is done that must be alone: of whom it is about to keep how many bytes, if it is.
    alone: HashMap<SessionId, Option<(Owner, u64)>>,
}

impl Table {
    /// Lets something be done with a whole session, if nothing of the kind is being done.
    pub(super) fn alone(&self, session: SessionId) -> Result<Alone<'_>, SessionError> {
        match self.lock().alone.entry(session) {
            Entry::Occupied(_) => Err(SessionError::Busy(session)),
            Entry::Vacant(free) => {
                free.insert(None);
                Ok(Alone {
                    table: self,
                    session,
                })
            }
        }
    }

    pub(super) fn get(&self, session: SessionId) -> Option<Arc<Live>> {
        self.lock().sessions.get(&session).cloned()
    }

    pub(super) fn add(&self, live: &Arc<Live>) {
        self.lock().sessions.insert(live.id, Arc::clone(live));
    }

    /// Forgets a session that is over. Its thread keeps its slot for the next one while somebody has it.
    pub(super) fn remove(&self, live: &Live) {
        let mut rows = self.lock();
        rows.sessions.remove(&live.id);
        if let Some(thread) = &live.thread {
            let key = (live.owner.clone(), thread.clone());
            if rows
                .threads
                .get(&key)
                .is_some_and(|slot| Arc::strong_count(slot) == 1)
            {
                rows.threads.remove(&key);
            }
        }
    }

    pub(super) fn slot(&self, key: ThreadKey) -> Arc<Slot> {
        let mut rows = self.lock();
        if rows.threads.len() >= rows.sessions.len() + MANY_SLOTS {
            rows.threads.retain(|_, slot| {
                let lives = |slot: &Slot| match slot.try_lock() {
                    Ok(current) => current.as_ref().is_some_and(|live| !live.is_over()),
                    Err(_) => true,
                };
                Arc::strong_count(slot) > 1 || lives(slot)
            });
        }
        Arc::clone(rows.threads.entry(key).or_default())
    }

    /// Gives a session to its thread, if nobody is about to.
    pub(super) fn seat(&self, live: &Arc<Live>) {
        let Some(thread) = &live.thread else { return };
        let slot = self.slot((live.owner.clone(), thread.clone()));
        if let Ok(mut current) = slot.try_lock() {
            *current = Some(Arc::clone(live));
        }
    }

    /// The owner's session that has this context.
    pub(super) fn with_context(&self, owner: &Owner, context: ContextId) -> Option<Arc<Live>> {
        let rows = self.lock();
        let mut sessions = rows.sessions.values();
        let found = sessions.find(|live| live.owner == *owner && live.has_context(context));
        found.cloned()
    }

    /// How many live sessions a tenant has.
    pub(super) fn count_of(&self, tenant: &str) -> usize {
        let rows = self.lock();
        let of = rows.sessions.values();
        of.filter(|live| live.owner.tenant == tenant).count()
    }

    /// The agents of a tenant, with how many live sessions each has.
    pub(super) fn agents_of(&self, tenant: &str) -> BTreeMap<String, u64> {
        let mut agents = BTreeMap::new();
        for live in self.lock().sessions.values() {
            if live.owner.tenant == tenant {
                *agents.entry(live.owner.agent.clone()).or_default() += 1;
            }
        }
        agents
    }

    /// The owner's sessions.
    pub(super) fn of(&self, owner: &Owner) -> Vec<Arc<Live>> {
        let rows = self.lock();
        let sessions = rows.sessions.values();
        sessions
            .filter(|live| live.owner == *owner)
            .cloned()
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

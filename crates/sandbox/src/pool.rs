//! Complete, unused sandboxes of one owner and kind, made before anybody asks for them.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::{Duration, Instant},
};

use casemate_model::SandboxId;
use casemate_ports::{KeeperError, Kind, Owner, PoolSize, PoolStatus};
use tokio::sync::{Mutex, Notify};

use crate::{
    cgroup::{Ceiling, Cgroups},
    nursery::Nursery,
    plan::Baits,
    session::{Making, SessionSandbox},
    sessions::{Grounds, OwnerGroups},
};

/// How long the pool waits before it tries again to make what could not be made, at first and at most.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How long refilling waits for running calls, which come first.
const YIELD: Duration = Duration::from_millis(2);
/// How long a sandbox that was taken may wait for its first call, which is to come first too.
const BEFORE_USE: Duration = Duration::from_millis(10);
/// How long it leaves a crowd alone that takes sandboxes.
const CROWD: Duration = Duration::from_millis(200);

/// A pool. Everything unused in it dies with it.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) owner: Owner,
    pub(crate) kind: Kind,
    grounds: Rc<Grounds>,
    pub(crate) groups: Rc<OwnerGroups>,
    /// Where its sandboxes are made; starting it takes as long as the interpreter's imports.
    nursery: Mutex<Option<Rc<Nursery>>>,
    size: Cell<PoolSize>,
    /// How many shall stand ready now.
    target: Cell<u32>,
    ready: RefCell<VecDeque<Rc<SessionSandbox>>>,
    making: Cell<u32>,
    taken: Cell<u64>,
    cold: Cell<u64>,
    last_take: Cell<Instant>,
    wanted: Notify,
    made: Cell<u64>,
}

impl Pool {
    pub(crate) fn new(
        owner: Owner,
        kind: Kind,
        size: PoolSize,
        grounds: Rc<Grounds>,
        groups: Rc<OwnerGroups>,
    ) -> Rc<Self> {
        let pool = Rc::new(Self {
            owner,
            kind,
            grounds,
            groups,
            nursery: Mutex::new(None),
            size: Cell::new(size),
            target: Cell::new(size.min.min(size.max)),
            ready: RefCell::default(),
            making: Cell::new(0),
            taken: Cell::new(0),
            cold: Cell::new(0),
            last_take: Cell::new(Instant::now()),
            wanted: Notify::new(),
            made: Cell::new(0),
        });
        tokio::task::spawn_local(refill(Rc::downgrade(&pool)));
        pool
    }

    /// Gives it another size.
    pub(crate) fn resize(&self, size: PoolSize) {
        self.size.set(size);
        self.target.set(size.min.min(size.max));
        self.trim();
        self.wanted.notify_one();
    }

    pub(crate) fn grounds(&self) -> &Grounds {
        &self.grounds
    }

    pub(crate) fn status(&self) -> PoolStatus {
        PoolStatus {
            owner: self.owner.clone(),
            kind: self.kind,
            size: self.size.get(),
            ready: u32::try_from(self.ready.borrow().len()).unwrap_or(u32::MAX),
            making: self.making.get(),
            taken: self.taken.get(),
            cold: self.cold.get(),
        }
    }

    /// A sandbox that belongs to the caller alone, and whether it stood ready.
    pub(crate) async fn take(&self) -> Result<(Rc<SessionSandbox>, bool), KeeperError> {
        self.last_take.set(Instant::now());
        // One that died while it waited is nobody's.
        let ready = || loop {
            let sandbox = self.ready.borrow_mut().pop_front()?;
            if sandbox.first.pid().is_some() {
                return Some(sandbox);
            }
        };
        if let Some(sandbox) = ready() {
            self.taken.set(self.taken.get() + 1);
            self.wanted.notify_one();
            return Ok((sandbox, true));
        }
        self.cold.set(self.cold.get() + 1);
        self.grow();
        self.make().await.map(|sandbox| (sandbox, false))
    }

    /// It was empty: more should stand ready.
    fn grow(&self) {
        let size = self.size.get();
        let doubled = self.target.get().saturating_mul(2).max(1);
        self.target.set(doubled.min(size.max));
        self.wanted.notify_one();
    }

    /// Goes back to its size at rest when nobody has taken anything for its idle time.
    pub(crate) fn rest(&self) {
        let size = self.size.get();
        if self.last_take.get().elapsed() >= Duration::from_millis(size.idle_ms) {
            self.target.set(size.min.min(size.max));
            self.trim();
        }
    }

    fn trim(&self) {
        let target = usize::try_from(self.target.get()).unwrap_or(usize::MAX);
        let mut ready = self.ready.borrow_mut();
        while ready.len() > target {
            ready.pop_back();
        }
    }

    /// Whether nobody has anything of it.
    pub(crate) fn is_unused(&self) -> bool {
        let nursery = self.nursery.try_lock();
        self.size.get().max == 0
            && self.making.get() == 0
            && nursery.is_ok_and(|nursery| {
                nursery
                    .as_ref()
                    .is_none_or(|nursery| Rc::strong_count(nursery) == 1)
            })
    }

    /// Says to who refills it that it is over, if nobody has it any more.
    pub(crate) fn retire(&self) {
        self.wanted.notify_one();
    }

    async fn make(&self) -> Result<Rc<SessionSandbox>, KeeperError> {
        self.making.set(self.making.get() + 1);
        let made = self.try_make().await;
        self.making.set(self.making.get() - 1);
        made
    }

    async fn try_make(&self) -> Result<Rc<SessionSandbox>, KeeperError> {
        let nursery = self.nursery().await?;
        let quota = self.kind.quotas.session;
        let number = self.made.get();
        self.made.set(number + 1);
        let name = format!("{}-{number}", self.grounds.unique());
        let ceiling = Ceiling {
            memory_bytes: quota.memory_bytes,
            processes: quota.processes,
            cpu_milli: quota.cpu_milli,
        };
        let cgroups = Cgroups::make(&self.groups.inside(), &name, &ceiling)
            .removed(self.grounds.removal.clone());
        let making = Making {
            nursery: Rc::clone(&nursery),
            limits: self.kind.limits,
            way: self.kind.way,
            violations: (self.kind.violations)
                .map(|responses| (responses, Rc::clone(&self.grounds.lookout))),
            host: Rc::clone(&self.grounds.links),
            removal: self.grounds.removal.clone(),
        };
        let made = SessionSandbox::make(&making, cgroups).await;
        if made.is_err() && !nursery.is_alive() {
            // The next one gets a new nursery.
            let mut current = self.nursery.lock().await;
            if current
                .as_ref()
                .is_some_and(|current| Rc::ptr_eq(current, &nursery))
            {
                *current = None;
            }
        }
        made
    }

    async fn nursery(&self) -> Result<Rc<Nursery>, KeeperError> {
        let mut current = self.nursery.lock().await;
        if let Some(nursery) = current.as_ref().filter(|nursery| nursery.is_alive()) {
            return Ok(Rc::clone(nursery));
        }
        let userland = self.grounds.userland(&self.kind)?;
        let ceiling = Ceiling::of(&self.kind.limits);
        let name = format!("{}-nursery", self.grounds.unique());
        let cgroups = Cgroups::make(&self.groups.inside(), &name, &ceiling)
            .removed(self.grounds.removal.clone());
        let id = SandboxId::new(0, self.grounds.entropy()?).to_string();
        let started = Nursery::start(
            &self.grounds.host,
            &id,
            &self.kind.limits,
            userland,
            self.kind.way.is_some(),
            Baits::of(self.kind.violations.as_ref()),
            cgroups,
        )
        .await?;
        Ok(Rc::clone(current.insert(Rc::new(started))))
    }
}

/// Makes sandboxes until as many stand ready as shall.
async fn refill(pool: std::rc::Weak<Pool>) {
    let mut retry = RETRY;
    loop {
        let Some(pool) = pool.upgrade() else { return };
        let ready = u32::try_from(pool.ready.borrow().len()).unwrap_or(u32::MAX);
        if ready >= pool.target.get() {
            let waiting = tokio::time::timeout(RETRY, pool.wanted.notified());
            let _ = waiting.await;
            continue;
        }
        // Whoever finds nothing ready in a crowd makes what it needs in its turn.
        let since_take = pool.last_take.get().elapsed();
        let crowded = pool.grounds.is_crowded() && since_take < CROWD;
        let in_use = pool.grounds.is_busy() || since_take < BEFORE_USE;
        if crowded || (ready > 0 && in_use) {
            tokio::time::sleep(YIELD).await;
            continue;
        }
        match pool.make().await {
            Ok(sandbox) => {
                pool.ready.borrow_mut().push_back(sandbox);
                retry = RETRY;
            }
            Err(error) => {
                pool.grounds.note(&error);
                tokio::time::sleep(retry).await;
                retry = RETRY_MAX.min(retry * 2);
            }
        }
    }
}

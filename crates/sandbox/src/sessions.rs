//! The keeper of sessions: pools, sessions, the places of their calls, their contexts and files.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    rc::{Rc, Weak},
    time::{Duration, Instant},
};

use casemate_frames::Waiting;
use casemate_model::{ContextId, InputDigest, SessionId, Text};
use casemate_ports::{
    Chunk, Connection, Entry, Gone, HandsOver, KeeperError, Kind, Owner, PlaceSpec, PoolSize,
    PoolStatus, SessionKeeper, SessionSpec, SessionStatus,
};
use tokio::sync::mpsc;

use crate::{
    place::{Inner, Place},
    pool::Pool,
    session::SessionSandbox,
};

mod context;
mod files;
mod grounds;
mod house;
mod networks;
mod pack;
mod turn;

use self::{context::Context, networks::Networks};
pub(crate) use self::{
    context::ContextTurn,
    grounds::{Grounds, OwnerGroups},
    turn::Turn,
};

/// The most sessions alive at once.
const MAX_SESSIONS: usize = 10_000;
/// The most sessions that ended and are remembered.
const MAX_REMEMBERED: usize = 10_000;
/// The most contexts of one session.
const MAX_CONTEXTS: usize = 64;
/// After how long a session that waits takes less memory, at the price of a slower first call.
const SLIM_AFTER: Duration = Duration::from_secs(10);
/// How many of them do so in one tick.
const SLIM_AT_ONCE: usize = 4;
/// How often the end looks whether everything is gone, and how long it waits in between.
const END_LOOKS: u32 = 100;
const END_PAUSE: Duration = Duration::from_millis(20);
/// How often lifetimes are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Keeps sessions in sandboxes of the `namespace` tier. The process that uses it must have one thread, and run it in a
/// `LocalSet`. When it is dropped, all sandboxes are.
#[derive(Debug)]
pub struct NamespaceSessions {
    house: Rc<House>,
}

/// Everything that is kept.
#[derive(Debug)]
struct House {
    grounds: Rc<Grounds>,
    handover: Option<Rc<dyn HandsOver>>,
    pools: RefCell<HashMap<(Owner, Kind), Rc<Pool>>>,
    sessions: RefCell<HashMap<SessionId, Rc<Session>>>,
    ended: RefCell<VecDeque<SessionStatus>>,
}

/// A session that is alive.
#[derive(Debug)]
pub(crate) struct Session {
    spec: SessionSpec,
    sandbox: Rc<SessionSandbox>,
    pool: Rc<Pool>,
    opened: Instant,
    used: Cell<Instant>,
    calls: Cell<u64>,
    /// Whether what goes on in it must stay the only thing.
    alone: Cell<bool>,
    warm: bool,
    slim: Cell<bool>,
    /// Whether a place is being made ahead.
    preparing: Cell<bool>,
    contexts: RefCell<HashMap<ContextId, Rc<Context>>>,
    networks: Networks,
    house: Weak<House>,
}

impl NamespaceSessions {
    /// A keeper for this host, whose images are in `images`. Removes what keepers that died left behind.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn new(images: &std::path::Path) -> Result<Self, KeeperError> {
        Self::of(images, None)
    }

    /// The same, with calls that have ways out, whose sockets `handover` brings to whoever serves them.
    ///
    /// # Errors
    /// As [`NamespaceSessions::new`].
    pub fn handing_over(
        images: &std::path::Path,
        handover: Rc<dyn HandsOver>,
    ) -> Result<Self, KeeperError> {
        Self::of(images, Some(handover))
    }

    fn of(
        images: &std::path::Path,
        handover: Option<Rc<dyn HandsOver>>,
    ) -> Result<Self, KeeperError> {
        let house = Rc::new(House {
            grounds: Rc::new(Grounds::new(images)?),
            handover,
            pools: RefCell::default(),
            sessions: RefCell::default(),
            ended: RefCell::default(),
        });
        tokio::task::spawn_local(keep_time(Rc::downgrade(&house)));
        Ok(Self { house })
    }

    /// Ends everything: sessions, pools, what is being made; and waits, for a moment at most, until nothing of it is left on the
    /// host.
    pub async fn end(&self) {
        let ids: Vec<_> = self.house.sessions.borrow().keys().copied().collect();
        for id in ids {
            self.house.end(id, Gone::Destroyed);
        }
        self.house.pools.borrow_mut().clear();
        for _ in 0..END_LOOKS {
            if self.house.grounds.clean() {
                return;
            }
            tokio::time::sleep(END_PAUSE).await;
        }
    }

    /// How many sessions are alive.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.house.sessions.borrow().len()
    }
}

/// Ends what has outlived its time.
async fn keep_time(house: Weak<House>) {
    loop {
        tokio::time::sleep(TICK).await;
        let Some(house) = house.upgrade() else { return };
        house.grounds.clean();
        let over: Vec<_> = house
            .sessions
            .borrow()
            .values()
            .filter_map(|session| Some((session.spec.id, session.over()?)))
            .collect();
        for (id, why) in over {
            house.end(id, why);
        }
        house.slim();
        for pool in house.pools.borrow().values() {
            pool.rest();
        }
        house.pools.borrow_mut().retain(|_, pool| {
            let unused = pool.is_unused();
            if unused {
                // Else its nursery would live until somebody looks for work there.
                pool.retire();
            }
            !unused
        });
    }
}

impl Session {
    /// Why its time is over, if it is.
    fn over(&self) -> Option<Gone> {
        let ms = Duration::from_millis;
        if self.opened.elapsed() >= ms(self.spec.max_ms) {
            Some(Gone::Expired)
        } else if self.calls.get() == 0 && self.used.get().elapsed() >= ms(self.spec.idle_ms) {
            Some(Gone::Idle)
        } else {
            None
        }
    }

    /// Ends it at once, because of what a program in it did.
    fn violated(&self) {
        if let Some(house) = self.house.upgrade()
            && house.has(self.spec.id, &self.sandbox)
        {
            house.end(self.spec.id, Gone::Violation);
        }
    }

    fn status(&self) -> SessionStatus {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let running = self.calls.get() > 0;
        SessionStatus {
            id: self.spec.id,
            owner: self.spec.owner.clone(),
            gone: None,
            warm: self.warm,
            age_ms: ms(self.opened.elapsed()),
            idle_ms: if running {
                0
            } else {
                ms(self.used.get().elapsed())
            },
            calls: self.calls.get(),
            contexts: self.contexts.borrow().keys().copied().collect(),
        }
    }
}

impl SessionKeeper for NamespaceSessions {
    type Place = Place;

    async fn stock(&self, owner: Owner, kind: Kind, size: PoolSize) -> Result<(), KeeperError> {
        if size.min > size.max {
            let why = format!("a pool of at least {} and at most {}", size.min, size.max);
            return Err(KeeperError::Spec(why));
        }
        // A kind that cannot be made is refused here, not in the background.
        self.house.grounds.userland(&kind)?;
        self.house.pool(&owner, kind, Some(size));
        Ok(())
    }

    async fn pools(&self) -> Result<Vec<PoolStatus>, KeeperError> {
        let pools = self.house.pools.borrow();
        Ok(pools.values().map(|pool| pool.status()).collect())
    }

    async fn open(&self, spec: SessionSpec) -> Result<SessionStatus, KeeperError> {
        let known = self.house.sessions.borrow().contains_key(&spec.id);
        // One that was put away comes back under its name; any other name is of one sandbox.
        let comes_back = |ended: &SessionStatus| {
            spec.resumes && ended.owner == spec.owner && ended.gone != Some(Gone::Violation)
        };
        let ended = self
            .house
            .ended
            .borrow()
            .iter()
            .any(|ended| ended.id == spec.id && !comes_back(ended));
        if known || ended {
            return Err(KeeperError::Spec(format!(
                "there has been a session {}",
                spec.id
            )));
        }
        let alive = self.house.sessions.borrow().len();
        if alive >= MAX_SESSIONS {
            return Err(KeeperError::Quota {
                quota: "sessions".into(),
                of: "this host".into(),
                limit: MAX_SESSIONS as u64,
                used: alive as u64,
            });
        }
        let pool = self.house.pool(&spec.owner, spec.kind, None);
        let (sandbox, warm) = pool.take().await?;
        let (id, now) = (spec.id, Instant::now());
        if self.house.sessions.borrow().contains_key(&id) {
            return Err(KeeperError::Spec(format!("there is a session {id} by now")));
        }
        self.house.ended.borrow_mut().retain(|ended| ended.id != id);
        let session = Rc::new(Session {
            spec,
            sandbox: Rc::clone(&sandbox),
            pool,
            opened: now,
            used: Cell::new(now),
            calls: Cell::new(0),
            alone: Cell::new(false),
            warm,
            slim: Cell::new(false),
            preparing: Cell::new(false),
            contexts: RefCell::default(),
            networks: Networks::default(),
            house: Rc::downgrade(&self.house),
        });
        let status = session.status();
        self.house.sessions.borrow_mut().insert(id, session);
        let house = Rc::downgrade(&self.house);
        tokio::task::spawn_local(async move {
            // A reactor that fails ends everything anyway.
            drop(sandbox.first.ended().await);
            if let Some(house) = house.upgrade()
                && house.has(id, &sandbox)
            {
                house.end(id, Gone::Lost);
            }
        });
        Ok(status)
    }

    async fn sessions(&self) -> Result<Vec<SessionStatus>, KeeperError> {
        let ended = self.house.ended.borrow().clone();
        let alive = self.house.sessions.borrow();
        let alive = alive.values().map(|session| session.status());
        Ok(alive.chain(ended).collect())
    }

    async fn close(&self, session: SessionId, owner: Owner) -> Result<(), KeeperError> {
        self.house.session(session, &owner)?;
        if let Some(session) = self.house.end(session, Gone::Destroyed) {
            let ended = session.sandbox.first.ended().await;
            ended.map_err(|error| KeeperError::Lost(error.to_string()))?;
        }
        Ok(())
    }

    async fn place(&self, spec: PlaceSpec) -> Result<Place, KeeperError> {
        crate::keeper::check_names(&spec.inputs)?;
        let session = self.house.session(spec.session, &spec.owner)?;
        let turn = Turn::take(&session)?;
        let limits = spec.limits.at_most(&session.spec.kind.limits);
        let way = self.house.asked(&session, spec.way)?;
        if let Some(context) = spec.context {
            if !spec.inputs.is_empty() {
                let why = "a context takes no input files: write them into the session first";
                return Err(KeeperError::Spec(why.into()));
            }
            let turn_there = session.turn_in(context).await?;
            return Ok(Place {
                inner: Inner::Context(turn_there),
                inputs: Vec::new(),
                limits,
                way,
                turn,
            });
        }
        let sandbox = &session.sandbox;
        let spare = if spec.inputs.is_empty() {
            sandbox.take_spare()
        } else {
            None
        };
        let (prepared, inputs) = match spare {
            Some(spare) => (spare, Vec::new()),
            None => {
                let wanted = sandbox.for_any(Waiting::Lean);
                let made = sandbox.prepare(wanted, spec.inputs).await;
                made.map_err(|error| self.house.explain(spec.session, &spec.owner, error))?
            }
        };
        if let Some(namespace) = prepared.namespace() {
            session.networks.add(&namespace);
        }
        Ok(Place {
            inner: Inner::Own(Box::new(prepared), Rc::clone(sandbox)),
            inputs,
            limits,
            way,
            turn,
        })
    }

    async fn open_context(
        &self,
        session: SessionId,
        owner: Owner,
        context: ContextId,
    ) -> Result<(), KeeperError> {
        let found = self.house.session(session, &owner)?;
        if found.alone.get() {
            return Err(KeeperError::Busy(session));
        }
        if !found.sandbox.python() {
            let why = "this session has no interpreter for contexts";
            return Err(KeeperError::Spec(why.into()));
        }
        let open = found.contexts.borrow().len();
        if open >= MAX_CONTEXTS {
            return Err(KeeperError::Quota {
                quota: "contexts".into(),
                of: session.to_string(),
                limit: MAX_CONTEXTS as u64,
                used: open as u64,
            });
        }
        if found.contexts.borrow().contains_key(&context) {
            return Err(KeeperError::Spec(format!(
                "there is a context {context} already"
            )));
        }
        found.used.set(Instant::now());
        let opened = Context::open(&found.sandbox).await;
        let opened = opened.map_err(|error| self.house.explain(session, &owner, error))?;
        if let Some(namespace) = &opened.namespace {
            found.networks.add(namespace);
        }
        found.contexts.borrow_mut().insert(context, opened);
        Ok(())
    }

    async fn close_context(
        &self,
        session: SessionId,
        owner: Owner,
        context: ContextId,
    ) -> Result<(), KeeperError> {
        let found = self.house.session(session, &owner)?;
        let closed = found.contexts.borrow_mut().remove(&context);
        match closed {
            Some(closed) => {
                closed.close();
                Ok(())
            }
            None => Err(KeeperError::NoContext { session, context }),
        }
    }

    async fn write_file(
        &self,
        session: SessionId,
        owner: Owner,
        path: Text,
        content: mpsc::Receiver<Chunk>,
    ) -> Result<InputDigest, KeeperError> {
        let (sandbox, _turn) = self.house.for_files(session, &owner)?;
        files::write(&sandbox, path, content)
            .await
            .map_err(|error| self.house.explain(session, &owner, error))
    }

    async fn read_file(
        &self,
        session: SessionId,
        owner: Owner,
        path: Text,
    ) -> Result<(u64, mpsc::Receiver<Vec<u8>>), KeeperError> {
        let (sandbox, turn) = self.house.for_files(session, &owner)?;
        files::read(sandbox, turn, path)
            .await
            .map_err(|error| self.house.explain(session, &owner, error))
    }

    async fn list_files(
        &self,
        session: SessionId,
        owner: Owner,
        path: Text,
    ) -> Result<Vec<Entry>, KeeperError> {
        let (sandbox, _turn) = self.house.for_files(session, &owner)?;
        files::list(&sandbox, path)
            .await
            .map_err(|error| self.house.explain(session, &owner, error))
    }

    async fn remove_file(
        &self,
        session: SessionId,
        owner: Owner,
        path: Text,
    ) -> Result<(), KeeperError> {
        let (sandbox, _turn) = self.house.for_files(session, &owner)?;
        files::remove(&sandbox, path)
            .await
            .map_err(|error| self.house.explain(session, &owner, error))
    }

    async fn pack(
        &self,
        session: SessionId,
        owner: Owner,
    ) -> Result<(u64, mpsc::Receiver<Chunk>), KeeperError> {
        let found = self.house.session(session, &owner)?;
        let turn = Turn::alone(&found)?;
        pack::pack(Rc::clone(&found.sandbox), turn)
            .await
            .map_err(|error| self.house.explain(session, &owner, error))
    }

    async fn unpack(
        &self,
        session: SessionId,
        owner: Owner,
        content: mpsc::Receiver<Chunk>,
    ) -> Result<(), KeeperError> {
        let found = self.house.session(session, &owner)?;
        let _turn = Turn::alone(&found)?;
        let memory_bytes = found.spec.kind.quotas.session.memory_bytes;
        pack::unpack(&found.sandbox, memory_bytes, content)
            .await
            .map_err(|error| self.house.explain(session, &owner, error))
    }

    async fn connect(
        &self,
        session: SessionId,
        owner: Owner,
        port: u16,
    ) -> Result<Connection, KeeperError> {
        let (sandbox, turn) = self.house.for_files(session, &owner)?;
        let namespace = self.house.network_of(session, &owner, port)?;
        files::connect(sandbox, turn, port, namespace)
            .await
            .map_err(|error| self.house.explain(session, &owner, error))
    }
}

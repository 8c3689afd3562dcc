//! Sessions as an arena: each call in a session of its own, or all in one.

use std::{cell::RefCell, path::Path, rc::Rc, time::Duration};

use casemate_model::{Artefact, ContextId, Digest, SessionId};
use casemate_ports::{
    ArtefactSink, CallIo, Command, Ended, ImageRef, Keeper, KeeperError, Kind, Owner, PlaceSpec,
    PoolSize, Quota, Quotas, Ready, Sandbox, SandboxSpec, SessionKeeper as _, SessionSpec,
};
use tokio::time::Instant;

use super::{Arena, Attempt, Way, attempt::PYTHON, random, taking};
use crate::{NamespaceSessions, Place};

/// How long a sandbox may take until it stands ready in its pool.
const STOCKING: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Longer than any attempt.
const LIFE_MS: u64 = 600_000;

/// More than any attempt may use.
const QUOTA: Quota = Quota {
    memory_bytes: 8 << 30,
    processes: 8_192,
    cpu_milli: 16_000,
    calls: 64,
};

/// Sessions in which one attempt is let loose. The process must have one thread and run in a `LocalSet`.
#[derive(Debug)]
pub struct Sessions {
    house: Rc<House>,
}

#[derive(Debug)]
struct House {
    keeper: NamespaceSessions,
    way: Way,
    owner: Owner,
    /// The session of all calls, if they share one.
    shared: Option<RefCell<Option<Shared>>>,
    kinds: RefCell<Vec<Kind>>,
    opened: RefCell<Vec<SessionId>>,
}

/// A session that several calls share.
#[derive(Debug)]
struct Shared {
    session: SessionId,
    /// While a call is there, no place is made for the next: what appears during an attempt is the attempt's.
    _holder: Place,
}

impl Sessions {
    /// Sessions for `attempt`, run in this `way`.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn new(attempt: &Attempt, way: Way) -> Result<Self, KeeperError> {
        let house = House {
            // No image is used.
            keeper: NamespaceSessions::new(Path::new("/nonexistent"))?,
            way,
            owner: Owner {
                tenant: "tenant".into(),
                agent: "agent".into(),
            },
            shared: attempt.shares_a_session().then(RefCell::default),
            kinds: RefCell::default(),
            opened: RefCell::default(),
        };
        Ok(Self {
            house: Rc::new(house),
        })
    }
}

impl Arena for Sessions {
    fn way(&self) -> Way {
        self.house.way
    }

    async fn clear(&self) -> Result<(), KeeperError> {
        let house = &self.house;
        if let Some(shared) = &house.shared {
            shared.borrow_mut().take();
        }
        for session in house.opened.take() {
            house.close(session).await?;
        }
        for kind in house.kinds.take() {
            house.stock(kind, 0).await?;
        }
        Ok(())
    }
}

impl Keeper for Sessions {
    type Sandbox = Visit;

    async fn create(&self, spec: SandboxSpec) -> Result<Visit, KeeperError> {
        let house = &self.house;
        let kind = Kind {
            image: ImageRef::Host,
            profile: Digest::of(b"escape"),
            python: Path::new(PYTHON).exists(),
            limits: spec.limits,
            quotas: Quotas {
                session: QUOTA,
                agent: QUOTA,
                tenant: QUOTA,
            },
        };
        let session = house.session(kind).await?;
        let context = match house.way {
            Way::Context => Some(house.context(session).await?),
            Way::Once | Way::Cold | Way::Warm => None,
        };
        let place = house.keeper.place(PlaceSpec {
            session,
            owner: house.owner.clone(),
            limits: spec.limits,
            inputs: spec.inputs,
            context,
        });
        Ok(Visit {
            place: place.await?,
            session,
            house: Rc::clone(house),
        })
    }
}

impl House {
    /// The session of a call.
    async fn session(&self, kind: Kind) -> Result<SessionId, KeeperError> {
        let Some(shared) = &self.shared else {
            return self.open(kind).await;
        };
        if let Some(shared) = shared.borrow().as_ref() {
            return Ok(shared.session);
        }
        let session = self.open(kind).await?;
        let holder = self.keeper.place(PlaceSpec {
            session,
            owner: self.owner.clone(),
            limits: kind.limits,
            inputs: Vec::new(),
            context: None,
        });
        let holder = holder.await?;
        shared.borrow_mut().replace(Shared {
            session,
            _holder: holder,
        });
        Ok(session)
    }

    async fn open(&self, kind: Kind) -> Result<SessionId, KeeperError> {
        if !self.kinds.borrow().contains(&kind) {
            self.kinds.borrow_mut().push(kind);
        }
        let from_pool = self.way == Way::Warm;
        if from_pool {
            self.stock(kind, 1).await?;
            self.stands_ready(kind).await?;
        }
        let id = random::session_id();
        self.opened.borrow_mut().push(id);
        let spec = SessionSpec {
            id,
            owner: self.owner.clone(),
            kind,
            idle_ms: LIFE_MS,
            max_ms: LIFE_MS,
        };
        let opened = self.keeper.open(spec).await?;
        if from_pool {
            // No other is made meanwhile: what appears during an attempt is the attempt's.
            self.stock(kind, 0).await?;
        }
        if opened.warm == from_pool {
            Ok(id)
        } else {
            Err(KeeperError::Lost(format!(
                "the session is not {}",
                self.way
            )))
        }
    }

    async fn stock(&self, kind: Kind, count: u32) -> Result<(), KeeperError> {
        let size = PoolSize {
            min: count,
            max: count,
            idle_ms: LIFE_MS,
        };
        self.keeper.stock(self.owner.clone(), kind, size).await
    }

    async fn stands_ready(&self, kind: Kind) -> Result<(), KeeperError> {
        let start = Instant::now();
        while start.elapsed() < STOCKING {
            let pools = self.keeper.pools().await?;
            if pools.iter().any(|pool| pool.kind == kind && pool.ready > 0) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(KeeperError::Lost("no sandbox came into the pool".into()))
    }

    async fn context(&self, session: SessionId) -> Result<ContextId, KeeperError> {
        let context = random::context_id();
        let opened = self
            .keeper
            .open_context(session, self.owner.clone(), context);
        opened.await?;
        Ok(context)
    }

    async fn close(&self, session: SessionId) -> Result<(), KeeperError> {
        self.keeper.close(session, self.owner.clone()).await
    }
}

/// A call in a session.
#[derive(Debug)]
pub struct Visit {
    place: Place,
    session: SessionId,
    house: Rc<House>,
}

impl Sandbox for Visit {
    async fn ready(&mut self) -> Result<Ready, KeeperError> {
        self.place.ready().await
    }

    async fn run(&mut self, command: Command, io: CallIo) -> Result<Ended, KeeperError> {
        self.place.run(command, io).await
    }

    /// Takes files out as a caller of the session does, and destroys the session unless others share it.
    async fn collect(self, sink: &mut dyn ArtefactSink) -> Result<Vec<Artefact>, KeeperError> {
        let Self {
            place,
            session,
            house,
        } = self;
        drop(place);
        let taken = taking::take(&house.keeper, session, &house.owner, sink).await?;
        if house.shared.is_none() {
            house
                .opened
                .borrow_mut()
                .retain(|opened| *opened != session);
            house.close(session).await?;
        }
        Ok(taken)
    }
}

//! Sessions as an arena: each call in a session of its own, or all in one.

use std::{
    cell::{Cell, RefCell},
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use casemate_model::{Artefact, ContextId, Digest, Limits, SessionId};
use casemate_ports::{
    ArtefactSink, CallIo, Command, Ended, HandsOver, ImageRef, InputFile, Keeper, KeeperError,
    Kind, Owner, PlaceSpec, PoolSize, Quota, Quotas, Ready, Sandbox, SandboxSpec,
    SessionKeeper as _, SessionSpec, Way as CallsWay, WayOut,
};
use tokio::time::Instant;

use super::{Arena, Attempt, Way, attempt::PYTHON, random, takers::Takers, taking};
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

/// Sessions in which one attempt is let loose, in one way after the other. The process must have one thread and run in a
/// `LocalSet`.
#[derive(Debug)]
pub(super) struct Sessions {
    house: Rc<House>,
    /// A place in a session that is nobody's business. While it is there, nothing changes in that session.
    bystander: RefCell<Option<Place>>,
}

/// The same, for one way.
#[derive(Debug)]
pub(super) struct InOneWay {
    house: Rc<House>,
    way: Way,
    /// The session of all calls, if they share one.
    shared: Option<Cell<Option<SessionId>>>,
}

#[derive(Debug)]
struct House {
    keeper: NamespaceSessions,
    takers: Rc<Takers>,
    owner: Owner,
    kind: Kind,
    opened: RefCell<Vec<SessionId>>,
}

impl Sessions {
    /// Sessions for `attempt`. One of them is nobody's business: it must be there afterwards as it was.
    pub(super) async fn open(attempt: &Attempt) -> Result<Self, KeeperError> {
        let kind = Kind {
            image: ImageRef::Host,
            profile: Digest::of(b"escape"),
            python: Path::new(PYTHON).exists(),
            limits: Limits {
                // Other calls beside the attempt may take longer than it.
                wall_ms: LIFE_MS,
                ..attempt.limits
            },
            quotas: Quotas {
                session: QUOTA,
                agent: QUOTA,
                tenant: QUOTA,
            },
            way: attempt.way_out().map(|way_out| way_out.ports),
            // What an attempt that is refused leaves behind is to be seen.
            violations: None,
        };
        let takers = Rc::new(Takers::default());
        let handover = Rc::clone(&takers) as Rc<dyn HandsOver>;
        let house = Rc::new(House {
            // No image is used.
            keeper: NamespaceSessions::handing_over(Path::new("/nonexistent"), handover)?,
            takers,
            owner: Owner {
                tenant: "tenant".into(),
                agent: "agent".into(),
            },
            kind,
            opened: RefCell::default(),
        });
        let session = house.open(Way::Cold).await?;
        let limits = house.kind.limits;
        let place = house.place(session, limits, Vec::new(), None, None).await?;
        Ok(Self {
            house,
            bystander: RefCell::new(Some(place)),
        })
    }

    /// The arena for one way.
    pub(super) fn in_one_way(&self, attempt: &Attempt, way: Way) -> InOneWay {
        InOneWay {
            house: Rc::clone(&self.house),
            way,
            shared: attempt.shares_a_session().then(Cell::default),
        }
    }

    /// Destroys everything.
    pub(super) async fn close(&self) -> Result<(), KeeperError> {
        self.bystander.borrow_mut().take();
        self.house.stock(0).await?;
        self.house.close_all_but(0).await
    }
}

impl Arena for InOneWay {
    fn way(&self) -> Way {
        self.way
    }

    fn processes(sandbox: &Visit) -> Option<PathBuf> {
        let pid = sandbox.place.first()?.as_raw_nonzero();
        fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
    }

    fn visits_to_neighbour(&self) -> Vec<String> {
        self.house.takers.visits_to_first()
    }

    async fn clear(&self) -> Result<(), KeeperError> {
        self.house.takers.forget();
        if let Some(shared) = &self.shared {
            shared.take();
        }
        self.house.close_all_but(1).await
    }
}

impl Keeper for InOneWay {
    type Sandbox = Visit;

    async fn create(&self, spec: SandboxSpec) -> Result<Visit, KeeperError> {
        let house = &self.house;
        let session = self.session().await?;
        let context = match self.way {
            Way::Context => Some(house.context(session).await?),
            Way::Once | Way::Gvisor | Way::Cold | Way::Warm => None,
        };
        Ok(Visit {
            place: house
                .place(session, spec.limits, spec.inputs, context, spec.way_out)
                .await?,
            session,
            stays: self.shared.is_some(),
            house: Rc::clone(house),
        })
    }
}

impl InOneWay {
    /// The session of a call.
    async fn session(&self) -> Result<SessionId, KeeperError> {
        if let Some(session) = self.shared.as_ref().and_then(Cell::get) {
            return Ok(session);
        }
        let session = self.house.open(self.way).await?;
        if let Some(shared) = &self.shared {
            shared.set(Some(session));
        }
        Ok(session)
    }
}

impl House {
    async fn open(&self, way: Way) -> Result<SessionId, KeeperError> {
        let from_pool = way == Way::Warm;
        if from_pool {
            self.stock(1).await?;
            self.stands_ready().await?;
        }
        let id = random::session_id();
        let spec = SessionSpec {
            id,
            owner: self.owner.clone(),
            kind: self.kind,
            idle_ms: LIFE_MS,
            max_ms: LIFE_MS,
            resumes: false,
        };
        let opened = self.keeper.open(spec).await?;
        self.opened.borrow_mut().push(id);
        if from_pool {
            // No other is made meanwhile, which the attempt could be taken for.
            self.stock(0).await?;
        }
        if opened.warm == from_pool {
            Ok(id)
        } else {
            Err(KeeperError::Lost(format!("the session is not {way}")))
        }
    }

    async fn stock(&self, count: u32) -> Result<(), KeeperError> {
        let size = PoolSize {
            min: count,
            max: count,
            idle_ms: LIFE_MS,
        };
        self.keeper.stock(self.owner.clone(), self.kind, size).await
    }

    async fn stands_ready(&self) -> Result<(), KeeperError> {
        let start = Instant::now();
        while start.elapsed() < STOCKING {
            if self.keeper.pools().await?.iter().any(|pool| pool.ready > 0) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(KeeperError::Lost("no sandbox came into the pool".into()))
    }

    async fn place(
        &self,
        session: SessionId,
        limits: Limits,
        inputs: Vec<InputFile>,
        context: Option<ContextId>,
        way_out: Option<WayOut>,
    ) -> Result<Place, KeeperError> {
        let way = |way_out: WayOut| CallsWay {
            authority: way_out.authority,
            // Sockets stay in this process.
            handover: PathBuf::new(),
            decision: random::decision_id(),
        };
        let spec = PlaceSpec {
            session,
            owner: self.owner.clone(),
            limits,
            inputs,
            context,
            way: way_out.map(way),
        };
        self.keeper.place(spec).await
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
        self.opened.borrow_mut().retain(|opened| *opened != session);
        self.keeper.close(session, self.owner.clone()).await
    }

    /// Closes all but the first `count`.
    async fn close_all_but(&self, count: usize) -> Result<(), KeeperError> {
        let opened = self.opened.borrow().clone();
        for session in opened.into_iter().skip(count) {
            self.close(session).await?;
        }
        Ok(())
    }
}

/// A call in a session.
#[derive(Debug)]
pub(super) struct Visit {
    place: Place,
    session: SessionId,
    /// Whether the session stays when the call is over.
    stays: bool,
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
            stays,
            house,
        } = self;
        drop(place);
        let taken = taking::take(&house.keeper, session, &house.owner, sink).await?;
        if !stays {
            house.close(session).await?;
        }
        Ok(taken)
    }
}

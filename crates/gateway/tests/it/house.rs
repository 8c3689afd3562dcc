//! Sessions on a fake keeper, with a ledger, keys and stores that are real.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use casemate_authority::{Budgets, Position, SwitchKind, Switchboard, Throw};
use casemate_bundle::{PolicyStore, PolicyStoreError};
use casemate_gateway::{
    Approver, Approvers, Ask, Bounds, Caller, Capacity, Clock, Code, Demand, Entropy, Images, Key,
    NewCall, NotRenewed, OpenAnswerError, Parts, Policies, Proposed, Renewal, SessionStores,
    Sessions, SignedAnswer, Stores, Told,
};
use casemate_model::{ContextId, Digest, Limits, Reason, SessionId, Within};
use casemate_policy::{
    Authenticator, Claims, Governing, Profile, RoutePolicy, Syntax, Token, Verified,
};
use casemate_ports::{CHANNEL_CAPACITY, CallIo, Cell, Command, Control, Echo, Event, Owner};
use casemate_store::{PausedFiles, SqliteStore, StoreError};
use tokio::sync::{mpsc, oneshot};

use crate::{
    fake::TestClock,
    no_egress::NoEgress,
    session_keeper::FakeSessions,
    world::{AgentStores, World},
};

impl SessionStores for AgentStores {
    async fn agents(&self) -> Result<Vec<String>, StoreError> {
        self.0.agents()
    }
}

/// Stores that are opened once.
pub(crate) struct CachedStores {
    inner: AgentStores,
    open: tokio::sync::Mutex<BTreeMap<String, Arc<SqliteStore>>>,
}

impl Stores for CachedStores {
    type Store = Arc<SqliteStore>;

    async fn open(&self, agent: &str) -> Result<Arc<SqliteStore>, StoreError> {
        let mut open = self.open.lock().await;
        if let Some(store) = open.get(agent) {
            return Ok(Arc::clone(store));
        }
        let store = Arc::new(self.inner.open(agent).await?);
        open.insert(agent.to_owned(), Arc::clone(&store));
        Ok(store)
    }

    async fn find(&self, agent: &str) -> Result<Option<Arc<SqliteStore>>, StoreError> {
        if !self.inner.0.agents()?.iter().any(|name| name == agent) {
            return Ok(None);
        }
        self.open(agent).await.map(Some)
    }
}

impl SessionStores for CachedStores {
    async fn agents(&self) -> Result<Vec<String>, StoreError> {
        self.inner.agents().await
    }
}

#[derive(Debug)]
pub(crate) struct OneImage;

impl Images for OneImage {
    fn digest(&self, name: &str) -> Option<Digest> {
        (name == "data").then(|| Digest::of(b"data"))
    }
}

/// Whose notes are a name, a newline and a text. With a store, those in it, and real signatures.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeApprovers(
    pub(crate) Arc<Mutex<Vec<Approver>>>,
    pub(crate) Option<PolicyStore>,
);

fn enlisted(approver: &casemate_bundle::Approver) -> Approver {
    Approver {
        user: approver.user.clone(),
        roles: approver.roles.clone(),
        key: approver.key.to_string(),
    }
}

impl Approvers for FakeApprovers {
    fn open(
        &self,
        answer: &SignedAnswer,
        now_ms: u64,
    ) -> Result<(String, Approver), OpenAnswerError> {
        if let Some(store) = &self.1 {
            let opened = store.open_answer(answer, now_ms);
            let (text, approver) = opened.map_err(|error| match error {
                PolicyStoreError::Answer(error) => OpenAnswerError::NotCounted(error.to_string()),
                error => OpenAnswerError::Unavailable(error.to_string()),
            })?;
            return Ok((text, enlisted(&approver)));
        }
        let not_counted = |why: &str| OpenAnswerError::NotCounted(why.to_owned());
        let SignedAnswer::Note { note } = answer else {
            return Err(not_counted("it is no note"));
        };
        let (user, text) = note
            .split_once('\n')
            .ok_or_else(|| not_counted("it is no note"))?;
        let all = self.0.lock().unwrap();
        let found = all.iter().find(|approver| approver.user == user);
        let approver = found
            .cloned()
            .ok_or_else(|| not_counted("nobody trusted signed it"))?;
        Ok((text.to_owned(), approver))
    }

    fn all(&self) -> Result<Vec<Approver>, String> {
        if let Some(store) = &self.1 {
            let list = store.approvers().map_err(|error| error.to_string())?;
            return Ok(list.all().iter().map(enlisted).collect());
        }
        Ok(self.0.lock().unwrap().clone())
    }
}

/// Renews everybody's claims but those of whoever was barred, unless it cannot tell.
#[derive(Clone, Debug)]
pub(crate) struct Renews {
    clock: TestClock,
    barred: Arc<Mutex<Vec<String>>>,
    unsure: Arc<AtomicBool>,
}

impl Renewal for Renews {
    fn until_ms(&self, _: &Token, _: Authenticator) -> u64 {
        u64::MAX
    }

    fn renew(&self, token: &Token, by: Authenticator) -> Result<Verified<Claims>, NotRenewed> {
        if self.unsure.load(Ordering::Relaxed) {
            return Err(NotRenewed::CannotTell);
        }
        let barred = self.barred.lock().unwrap().contains(&token.subject);
        let claims = Claims {
            expires_at_ms: *self.clock.0.lock().unwrap() + 60_000,
            ..Claims::from(token)
        };
        match barred {
            true => Err(NotRenewed::Gone),
            false => Ok(Verified::vouch(claims, by)),
        }
    }
}

pub(crate) type Rooms = Sessions<FakeSessions, CachedStores>;

/// A world with a keeper of sessions.
pub(crate) struct House {
    pub(crate) world: World,
    pub(crate) keeper: FakeSessions,
    pub(crate) profile: Profile,
    /// Those of other routes.
    pub(crate) others: Vec<Profile>,
    pub(crate) capacity: Capacity,
    pub(crate) switches: Switchboard,
    pub(crate) approvers: FakeApprovers,
    pub(crate) barred: Arc<Mutex<Vec<String>>>,
    /// That it cannot be told whose claims can be renewed.
    pub(crate) unsure: Arc<AtomicBool>,
    gateways: AtomicUsize,
    /// Done at each step of a call.
    pub(crate) when_asked: WhenAsked,
}

/// Throws a switch, for whichever tenant.
pub(crate) fn throw(switches: &Switchboard, kind: SwitchKind, name: &str, to: Position) {
    let thrown = switches.throw(Throw {
        kind,
        name: name.into(),
        tenant: None,
        to,
        who: "an operator".into(),
        reason: "an incident".into(),
        at_ms: 1,
    });
    thrown.unwrap();
}

pub(crate) type WhenAsked = Arc<Mutex<Option<Box<dyn FnMut() + Send>>>>;

/// Does what a test wants done at each step of a call that can be seen from outside: whenever the policies, the time or chance are asked for,
/// and whenever the keeper is.
pub(crate) fn step(when_asked: &WhenAsked) {
    if let Some(asked) = when_asked.lock().unwrap().as_mut() {
        asked();
    }
}

/// A clock, or chance, that is noticed.
#[derive(Clone)]
struct Noticed<T>(T, WhenAsked);

impl<T: std::fmt::Debug> std::fmt::Debug for Noticed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Clock> Clock for Noticed<T> {
    fn now_ms(&self) -> u64 {
        step(&self.1);
        self.0.now_ms()
    }
}

impl<T: Entropy> Entropy for Noticed<T> {
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        step(&self.1);
        self.0.fill(bytes)
    }
}

/// Policies that never change, and that are noticed.
struct Asked {
    governing: Arc<Governing>,
    asked: WhenAsked,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asked")
    }
}

impl Policies for Asked {
    fn current(&self) -> Result<Arc<Governing>, String> {
        step(&self.asked);
        Ok(Arc::clone(&self.governing))
    }
}

impl House {
    pub(crate) fn new(mode: &str) -> Self {
        Self::with(mode, "")
    }

    /// With more lines at the end of the profile.
    pub(crate) fn with(mode: &str, more: &str) -> Self {
        let world = World::new();
        let when_asked = WhenAsked::default();
        Self {
            switches: Switchboard::open(&world.dir.path().join("switches")).unwrap(),
            world,
            keeper: FakeSessions::noticed(&when_asked),
            profile: profile(mode, more),
            others: Vec::new(),
            approvers: FakeApprovers::default(),
            barred: Arc::default(),
            unsure: Arc::default(),
            gateways: AtomicUsize::new(0),
            when_asked,
            capacity: Capacity {
                bounds: Bounds {
                    calls: 64,
                    queued: 20_000,
                },
                queue_timeout_ms: 60_000,
            },
        }
    }

    /// Throws a switch, for whichever tenant.
    pub(crate) fn throw(&self, kind: SwitchKind, name: &str, to: Position) {
        throw(&self.switches, kind, name, to);
    }

    /// A gateway that starts.
    pub(crate) fn rooms(&self) -> Arc<Rooms> {
        let stores = CachedStores {
            inner: self.world.stores(),
            open: tokio::sync::Mutex::default(),
        };
        // One process has them at a time, and tests have several gateways in one.
        let number = self.gateways.fetch_add(1, Ordering::Relaxed);
        let budgets = self.world.dir.path().join(format!("budgets{number}"));
        let asked = || Arc::clone(&self.when_asked);
        let clock = Noticed(self.world.clock.clone(), asked());
        Arc::new(Sessions::new(Parts {
            keeper: self.keeper.clone(),
            stores,
            paused: PausedFiles::new(self.world.state()),
            journal: self.world.journal_by(Box::new(clock.clone())),
            clock: Box::new(clock),
            entropy: Box::new(Noticed(self.world.entropy.clone(), asked())),
            policies: Box::new(Asked {
                governing: Arc::new(self.governing()),
                asked: asked(),
            }),
            images: Box::new(OneImage),
            board: Arc::clone(self.switches.board()),
            budgets: Budgets::open(&budgets).unwrap(),
            approvers: Box::new(self.approvers.clone()),
            egress: Arc::new(NoEgress),
            decider: None,
            renewal: Box::new(Renews {
                clock: self.world.clock.clone(),
                barred: Arc::clone(&self.barred),
                unsure: Arc::clone(&self.unsure),
            }),
            capacity: self.capacity,
        }))
    }

    /// The policies of its profiles.
    fn governing(&self) -> Governing {
        let profiles = [&self.profile].into_iter().chain(&self.others);
        let policies = profiles.map(|profile| RoutePolicy::of(profile.clone()).unwrap());
        policies
            .map(|policy| (policy.route.clone(), policy))
            .collect()
    }

    pub(crate) fn policy(&self) -> RoutePolicy {
        RoutePolicy::of(self.profile.clone()).unwrap()
    }

    pub(crate) fn new_call(&self, ask: Ask) -> NewCall {
        self.call_of("local", ask)
    }

    pub(crate) fn call_of(&self, tenant: &str, ask: Ask) -> NewCall {
        let claims = Claims {
            tenant: tenant.to_owned(),
            ..self.world.claims()
        };
        NewCall {
            proposed: Proposed::new(ask, Vec::new(), &self.world.clock, &self.world.entropy)
                .unwrap(),
            claims: Verified::vouch(claims, Authenticator::LocalUser),
            route: None,
            demand: Demand::default(),
            progress: Arc::default(),
        }
    }

    /// The whole life of a call whose caller waits for it.
    pub(crate) async fn call(&self, rooms: &Rooms, ask: Ask) -> Told {
        self.send(rooms, self.new_call(ask)).await.0
    }

    pub(crate) async fn send(&self, rooms: &Rooms, call: NewCall) -> (Told, usize) {
        let (ends, io) = ends();
        let Ends {
            control: _control,
            mut events,
            ..
        } = ends;
        let (tell, told) = oneshot::channel();
        let drained = async {
            let mut bytes = 0;
            while let Some(Event::Output(_, chunk)) = events.recv().await {
                bytes += chunk.len();
            }
            bytes
        };
        let life = Box::pin(rooms.call(call, io, tell));
        let ((), bytes) = tokio::join!(life, drained);
        (told.await.unwrap(), bytes)
    }

    pub(crate) fn store(&self) -> AgentStores {
        self.world.stores()
    }
}

/// The caller's ends of its streams.
pub(crate) struct Ends {
    pub(crate) _stdin: mpsc::Sender<Vec<u8>>,
    pub(crate) control: mpsc::Sender<Control>,
    pub(crate) events: mpsc::Receiver<Event>,
}

pub(crate) fn ends() -> (Ends, CallIo) {
    let (stdin_sender, stdin) = mpsc::channel(1);
    let (control_sender, control) = mpsc::channel(1);
    let (events, output) = mpsc::channel(CHANNEL_CAPACITY);
    let ends = Ends {
        _stdin: stdin_sender,
        control: control_sender,
        events: output,
    };
    let io = CallIo {
        stdin,
        control,
        events,
    };
    (ends, io)
}

pub(crate) fn owner(agent: &str) -> Owner {
    Owner {
        tenant: "local".into(),
        agent: agent.into(),
    }
}

/// Who asks in the name of this agent.
pub(crate) fn caller(house: &House, agent: &str) -> Caller {
    caller_of(house, "local", agent)
}

/// The same of this tenant.
pub(crate) fn caller_of(house: &House, tenant: &str, agent: &str) -> Caller {
    let claims = Claims {
        tenant: tenant.into(),
        ..house.world.claims()
    };
    Caller {
        claims: Verified::vouch(claims, Authenticator::LocalUser),
        agent: agent.into(),
    }
}

/// `shell` with these words in a thread.
pub(crate) fn in_thread(thread: &str, words: &[&str]) -> Ask {
    let within = Within {
        thread: Some(thread.into()),
        ..Within::default()
    };
    shell(Some(within), words)
}

pub(crate) fn in_session(session: SessionId, words: &[&str]) -> Ask {
    let within = Within {
        session: Some(session),
        ..Within::default()
    };
    shell(Some(within), words)
}

pub(crate) fn shell(within: Option<Within>, words: &[&str]) -> Ask {
    Ask {
        agent: "local".into(),
        tool: "shell".into(),
        command: Command {
            argv: words.iter().map(|word| (*word).into()).collect(),
            ..Command::default()
        },
        code: None,
        limits: Limits::default(),
        within,
        destination: None,
        key: Key::Own,
        trace_id: None,
    }
}

/// A cell of Python; its words are what the fake runs.
pub(crate) fn cell(within: Within, words: &[&str]) -> Ask {
    let source = b"1 + 1".to_vec();
    let mut ask = shell(Some(within), words);
    ask.tool = "python".into();
    ask.command.cell = Some(Cell {
        source: source.clone(),
        echo: Echo::Last,
    });
    ask.code = Some(Code {
        input: None,
        source,
    });
    ask
}

pub(crate) fn in_context(context: ContextId) -> Within {
    Within {
        context: Some(context),
        ..Within::default()
    }
}

/// The session of a call that ran, and whether it was new.
pub(crate) fn ran(told: &Told) -> (SessionId, bool) {
    match told {
        Told::Released(released) => {
            let lodging = released.facts().lodging.unwrap();
            (lodging.session.unwrap(), lodging.new_session)
        }
        other => panic!("{other:?}"),
    }
}

/// Why a call was refused.
pub(crate) fn refused(told: &Told) -> (Reason, String) {
    match told {
        Told::Refused(refused) => {
            assert!(refused.receipt().is_some(), "it is not recorded");
            let facts = refused.facts();
            (
                facts.reason(),
                facts.ruling.as_ref().unwrap().detail.clone(),
            )
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn profile(mode: &str, more: &str) -> Profile {
    let builtin = Profile::builtin_serve().unwrap();
    let source = std::str::from_utf8(builtin.source())
        .unwrap()
        .replace("session = \"thread\"", &format!("session = \"{mode}\""));
    Profile::parse(format!("{source}{more}").as_bytes(), Syntax::Toml).unwrap()
}

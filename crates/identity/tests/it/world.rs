//! A state directory, a clock that is told what time it is, and a token endpoint that counts.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use base64::Engine as _;
use casemate_authority::{Board, Position, SwitchKind, Switchboard, Throw};
use casemate_identity::{
    Binding, ClientAuth, Clock, Endpoint, EndpointError, Entropy, Form, Handle, Header, Holder,
    Identity, Issuer, Kind, LeaseId, Order, Request, Secret, Secrets, Store, TokenAnswer,
    TokenRequest, Usage,
};
use casemate_model::{DecisionId, Digest};
use casemate_store::{FileProvider, StateDir};
use tempfile::TempDir;

/// A minute that tests begin in.
pub(crate) const START_MS: u64 = 1_800_000_000_000;
pub(crate) const MINUTE_MS: u64 = 60_000;
/// Who redeems tokens, and who orders them.
pub(crate) const ME: Holder = Holder(1);
pub(crate) const ISSUER: Holder = Holder(1_000);

#[derive(Clone, Debug)]
pub(crate) struct Hands(pub(crate) Arc<AtomicU64>);

impl Hands {
    pub(crate) fn go(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }

    pub(crate) fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Clock for Hands {
    fn now_ms(&self) -> u64 {
        self.now()
    }
}

/// The kernel's.
#[derive(Debug)]
pub(crate) struct Chance;

impl Entropy for Chance {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        use std::io::Read as _;
        std::fs::File::open("/dev/urandom")?.read_exact(bytes)
    }
}

/// A token endpoint: it answers what it was told to, in order, and remembers what it was asked.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    answers: Mutex<VecDeque<(u16, String)>>,
    pub(crate) asked: Mutex<Vec<String>>,
    count: AtomicUsize,
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Desk {
    pub(crate) fn will_say(&self, status: u16, body: &str) {
        self.answers
            .lock()
            .unwrap()
            .push_back((status, body.to_owned()));
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Whoever asks waits.
    pub(crate) fn close(&self) {
        *self.closed.lock().unwrap() = true;
    }

    pub(crate) fn open(&self) {
        *self.closed.lock().unwrap() = false;
        self.opened.notify_all();
    }
}

#[derive(Clone, Debug)]
pub(crate) struct AtDesk(pub(crate) Arc<Desk>);

impl Endpoint for AtDesk {
    fn ask(&self, request: &TokenRequest) -> Result<TokenAnswer, EndpointError> {
        self.0.count.fetch_add(1, Ordering::SeqCst);
        let asked = match &request.issuer {
            Issuer::Remote => request.body.to_string(),
            Issuer::Platform(header, value) => {
                format!("{} {header}: {}", request.url, value.expose())
            }
        };
        self.0.asked.lock().unwrap().push(asked);
        let mut closed = self.0.closed.lock().unwrap();
        while *closed {
            closed = self.0.opened.wait(closed).unwrap();
        }
        drop(closed);
        let answer = self.0.answers.lock().unwrap().pop_front();
        let (status, body) = answer.ok_or_else(|| EndpointError("nobody is there".into()))?;
        Ok(TokenAnswer {
            status,
            retry_after_ms: None,
            body: body.into_bytes().into(),
        })
    }
}

/// A bearer token that lives so many minutes.
pub(crate) fn token(name: &str, minutes: u64) -> String {
    format!(
        r#"{{"access_token":"{name}","token_type":"Bearer","expires_in":{}}}"#,
        minutes * 60
    )
}

/// The same, with the next refresh token.
pub(crate) fn rotated(name: &str, next: &str, minutes: u64) -> String {
    token(name, minutes).replace('}', &format!(r#","refresh_token":"{next}"}}"#))
}

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) hands: Hands,
    pub(crate) desk: Arc<Desk>,
    pub(crate) switches: Switchboard,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of(tempfile::tempdir().unwrap())
    }

    /// Where a sync costs nothing, if there is such a place.
    pub(crate) fn in_memory() -> Self {
        Self::of(
            tempfile::tempdir_in("/dev/shm")
                .or_else(|_| tempfile::tempdir())
                .unwrap(),
        )
    }

    fn of(dir: TempDir) -> Self {
        StateDir::open(dir.path()).unwrap();
        Self {
            hands: Hands(Arc::new(AtomicU64::new(START_MS))),
            desk: Arc::default(),
            switches: Switchboard::open(&dir.path().join("switches")).unwrap(),
            dir,
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("credentials")
    }

    pub(crate) fn store(&self) -> Store {
        store_in(self.dir.path())
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity_with(Box::new(AtDesk(Arc::clone(&self.desk))))
    }

    pub(crate) fn identity_with(&self, endpoint: Box<dyn Endpoint>) -> Identity {
        self.identity_from(self.store(), endpoint)
    }

    /// One with this store.
    pub(crate) fn identity_of(&self, store: Store) -> Identity {
        self.identity_from(store, Box::new(AtDesk(Arc::clone(&self.desk))))
    }

    fn identity_from(&self, store: Store, endpoint: Box<dyn Endpoint>) -> Identity {
        let board = Board::open(&self.dir.path().join("switches"));
        Identity::new(
            store,
            board,
            endpoint,
            Box::new(self.hands.clone()),
            Box::new(Chance),
        )
    }

    pub(crate) fn add(&self, handle: &str, kind: Kind, text: &str) -> Header {
        self.store()
            .add(self::handle(handle), kind, &secrets(text), self.hands.now())
            .unwrap()
    }

    /// Adds a credential whose secret is this private key, in PKCS #8.
    pub(crate) fn add_key(&self, handle: &str, kind: Kind, key: &[u8]) {
        let text = base64::engine::general_purpose::STANDARD.encode(key);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
        let secret = Secret::read(pem.as_bytes(), Form::Pem).unwrap();
        self.store()
            .add(
                self::handle(handle),
                kind,
                &Secrets::of(secret),
                self.hands.now(),
            )
            .unwrap();
    }

    pub(crate) fn throw(&self, kind: SwitchKind, name: &str, to: Position) {
        let throw = Throw {
            kind,
            name: name.into(),
            tenant: None,
            to,
            who: "test".into(),
            reason: "test".into(),
            at_ms: self.hands.now(),
        };
        self.switches.throw(throw).unwrap();
    }
}

pub(crate) fn store_in(root: &Path) -> Store {
    let state = StateDir::open(root).unwrap();
    let provider = FileProvider::open(&state).unwrap();
    Store::open(&root.join("credentials"), Box::new(provider)).unwrap()
}

pub(crate) fn handle(text: &str) -> Handle {
    text.parse().unwrap()
}

pub(crate) fn secret(text: &str) -> Secret {
    Secret::read(text.as_bytes(), Form::Line).unwrap()
}

pub(crate) fn secrets(text: &str) -> Secrets {
    Secrets::of(secret(text))
}

pub(crate) fn oauth_client() -> Kind {
    Kind::OauthClient {
        token_url: "https://id.example.com/token".into(),
        client_id: "client".into(),
        scopes: vec!["orders.read".into()],
        audience: None,
        auth: ClientAuth::Basic,
    }
}

pub(crate) fn oauth_refresh() -> Kind {
    Kind::OauthRefresh {
        token_url: "https://id.example.com/token".into(),
        client_id: "client".into(),
        scopes: Vec::new(),
        auth: ClientAuth::Basic,
    }
}

pub(crate) fn usage(handle: &str) -> Usage {
    Usage {
        handle: self::handle(handle),
        rule: "orders".into(),
        host: "orders.example.com".into(),
        ports: vec![443],
        methods: vec!["GET".into()],
        paths: Some(vec!["/v1/**".into()]),
        query: None,
        escaped_slash: false,
        tools: None,
        login: None,
        known: None,
        most: 1_000_000,
    }
}

/// A lease of what is ordered.
pub(crate) fn leased(identity: &Identity, order: Order) -> LeaseId {
    let token = identity.issue(order, ISSUER).unwrap();
    identity.redeem(&token, &binding(), ME).unwrap()
}

/// A lease for this alone.
pub(crate) fn leased_for(identity: &Identity, usage: Usage) -> LeaseId {
    let order = Order {
        usages: vec![usage],
        ..order("cred:orders")
    };
    leased(identity, order)
}

/// A lease for a day.
pub(crate) fn lease(identity: &Identity) -> LeaseId {
    let order = Order {
        lease_ms: 24 * 60 * MINUTE_MS,
        ..order("cred:orders")
    };
    leased(identity, order)
}

pub(crate) fn binding() -> Binding {
    Binding {
        call: DecisionId::new(START_MS, [7; 10]),
        tenant: "local".into(),
        agent: "support".into(),
        thread: Some("t1".into()),
        route: "default".into(),
        tool: "run_command".into(),
        policy: Digest::of(b"policy"),
        arguments: Digest::of(b"arguments"),
    }
}

pub(crate) fn order(handle: &str) -> Order {
    Order {
        binding: binding(),
        usages: vec![usage(handle)],
        lease_ms: 10 * MINUTE_MS,
    }
}

pub(crate) fn request(handle: &str) -> Request {
    Request {
        handle: self::handle(handle),
        rule: "orders".into(),
        method: "GET".into(),
        host: "orders.example.com".into(),
        port: 443,
        path: "/v1/orders/7".into(),
        query: None,
        body: Some(Digest::of(b"")),
        login: None,
        signed: Vec::new(),
    }
}

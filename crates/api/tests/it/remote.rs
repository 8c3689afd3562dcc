//! A gateway over a network, and those who call it: an issuer, keys, certificates and envelopes, all made for the test.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use casemate_api::{Api, Door, Endpoint, Network, router};
use casemate_callers::{Callers, HolderKey, NewApiKey, Role, Target};
use casemate_gateway::Crew;
use casemate_ledger::Record;
use casemate_policy::{Profile, Syntax};
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, client::IntoClientRequest as _},
};

use crate::{
    client::{Answered, switchboard},
    house::{CachedStores, House},
    session_keeper::FakeSessions,
    support::{AUDIENCE, ISSUER, NOW, TestKey, jwks},
};

/// How long before the first request the gateway started: longer than proofs count.
const STARTED_BEFORE_MS: u64 = 600_000;
pub(crate) const GATEWAY: &str = "https://gateway.example";

/// A gateway that serves over a network.
pub(crate) struct Remote {
    pub(crate) house: House,
    pub(crate) address: SocketAddr,
    pub(crate) api: Arc<Api<FakeSessions, CachedStores>>,
    pub(crate) callers: Arc<Callers>,
    pub(crate) key: Mutex<TestKey>,
    pub(crate) jwks: PathBuf,
    task: JoinHandle<()>,
    _stop: watch::Sender<()>,
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a request carries to prove who sends it.
pub(crate) type Headers = Vec<(&'static str, String)>;

/// A house whose profile knows our issuers. `shell` waits for a person.
pub(crate) fn house() -> House {
    changed(|source| {
        source
            .replace(
                "allowed = [\"python\", \"shell\"]",
                "allowed = [\"python\"]",
            )
            .replace("approval_required = []", "approval_required = [\"shell\"]")
    })
}

/// A house whose profile knows our issuers, with another change to its source.
fn changed(change: impl FnOnce(String) -> String) -> House {
    let mut house = House::new("thread");
    let source = String::from_utf8(house.profile.source().to_vec()).unwrap();
    let issuers = format!(
        "[\"{ISSUER}\", \"casemate:api-keys\", \"casemate:certificates\", \"{GATEWAY}\"]\nallowed_tenants = [\"acme\", \"other\"]"
    );
    let source = source
        .replace("[\"casemate:local\"]", &issuers)
        .replace("\"casemate-run\"", &format!("\"{AUDIENCE}\""))
        .replace("\"code:execute\"", "\"calls:run\"");
    house.profile = Profile::parse(change(source).as_bytes(), Syntax::Toml).unwrap();
    house
}

/// Everybody who may call: each role of the issuer is named as ours.
pub(crate) fn callers_file(jwks: &std::path::Path) -> String {
    let roles: String = Role::ALL
        .iter()
        .map(|role| format!("{role} = \"{role}\"\n"))
        .collect();
    let jwks = jwks.display();
    format!(
        "audience = \"{AUDIENCE}\"\n\
         [[issuer]]\n\
         issuer = \"{ISSUER}\"\n\
         audiences = [\"{AUDIENCE}\"]\n\
         jwks = \"{jwks}\"\n\
         algorithms = [\"EdDSA\"]\n\
         [issuer.roles]\n{roles}\
         [[certificate]]\n\
         uri = \"spiffe://acme.example/billing\"\n\
         subject = \"billing\"\ntenant = \"acme\"\nscopes = [\"calls:run\"]\nroles = [\"operator\"]\n\
         [api_keys]\n\
         [envelopes]\nissuer = \"{GATEWAY}\"\n"
    )
}

impl Remote {
    pub(crate) async fn new() -> Self {
        Self::with(None).await
    }

    pub(crate) async fn with(tls: Option<rustls::ServerConfig>) -> Self {
        Self::on(house(), tls, |network| network).await
    }

    /// One in which `shell` waits for nobody.
    pub(crate) async fn with_shell() -> Self {
        Self::on(changed(|source| source), None, |network| network).await
    }

    /// The same, and what an operator of a tenant shows there.
    pub(crate) async fn with_operator() -> (Self, Headers) {
        let remote = Self::with_shell().await;
        let (_, text) = remote.new_key("acme", &[Role::Operator]);
        (remote, bearer(&text))
    }

    /// The same, with this at the end of its profile.
    pub(crate) async fn with_shell_and(more: &str) -> Self {
        Self::on(changed(|source| source + more), None, |network| network).await
    }

    /// Asks for each endpoint as each role: it is forbidden to who may not, and to nobody else. Whoever may remove does not.
    pub(crate) async fn asked_by(
        &self,
        roles: &[Role],
        endpoints: &[Endpoint],
        path: impl Fn(&str) -> String,
        shows: impl Fn(&str) -> Headers,
        body: &Value,
    ) {
        for role in roles {
            let (_, text) = self.new_key("acme", &[*role]);
            for endpoint in endpoints {
                let may = endpoint.needs.iter().any(|needed| role.may(*needed));
                if may && endpoint.method == "DELETE" {
                    continue;
                }
                let path = path(endpoint.path);
                let answer = self.ask(endpoint.method, &path, &shows(&text), body).await;
                let what = format!("{role:?}: {} {path}: {}", endpoint.method, answer.status);
                assert_eq!(answer.status != 403, may, "{what}");
            }
        }
    }

    /// One that has at most so many connections.
    pub(crate) async fn of_at_most(connections: usize) -> Self {
        Self::on(house(), None, |network| {
            network.of_at_most(connections, connections)
        })
        .await
    }

    async fn on(
        house: House,
        tls: Option<rustls::ServerConfig>,
        change: impl FnOnce(Network) -> Network,
    ) -> Self {
        let dir = house.world.dir.path();
        let jwks_file = dir.join("jwks.json");
        let key = TestKey::new("EdDSA", "k1");
        std::fs::write(&jwks_file, jwks(&[&key]).to_string()).unwrap();
        let callers = Callers::open(
            &callers_file(&jwks_file),
            &dir.join("state/callers"),
            NOW - STARTED_BEFORE_MS,
        );
        let callers = Arc::new(callers.unwrap());
        let rooms = house.rooms();
        rooms.reconcile().await.unwrap();
        let crew = Crew::start(2).unwrap();
        let api = Api::new(rooms, crew, switchboard(&house), Some(Arc::clone(&callers)));
        let api = Arc::new(api);
        let network = Network::bind("127.0.0.1:0".parse().unwrap(), tls)
            .await
            .unwrap();
        let network = change(network);
        let address = network.address().unwrap();
        let (stop, stopped) = watch::channel(());
        let door = Door::Network(Arc::clone(&callers));
        let serving = network.serve(Arc::clone(&api), router(Arc::clone(&api), door), stopped);
        Self {
            address,
            api,
            callers,
            key: Mutex::new(key),
            jwks: jwks_file,
            task: tokio::spawn(serving),
            _stop: stop,
            house,
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        *self.house.world.clock.0.lock().unwrap()
    }

    /// The claims of a token of now.
    pub(crate) fn claims(&self, subject: &str, tenant: &str, roles: &[&str]) -> Value {
        let now_s = self.now_ms() / 1_000;
        json!({
            "iss": ISSUER, "sub": subject, "tenant": tenant, "aud": AUDIENCE,
            "iat": now_s, "exp": now_s + 600, "scope": "calls:run", "roles": roles,
        })
    }

    pub(crate) fn token(&self, claims: &Value) -> Headers {
        bearer(&self.key.lock().unwrap().token(claims))
    }

    /// Somebody of the tenant `acme` with these roles.
    pub(crate) fn somebody(&self, roles: &[&str]) -> Headers {
        self.token(&self.claims("somebody", "acme", roles))
    }

    pub(crate) fn new_key(&self, tenant: &str, roles: &[Role]) -> (String, String) {
        let new = NewApiKey {
            subject: "robot".to_owned(),
            tenant: tenant.to_owned(),
            scopes: ["calls:run".to_owned()].into(),
            roles: roles.iter().copied().collect(),
            ttl_ms: 3_600_000,
        };
        let (key, text) = self.callers.new_key(&new, self.now_ms()).unwrap();
        (key.id, text.to_string())
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &Headers,
        body: &Value,
    ) -> Answered {
        let stream = TcpStream::connect(self.address).await.unwrap();
        ask_over(stream, method, path, headers, body).await
    }

    /// Asks for a WebSocket.
    pub(crate) async fn upgrade(
        &self,
        path: &str,
        headers: &Headers,
    ) -> Result<WebSocketStream<TcpStream>, Error> {
        let request = format!("ws://casemate{path}").into_client_request();
        let mut request = request.unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (socket, _) = client_async(request, stream).await?;
        Ok(socket)
    }

    /// The problem with which a request for a WebSocket is refused: at once, or as the last thing that a socket says.
    pub(crate) async fn no_upgrade(&self, path: &str, headers: &Headers) -> (u16, String) {
        let mut socket = match self.upgrade(path, headers).await {
            Ok(socket) => socket,
            Err(Error::Http(response)) => {
                let problem: Value =
                    serde_json::from_slice(response.body().as_ref().unwrap()).unwrap();
                let code = problem["code"].as_str().unwrap().to_owned();
                return (response.status().as_u16(), code);
            }
            Err(error) => panic!("{path}: {error}"),
        };
        let said = socket.next().await.unwrap().unwrap();
        let said: Value = serde_json::from_str(said.to_text().unwrap()).unwrap();
        let ended = &said["ended"];
        let status = ended["status"].as_u64().unwrap_or_default();
        let code = ended["code"].as_str().unwrap_or_default().to_owned();
        (status.try_into().unwrap(), code)
    }

    pub(crate) async fn get(&self, path: &str, headers: &Headers) -> Answered {
        self.ask("GET", path, headers, &Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, headers: &Headers, body: &Value) -> Answered {
        self.ask("POST", path, headers, body).await
    }

    pub(crate) async fn delete(&self, path: &str, headers: &Headers) -> Answered {
        self.ask("DELETE", path, headers, &Value::Null).await
    }

    /// A request must be refused with this status and this code, and be on record with it.
    #[track_caller]
    pub(crate) fn is_refused(&self, answer: &Answered, status: u16, code: &str) {
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{}",
            answer.json()
        );
        assert_eq!(
            answer.headers.contains_key("www-authenticate"),
            status == 401
        );
        let refused = self.refusals();
        let last = &refused.last().unwrap().entry.summary;
        assert_eq!(last["subject"]["code"], code);
        assert_eq!(last["subject"]["peer"], "127.0.0.1");
        assert_eq!(last["policy_decision"], "deny");
    }

    /// The records of those who were refused.
    pub(crate) fn refusals(&self) -> Vec<Record> {
        let mut records = self.house.world.records();
        records.retain(|record| record.entry.summary["tool"] == "caller.refuse");
        records
    }

    /// How much is on record beside refusals: all that happens is on record before it happens.
    pub(crate) fn happened(&self) -> usize {
        self.house.world.records().len() - self.refusals().len()
    }

    /// An envelope of somebody's, by the interface.
    pub(crate) async fn delegate(
        &self,
        by: &Headers,
        change: impl FnOnce(&mut Value),
    ) -> Result<Held, Answered> {
        let key = HolderKey::generate().unwrap();
        let mut wanted = json!({
            "subject": "agent:researcher",
            "scopes": ["calls:run"],
            "roles": ["operator"],
            "ttl_s": 300,
            "holder": key.public().to_x(),
        });
        change(&mut wanted);
        let issued = self.post("/v1/envelopes", by, &wanted).await;
        if issued.status != 201 {
            return Err(issued);
        }
        let issued = issued.json();
        let text = |key: &str| issued[key].as_str().unwrap().to_owned();
        Ok(Held {
            id: text("id"),
            text: text("envelope"),
            key,
        })
    }

    /// A call that waits for a person.
    pub(crate) async fn held(
        &self,
        by: impl AsyncFn(&str, &str) -> Headers,
        body: &Value,
    ) -> String {
        let headers = by("POST", "/v1/calls").await;
        let answer = self.post("/v1/calls", &headers, body).await;
        assert_eq!(answer.status, 202, "{}", answer.json());
        let decision = answer.json()["decision"].as_str().unwrap().to_owned();
        let path = format!("/v1/approvals/{decision}");
        for _ in 0..2_000 {
            let found = self.get(&path, &self.somebody(&["reader"])).await;
            if found.status == 200 {
                return decision;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        panic!("it does not wait");
    }
}

/// An envelope with its holder's key.
pub(crate) struct Held {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) key: HolderKey,
}

impl Held {
    /// What goes with one request.
    pub(crate) fn headers(&self, method: &str, path: &str, now_ms: u64) -> Headers {
        let target = Target::Request { method, path };
        let proof = self.key.prove(&self.text, &target, now_ms).unwrap();
        vec![
            ("authorization", format!("Envelope {}", self.text)),
            ("casemate-proof", proof),
        ]
    }
}

pub(crate) fn bearer(token: &str) -> Headers {
    vec![("authorization", format!("Bearer {token}"))]
}

pub(crate) fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// One request over a connection of its own.
pub(crate) async fn ask_over<S>(
    stream: S,
    method: &str,
    path: &str,
    headers: &Headers,
    body: &Value,
) -> Answered
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "casemate");
    if !body.is_null() {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let body = match body {
        Value::Null => Bytes::new(),
        body => Bytes::from(body.to_string()),
    };
    let response = sender
        .send_request(request.body(Full::new(body)).unwrap())
        .await
        .unwrap();
    let (head, body) = response.into_parts();
    let is_endless = head
        .headers
        .get("content-type")
        .is_some_and(|kind| kind == "text/event-stream");
    let body = match is_endless {
        true => Vec::new(),
        false => body.collect().await.unwrap().to_bytes().to_vec(),
    };
    Answered {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    }
}

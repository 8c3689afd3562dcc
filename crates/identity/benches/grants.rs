//! What a grant costs: over a socket, as the process of egress asks, from a store and switches on disk; beside HTTP/2 on the same kind of
//! socket that answers as much and does nothing. Prints JSON.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark"
)]

use std::{
    convert::Infallible,
    io::{self, Read as _},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use casemate_authority::{Board, Switchboard};
use casemate_identity::{
    Binding, Clock, Endpoint, EndpointError, Entropy, Form, Handle, Identity, Kind, LeaseId, Order,
    RemoteIdentity, Request, Secret, Secrets, Server, Side, Store, TokenAnswer, TokenRequest,
    Usage,
};
use casemate_model::{DecisionId, Digest};
use casemate_store::{FileProvider, StateDir};
use http_body_util::{BodyExt as _, Full};
use hyper::{client, server, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::UnixStream;

const ONE_BY_ONE: usize = 5_000;
const CONNECTIONS: usize = 8;
const AT_ONCE: usize = 8;
const RUN_FOR: Duration = Duration::from_secs(3);

#[derive(Debug)]
struct Here;

impl Clock for Here {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or_default()
    }
}

impl Entropy for Here {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        std::fs::File::open("/dev/urandom")?.read_exact(bytes)
    }
}

/// Gives a token of an hour.
#[derive(Debug)]
struct Gives;

impl Endpoint for Gives {
    fn ask(&self, _: &TokenRequest) -> Result<TokenAnswer, EndpointError> {
        let body =
            r#"{"access_token":"a-token-of-an-hour","token_type":"Bearer","expires_in":3600}"#;
        Ok(TokenAnswer {
            status: 200,
            retry_after_ms: None,
            body: body.as_bytes().to_vec().into(),
        })
    }
}

fn binding() -> Binding {
    Binding {
        call: DecisionId::new(1, [7; 10]),
        tenant: "local".into(),
        agent: "bench".into(),
        thread: None,
        route: "bench".into(),
        tool: "shell".into(),
        policy: Digest::of(b"policy"),
        arguments: Digest::of(b"arguments"),
    }
}

fn order() -> Order {
    let usage = |name: &str| Usage {
        handle: handle(name),
        rule: name.into(),
        host: "orders.example.com".into(),
        ports: vec![443],
        methods: vec!["GET".into()],
        paths: Some(vec!["/v1/**".into()]),
        tools: None,
        login: None,
        known: None,
        query: None,
        escaped_slash: false,
        most: u64::MAX,
    };
    Order {
        binding: binding(),
        usages: vec![usage("kept"), usage("fetched")],
        lease_ms: 3_600_000,
    }
}

fn handle(name: &str) -> Handle {
    name.parse().unwrap()
}

fn request(name: &str) -> Request {
    Request {
        handle: handle(name),
        rule: name.into(),
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

async fn connect(server: &Server, side: Side) -> RemoteIdentity {
    let (mut here, there) = UnixStream::pair().unwrap();
    let server = server.clone();
    tokio::spawn(async move { server.serve(there).await });
    side.announce(&mut here).await.unwrap();
    RemoteIdentity::over(here).await.unwrap()
}

/// In microseconds, so that a share of them was at most so.
fn at(times: &mut [Duration], share: usize) -> u128 {
    times.sort_unstable();
    times[times.len() * share / 1_000].as_micros()
}

fn said(mut times: Vec<Duration>) -> serde_json::Value {
    json!({ "p50_us": at(&mut times, 500), "p99_us": at(&mut times, 990) })
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    // Beside the build, which is on a real disk; `/tmp` may be memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let provider = FileProvider::open(&state).unwrap();
    let store = Store::open(&dir.path().join("credentials"), Box::new(provider)).unwrap();
    drop(Switchboard::open(&dir.path().join("switches")).unwrap());
    let secret = |text: &str| Secrets::of(Secret::read(text.as_bytes(), Form::Line).unwrap());
    let secrets = secret("a-secret-of-the-benchmark");
    store
        .add(handle("kept"), Kind::Bearer {}, &secrets, 1)
        .unwrap();
    let fetched = Kind::OauthClient {
        token_url: "https://id.example.com/token".into(),
        client_id: "client".into(),
        scopes: Vec::new(),
        audience: None,
        auth: casemate_identity::ClientAuth::Basic,
    };
    store.add(handle("fetched"), fetched, &secrets, 1).unwrap();
    let board = Board::open(&dir.path().join("switches"));
    let identity = Identity::new(
        store,
        board,
        Box::new(Gives),
        Box::new(Here),
        Box::new(Here),
    );
    let server = Server::new(Arc::new(identity));

    let mut opened = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        drop(lease(&server).await);
        opened.push(began.elapsed());
    }
    let (_orders, one, id) = lease(&server).await;
    let mut each = json!({});
    for name in ["kept", "fetched"] {
        let mut times = Vec::new();
        for _ in 0..ONE_BY_ONE {
            let began = Instant::now();
            one.grant(id.clone(), request(name)).await.unwrap();
            times.push(began.elapsed());
        }
        each[name] = said(times);
    }
    let report = json!({
        "call_to_lease": said(opened),
        "grant": each,
        "grants_per_s": { "kept": many(&server, "kept").await, "fetched": many(&server, "fetched").await },
        "peer": { "what": "HTTP/2 on such a socket that answers 300 bytes", "answer": peer().await },
    });
    println!("{report:#}");
}

async fn lease(server: &Server) -> (RemoteIdentity, RemoteIdentity, LeaseId) {
    let orders = connect(server, Side::Orders).await;
    let token = orders.issue(order()).await.unwrap().token;
    let redeems = connect(server, Side::Redeems).await;
    let id = redeems.redeem(token, binding()).await.unwrap().lease;
    (orders, redeems, id)
}

/// Grants in a second, of calls at once that each ask for several.
async fn many(server: &Server, name: &'static str) -> u128 {
    let began = Instant::now();
    let mut asking = Vec::new();
    for _ in 0..CONNECTIONS {
        let (orders, one, id) = lease(server).await;
        for _ in 0..AT_ONCE {
            let (orders, one, id) = (orders.clone(), one.clone(), id.clone());
            asking.push(tokio::spawn(async move {
                let _orders = orders;
                let mut count = 0_u128;
                while began.elapsed() < RUN_FOR {
                    one.grant(id.clone(), request(name)).await.unwrap();
                    count += 1;
                }
                count
            }));
        }
    }
    let mut count = 0;
    for asking in asking {
        count += asking.await.unwrap();
    }
    count * 1_000 / began.elapsed().as_millis()
}

async fn peer() -> serde_json::Value {
    let (here, there) = UnixStream::pair().unwrap();
    let answer = |_| async {
        let body = Full::new(Bytes::from_static(&[b'x'; 300]));
        Ok::<_, Infallible>(hyper::Response::new(body))
    };
    tokio::spawn(
        server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(there), service_fn(answer)),
    );
    let (mut sender, connection) =
        client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(here))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut times = Vec::new();
    for _ in 0..ONE_BY_ONE {
        let began = Instant::now();
        let question = Full::new(Bytes::from_static(&[b'x'; 300]));
        let request = hyper::Request::post("http://peer/").body(question).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        answer.into_body().collect().await.unwrap();
        times.push(began.elapsed());
    }
    said(times)
}

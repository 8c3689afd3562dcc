//! A gateway on a socket, and what asks it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use casemate_api::{Api, Door, Listener, router};
use casemate_authority::Switchboard;
use casemate_callers::{LocalUser, Role};
use casemate_gateway::Crew;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    task::JoinHandle,
};

use crate::house::House;

/// The local user of these tests, as the kernel would name it.
pub(crate) fn local_user(house: &House) -> LocalUser {
    let claims = house.world.claims();
    LocalUser {
        uid: 1_000,
        tenant: claims.tenant,
        audience: claims.audience,
        scopes: claims.scopes,
        roles: Role::ALL.iter().copied().collect(),
        expires_at_ms: 0,
    }
}

/// The switches of a house, to throw them.
pub(crate) fn switchboard(house: &House) -> Switchboard {
    Switchboard::open(&house.world.dir.path().join("switches")).unwrap()
}

/// A gateway that serves.
pub(crate) struct Served {
    pub(crate) house: House,
    pub(crate) socket: PathBuf,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answered {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    /// The code of a refusal in the words of Azure, which is one in every respect.
    fn code_of_azure(&self) -> Option<String> {
        if self.headers["content-type"] != "application/json" {
            return None;
        }
        let (said, header) = (self.json(), self.headers.get("x-ms-error-code"));
        if said["statusCode"] == self.status {
            return said["code"].as_str().map(str::to_owned);
        }
        assert_eq!(said["error"]["code"], header?.to_str().unwrap());
        said["error"]["innererror"]["code"]
            .as_str()
            .map(str::to_owned)
    }

    /// The code of a problem, which is one in every respect.
    pub(crate) fn code(&self) -> String {
        if let Some(code) = self.code_of_azure() {
            return code;
        }
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        let code = problem["code"].as_str().unwrap().to_owned();
        assert_eq!(problem["type"], format!("urn:casemate:problem:{code}"));
        code
    }
}

impl Served {
    pub(crate) async fn new(house: House) -> Self {
        let socket = house.world.dir.path().join("api.sock");
        let listener = Listener::bind(&socket).await.unwrap();
        let rooms = house.rooms();
        rooms.reconcile().await.unwrap();
        let crew = Crew::start(2).unwrap();
        let door = Door::Local(local_user(&house));
        let api = Arc::new(Api::new(rooms, crew, switchboard(&house), None));
        let task = tokio::spawn(async move {
            axum::serve(listener, router(api, door)).await.unwrap();
        });
        Self {
            house,
            socket,
            task,
        }
    }

    pub(crate) async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let io = TokioIo::new(self.connect().await);
        let (mut sender, connection) = http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: &[u8]) -> Answered {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "casemate")
            .header("content-type", "application/json")
            .body(Full::new(body.to_vec().into()))
            .unwrap();
        let response = self.send(request).await;
        let (head, body) = response.into_parts();
        Answered {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answered {
        self.ask("GET", path, b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answered {
        self.ask("POST", path, body.to_string().as_bytes()).await
    }

    /// A call of `shell` in a thread.
    pub(crate) async fn call(&self, thread: &str, words: &[&str]) -> Answered {
        self.post("/v1/calls", &in_thread(thread, words)).await
    }

    /// The session of a thread.
    pub(crate) async fn session(&self, thread: &str) -> String {
        let answer = self.call(thread, &["true"]).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()["session"].as_str().unwrap().to_owned()
    }

    /// Bytes as they are, and what comes back.
    pub(crate) async fn raw(&self, request: &[u8]) -> (UnixStream, Vec<u8>) {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        let mut answer = vec![0; 64 << 10];
        let read = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut answer));
        let count = read.await.map_or(0, Result::unwrap);
        answer.truncate(count);
        (stream, answer)
    }
}

pub(crate) fn in_thread(thread: &str, words: &[&str]) -> Value {
    serde_json::json!({ "thread": thread, "tool": "shell", "argv": words })
}

pub(crate) async fn until(condition: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("it does not come to pass");
}

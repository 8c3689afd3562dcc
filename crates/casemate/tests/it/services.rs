//! What clients of all kinds talk to: a site, a package index, a repository, a procedure and a socket, behind one certificate,
//! which write down what arrives.

use std::{
    convert::Infallible,
    fs,
    io::Write as _,
    net::TcpStream,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex, atomic::Ordering},
};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

use crate::upstream::{Roots, Upstream};

/// What a repository has in its only file.
pub(crate) const KEPT: &str = "kept in a repository\n";

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What the services serve, and what came to them.
#[derive(Debug)]
pub(crate) struct Services {
    dir: TempDir,
    arrived: Mutex<Vec<String>>,
}

impl Services {
    /// A repository with one commit, into which anybody may push, and an empty index of packages.
    pub(crate) fn new() -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        let git = |words: &[&str]| {
            let mut git = Command::new("git");
            let ran = git
                .args(words)
                .current_dir(dir.path())
                .envs([
                    ("GIT_CONFIG_GLOBAL", "/dev/null"),
                    ("GIT_CONFIG_SYSTEM", "/dev/null"),
                ])
                .output()
                .unwrap();
            assert!(ran.status.success(), "{ran:?}");
        };
        fs::create_dir_all(dir.path().join("work")).unwrap();
        fs::create_dir_all(dir.path().join("packages")).unwrap();
        fs::write(dir.path().join("work/file"), KEPT).unwrap();
        git(&["init", "-q", "-b", "main", "work"]);
        git(&["-C", "work", "add", "file"]);
        git(&[
            "-C",
            "work",
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
            "commit",
            "-q",
            "-m",
            "a",
        ]);
        git(&["clone", "-q", "--bare", "work", "v1/repo.git"]);
        git(&["-C", "v1/repo.git", "config", "http.receivepack", "true"]);
        Arc::new(Self {
            dir,
            arrived: Mutex::default(),
        })
    }

    /// Where files of packages are.
    pub(crate) fn packages(&self) -> PathBuf {
        self.dir.path().join("packages")
    }

    /// The commits of the repository.
    pub(crate) fn commits(&self) -> String {
        let log = Command::new("git")
            .args(["-C", "v1/repo.git", "log", "--all", "--format=%s"])
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        String::from_utf8(log.stdout).unwrap()
    }

    /// What came since this was asked: methods and paths of requests, and messages.
    pub(crate) fn arrived(&self) -> Vec<String> {
        std::mem::take(&mut *self.arrived.lock().unwrap())
    }

    fn note(&self, what: String) {
        self.arrived.lock().unwrap().push(what);
    }

    async fn answer(self: Arc<Self>, mut request: Request<Incoming>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        self.note(format!("{method} {path}"));
        if request.headers().contains_key(header::UPGRADE) {
            return self.socket(&mut request);
        }
        let is = |kind: &str| {
            let said = request.headers().get(header::CONTENT_TYPE);
            said.is_some_and(|said| said.as_bytes().starts_with(kind.as_bytes()))
        };
        if is("application/grpc") {
            return procedure(request).await;
        }
        if path.contains(".git/") {
            return self.repository(request).await;
        }
        if let Some(package) = path.strip_prefix("/v1/simple/") {
            return self.index(package);
        }
        if let Some(name) = path.strip_prefix("/v1/packages/") {
            return whole(fs::read(self.packages().join(name)).unwrap());
        }
        whole(format!("{method} {path}"))
    }

    /// All files of a package (PEP 503).
    fn index(&self, package: &str) -> Answer {
        let files = fs::read_dir(self.packages()).unwrap().flatten();
        let names = files.map(|file| file.file_name().into_string().unwrap());
        let of = names.filter(|name| name.starts_with(package.trim_end_matches('/')));
        let links = of.map(|name| format!("<a href=\"/v1/packages/{name}\">{name}</a>\n"));
        let mut answer = whole(links.collect::<String>());
        let html = HeaderValue::from_static("text/html");
        answer.headers_mut().insert(header::CONTENT_TYPE, html);
        answer
    }

    /// What `git http-backend` says, which is a program of CGI.
    async fn repository(&self, request: Request<Incoming>) -> Answer {
        let field = |name: &str| {
            let value = request.headers().get(name);
            value.map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        let mut git = Command::new("git");
        git.arg("http-backend")
            .env("GIT_PROJECT_ROOT", self.dir.path())
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("PATH_INFO", request.uri().path())
            .env("QUERY_STRING", request.uri().query().unwrap_or_default())
            .env("REQUEST_METHOD", request.method().as_str())
            .env("CONTENT_TYPE", field("content-type"))
            .env("HTTP_CONTENT_ENCODING", field("content-encoding"))
            .env("GIT_PROTOCOL", field("git-protocol"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut running = git.spawn().unwrap();
        running.stdin.take().unwrap().write_all(&body).unwrap();
        let said = running.wait_with_output().unwrap().stdout;
        let end = said
            .windows(4)
            .position(|part| part == b"\r\n\r\n")
            .unwrap();
        let head = String::from_utf8(said[..end].to_vec()).unwrap();
        let mut answer = whole(said[end + 4..].to_vec());
        for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
            if name == "Status" {
                let status = value.split(' ').next().unwrap();
                *answer.status_mut() = StatusCode::from_bytes(status.as_bytes()).unwrap();
            } else {
                let name: header::HeaderName = name.parse().unwrap();
                answer.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        answer
    }

    /// Says everything back.
    fn socket(self: Arc<Self>, request: &mut Request<Incoming>) -> Answer {
        let key = &request.headers()[header::SEC_WEBSOCKET_KEY];
        let accept = derive_accept_key(key.as_bytes()).parse().unwrap();
        let upgraded = hyper::upgrade::on(request);
        tokio::spawn(async move {
            let io = TokioIo::new(upgraded.await.unwrap());
            let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() || message.is_binary() {
                    self.note(format!("message of {}", message.len()));
                    drop(socket.send(message).await);
                }
            }
        });
        let mut answer = whole("");
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let fields = answer.headers_mut();
        fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        answer
    }
}

impl Upstream {
    /// One that has all of `services`, over HTTP/1.1 and HTTP/2.
    pub(crate) fn of_services(roots: &Roots, name: &str, services: &Arc<Services>) -> Self {
        let mut config = roots.server(name);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let services = Arc::clone(services);
        Self::start(move |stream, requests| {
            let serve = serve(stream, &acceptor, &services, requests);
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve);
        })
    }
}

async fn serve(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    services: &Arc<Services>,
    requests: &std::sync::atomic::AtomicUsize,
) {
    stream.set_nonblocking(true).unwrap();
    let stream = tokio::net::TcpStream::from_std(stream).unwrap();
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(|request| {
        requests.fetch_add(1, Ordering::SeqCst);
        let answering = Arc::clone(services).answer(request);
        async move { Ok::<_, Infallible>(answering.await) }
    });
    let io = TokioIo::new(stream);
    if is_h2 {
        drop(
            http2::Builder::new(TokioExecutor::new())
                .serve_connection(io, service)
                .await,
        );
    } else {
        let serving = http1::Builder::new().serve_connection(io, service);
        if serving.with_upgrades().await.is_ok() {
            // A socket that was made of it goes on until whoever opened it leaves.
            tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        }
    }
}

fn whole(bytes: impl Into<Bytes>) -> Answer {
    Response::new(Full::new(bytes.into()).boxed_unsync())
}

/// The messages of gRPC in bytes: a flag and a length before each.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, message].concat().into()
}

/// Says what it was told once, or three times if the name of the procedure says so; that it went well is in the trailers.
async fn procedure(request: Request<Incoming>) -> Answer {
    let times = if request.uri().path().ends_with("/Thrice") {
        3
    } else {
        1
    };
    assert_eq!(request.method(), Method::POST);
    let asked = request.into_body().collect().await.unwrap().to_bytes();
    let said = framed(&[b"told ", asked.get(5..).unwrap_or_default()].concat());
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = (0..times).map(move |_| Frame::data(said.clone()));
    let frames = frames.chain([Frame::trailers(trailers)]).map(Ok);
    let mut answer = Response::new(StreamBody::new(stream::iter(frames)).boxed_unsync());
    let kind = HeaderValue::from_static("application/grpc");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

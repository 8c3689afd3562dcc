//! Destinations on this machine, which count whoever comes, and an operator's authority that vouches for them.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

/// An authority, and its certificate for whoever is to believe it.
pub(crate) struct Roots {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Roots {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: pem(certificate.der()),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for `name` and its key, in PEM.
    pub(crate) fn pems(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let text = base64::engine::general_purpose::STANDARD.encode(key.serialize_der());
        let key = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
        (pem(certificate.der()), key)
    }

    pub(crate) fn server(&self, name: &str) -> ServerConfig {
        self.server_for(name, None)
    }

    /// For clients with certificates of these, if there are any.
    fn server_for(&self, name: &str, clients: Option<&Self>) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut known = RootCertStore::empty();
                let pem = CertificateDer::from_pem_slice(clients.pem.as_bytes());
                known.add(pem.unwrap()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(known), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        builder
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }
}

fn pem(der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// A destination that answers every request with its first line, but for those to `/hang`.
pub(crate) struct Upstream {
    pub(crate) port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    proven: Arc<AtomicUsize>,
}

impl Upstream {
    /// One called `name`, with a certificate of `roots`.
    pub(crate) fn tls(roots: &Roots, name: &str) -> Self {
        let config = Arc::new(roots.server(name));
        Self::start(move |stream, requests| {
            let Ok(connection) = ServerConnection::new(Arc::clone(&config)) else {
                return;
            };
            answer(StreamOwned::new(connection, stream), requests);
        })
    }

    /// One that answers requests that have a secret somewhere, in the form in which `shows` finds it, and repeats the
    /// secret in as many ways as its path names.
    pub(crate) fn demanding(roots: &Roots, name: &str, secret: &str, shows: &str) -> Self {
        let config = Arc::new(roots.server(name));
        let proven = Arc::new(AtomicUsize::new(0));
        let (secret, shows, count) = (secret.to_owned(), shows.to_owned(), Arc::clone(&proven));
        let upstream = Self::start(move |stream, requests| {
            let Ok(connection) = ServerConnection::new(Arc::clone(&config)) else {
                return;
            };
            let stream = StreamOwned::new(connection, stream);
            demand(stream, requests, &count, (&secret, &shows));
        });
        Self { proven, ..upstream }
    }

    /// One that answers whoever proves who they are with a certificate of `clients`; whoever does not, if nobody asks for one.
    pub(crate) fn knowing(roots: &Roots, name: &str, clients: Option<&Roots>) -> Self {
        let config = Arc::new(roots.server_for(name, clients));
        let proven = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&proven);
        let upstream = Self::start(move |stream, requests| {
            let Ok(connection) = ServerConnection::new(Arc::clone(&config)) else {
                return;
            };
            let mut stream = StreamOwned::new(connection, stream);
            // It would serve one after the other on one connection, whoever they are for.
            while whole(&mut stream).is_some() {
                requests.fetch_add(1, Ordering::SeqCst);
                if stream.conn.peer_certificates().is_some() {
                    count.fetch_add(1, Ordering::SeqCst);
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood");
                let _ = stream.flush();
            }
        });
        Self { proven, ..upstream }
    }

    /// A token endpoint that gives this token to whoever shows that they know a secret.
    pub(crate) fn tokens(roots: &Roots, name: &str, shows: &str, token: &str) -> Self {
        let config = Arc::new(roots.server(name));
        let shows = format!("authorization: {shows}\r\n");
        let body =
            format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":3600}}"#);
        Self::start(move |stream, requests| {
            let Ok(connection) = ServerConnection::new(Arc::clone(&config)) else {
                return;
            };
            let mut stream = StreamOwned::new(connection, stream);
            let Some(head) = head(&mut stream) else {
                return;
            };
            // Who closes with something unread resets the connection, and its answer with it.
            if read_body(&mut stream, &head).is_none() {
                return;
            }
            requests.fetch_add(1, Ordering::SeqCst);
            let (status, body) = match head.starts_with("POST /token ") && head.contains(&shows) {
                true => ("200 OK", body.as_str()),
                false => ("400 Bad", r#"{"error":"invalid_grant"}"#),
            };
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            let _ = stream.flush();
        })
    }

    /// A Git server with the repositories in a directory, below `/v1`, for whoever shows that they know a secret.
    pub(crate) fn git(roots: &Roots, name: &str, shows: &str, directory: &Path) -> Self {
        let config = Arc::new(roots.server(name));
        let proven = Arc::new(AtomicUsize::new(0));
        let (shows, count) = (shows.to_owned(), Arc::clone(&proven));
        let directory = directory.to_owned();
        let upstream = Self::start(move |stream, requests| {
            let Ok(connection) = ServerConnection::new(Arc::clone(&config)) else {
                return;
            };
            let mut stream = StreamOwned::new(connection, stream);
            let Some((head, body)) = whole(&mut stream) else {
                return;
            };
            requests.fetch_add(1, Ordering::SeqCst);
            let answer = match head.contains(&shows) {
                false => b"HTTP/1.1 401 No\r\nwww-authenticate: Basic realm=\"git\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec(),
                true => {
                    count.fetch_add(1, Ordering::SeqCst);
                    http_backend(&directory, &head, &body)
                }
            };
            let _ = stream.write_all(&answer);
            let _ = stream.flush();
        });
        Self { proven, ..upstream }
    }

    /// How many requests had the secret.
    pub(crate) fn proven(&self) -> usize {
        self.proven.load(Ordering::SeqCst)
    }

    /// One that does not encrypt.
    pub(crate) fn plain() -> Self {
        Self::start(answer)
    }

    pub(crate) fn start(serve: impl Fn(TcpStream, &AtomicUsize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = (Arc::clone(&connections), Arc::clone(&requests));
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counted.0.fetch_add(1, Ordering::SeqCst);
                let (serve, requests) = (Arc::clone(&serve), Arc::clone(&counted.1));
                thread::spawn(move || serve(stream, &requests));
            }
        });
        Self {
            port,
            connections,
            requests,
            proven: Arc::default(),
        }
    }

    /// How many connections came.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many requests came, or bytes that are none.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Reads the head of one request and the rest that comes with it, and answers.
fn answer(mut stream: impl Read + Write, requests: &AtomicUsize) {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|part| part == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => {
                if head.is_empty() {
                    requests.fetch_add(1, Ordering::SeqCst);
                }
                head.extend_from_slice(&buffer[..count]);
            }
            _ => return,
        }
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap();
    if line.windows(5).any(|part| part == b"/hang") {
        while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
        return;
    }
    let length = line.len();
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    let _ = stream.write_all(line);
    let _ = stream.flush();
}

/// Reads one request, and says whether it had the secret. By its path it repeats the secret, or never ends.
fn demand(
    mut stream: impl Read + Write,
    requests: &AtomicUsize,
    proven: &AtomicUsize,
    (secret, shows): (&str, &str),
) {
    let Some((head, body)) = whole(&mut stream) else {
        return;
    };
    requests.fetch_add(1, Ordering::SeqCst);
    let mut buffer = [0; 4096];
    let path = head.split(' ').nth(1).unwrap().to_owned();
    if !head.contains(shows) && !String::from_utf8_lossy(&body).contains(shows) {
        let _ = stream
            .write_all(b"HTTP/1.1 401 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
        let _ = stream.flush();
        return;
    }
    proven.fetch_add(1, Ordering::SeqCst);
    let plain = format!("you sent {secret} and it is good");
    let (fields, body) = if path.contains("/base64") {
        let coded = base64::engine::general_purpose::STANDARD.encode(&plain);
        (String::new(), coded.into_bytes())
    } else if path.contains("/gzip") {
        let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        coder.write_all(plain.as_bytes()).unwrap();
        (
            "content-encoding: gzip\r\n".to_owned(),
            coder.finish().unwrap(),
        )
    } else if path.contains("/unknown") {
        (
            "content-encoding: exotic\r\n".to_owned(),
            plain.into_bytes(),
        )
    } else if path.contains("/field") {
        (format!("x-you-sent: {secret}\r\n"), b"good".to_vec())
    } else if path.contains("/raw") {
        (String::new(), plain.into_bytes())
    } else if path.contains("/hang") {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nbegun\n");
        let _ = stream.flush();
        while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
        return;
    } else {
        (String::new(), b"good".to_vec())
    };
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\n{fields}content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    let _ = stream.write_all(&body);
    let _ = stream.flush();
}

/// A request: its head, and its body, which has a length.
fn whole(stream: &mut impl Read) -> Option<(String, Vec<u8>)> {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).ok()?;
    let length = field(&head, "content-length").map_or(Some(0), |length| length.parse().ok())?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// What Git's own server answers.
fn http_backend(directory: &Path, head: &str, body: &[u8]) -> Vec<u8> {
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let of = |name: &str| field(head, name).unwrap_or_default();
    let mut server = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", directory)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("REMOTE_USER", "casemate")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path.strip_prefix("/v1").unwrap())
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", of("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", of("content-encoding"))
        .env("GIT_PROTOCOL", of("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = server.stdin.take().unwrap();
    let body = body.to_vec();
    let fed = thread::spawn(move || drop(input.write_all(&body)));
    let said = server.wait_with_output().unwrap().stdout;
    fed.join().unwrap();
    let end = said
        .windows(4)
        .position(|part| part == b"\r\n\r\n")
        .unwrap()
        + 2;
    let (fields, content) = said.split_at(end);
    let fields = String::from_utf8_lossy(fields);
    let status = field(&fields, "status").unwrap_or("200 OK");
    let length = content.len() - 2;
    let head =
        format!("HTTP/1.1 {status}\r\n{fields}content-length: {length}\r\nconnection: close\r\n");
    [head.as_bytes(), content].concat()
}

/// The head of a request, and what comes with it.
fn read_body(stream: &mut impl Read, head: &str) -> Option<()> {
    let (fields, begun) = head.split_once("\r\n\r\n")?;
    let mut fields = fields.lines().filter_map(|line| line.split_once(": "));
    let (_, length) = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    let rest = length.parse::<usize>().ok()?.checked_sub(begun.len())?;
    stream.read_exact(&mut vec![0; rest]).ok()
}

fn head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|part| part == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => head.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}

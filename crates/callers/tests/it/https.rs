//! Key sets from an HTTPS server, good and bad.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use casemate_callers::{
    HttpsSource, IssuerConfig, JwtVerifier, KeySource as _, KeySourceError, MAX_JWKS_BYTES,
    RefusalCode as Code,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, Stream};
use rustls_pki_types::PrivateKeyDer;
use tempfile::TempDir;

use crate::support::{NOW, TestKey, claims, config, jwks, refused};

/// A server on this host that gives every request the same answer.
struct Server {
    dir: TempDir,
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn new(answer: impl Into<Vec<u8>>) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &ca).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let pem = BASE64_STANDARD.encode(ca.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n");
        fs::write(dir.path().join("ca.pem"), pem).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let (config, answer, count) = (Arc::new(config), answer.into(), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serve(stream, Arc::clone(&config), &answer, &count);
            }
        });
        Self { dir, port, asked }
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/keys", self.port)
    }

    fn fetch(&self) -> Result<Vec<u8>, KeySourceError> {
        HttpsSource::new(&self.url(), Some(&self.ca()))
            .unwrap()
            .fetch()
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// An empty answer means none at all.
fn serve(mut stream: TcpStream, config: Arc<ServerConfig>, answer: &[u8], count: &AtomicUsize) {
    let mut tls = ServerConnection::new(config).unwrap();
    let mut stream = Stream::new(&mut tls, &mut stream);
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => request.push(byte[0]),
            _ => return,
        }
    }
    count.fetch_add(1, Ordering::SeqCst);
    if answer.is_empty() {
        let _ = stream.read(&mut byte);
    }
    let _ = stream.write_all(answer);
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n{body}").into_bytes()
}

/// Keys come over TLS from a server that is verified, and what they sign is believed.
#[test]
fn keys_are_fetched() {
    let key = TestKey::new("EdDSA", "k1");
    let server = Server::new(answer("200 OK", "", &jwks(&[&key]).to_string()));
    let config = IssuerConfig {
        jwks: server.url(),
        authorities: Some(server.ca()),
        ..config()
    };
    let verifier = JwtVerifier::new(vec![config]).unwrap();
    assert_eq!(server.asked(), 0);
    assert!(verifier.verify(&key.token(&claims()), NOW).is_ok());
    assert!(verifier.verify(&key.token(&claims()), NOW).is_ok());
    assert_eq!(server.asked(), 1);
}

/// I1: a server that nobody vouches for, or under another name, is not asked.
#[test]
fn a_server_that_is_not_verified_is_not_asked() {
    let key = TestKey::new("EdDSA", "k1");
    let server = Server::new(answer("200 OK", "", &jwks(&[&key]).to_string()));
    let other = Server::new("x");
    let by_other = HttpsSource::new(&server.url(), Some(&other.ca())).unwrap();
    assert!(matches!(
        by_other.fetch(),
        Err(KeySourceError::Fetch { .. })
    ));
    let by_host = HttpsSource::new(&server.url(), None);
    if let Ok(by_host) = by_host {
        assert!(matches!(by_host.fetch(), Err(KeySourceError::Fetch { .. })));
    }
    let by_address = format!("https://127.0.0.1:{}/keys", server.port);
    let by_address = HttpsSource::new(&by_address, Some(&server.ca())).unwrap();
    assert!(matches!(
        by_address.fetch(),
        Err(KeySourceError::Fetch { .. })
    ));
    assert_eq!(server.asked(), 0);
    assert!(server.fetch().is_ok());
}

#[test]
fn no_redirect_is_followed() {
    let target = Server::new(answer("200 OK", "", "{}"));
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let location = format!("Location: {}\r\n", target.url());
        let server = Server::new(answer(status, &location, ""));
        let fetched = server.fetch();
        assert!(
            matches!(fetched, Err(KeySourceError::Status { .. })),
            "{fetched:?}"
        );
        assert_eq!((server.asked(), target.asked()), (1, 0));
    }
}

/// I15: what is too large, is no answer or is none of HTTP ends the fetch.
#[test]
fn other_answers_are_none() {
    let large = "x".repeat(usize::try_from(MAX_JWKS_BYTES).unwrap() + 1);
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{large}").into_bytes();
    let many = format!("X: {}\r\n", "x".repeat(1 << 20));
    for bad in [
        answer("200 OK", "", &large),
        endless,
        answer("200 OK", &many, "{}"),
        answer("204 No Content", "", ""),
        answer("404 Not Found", "", "{}"),
        answer("500 Oops", "", "{}"),
        b"SSH-2.0-x\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}".to_vec(),
    ] {
        let start = String::from_utf8_lossy(&bad[..bad.len().min(60)]).into_owned();
        assert!(Server::new(bad).fetch().is_err(), "{start}");
    }
    let fits = "x".repeat(usize::try_from(MAX_JWKS_BYTES).unwrap());
    assert!(Server::new(answer("200 OK", "", &fits)).fetch().is_ok());
}

/// I1: a server that says nothing is no reason to wait for ever.
#[test]
fn a_silent_server_is_left() {
    let key = TestKey::new("EdDSA", "k1");
    let server = Server::new("");
    let config = IssuerConfig {
        jwks: server.url(),
        authorities: Some(server.ca()),
        ..config()
    };
    let verifier = JwtVerifier::new(vec![config]).unwrap();
    refused(
        verifier.verify(&key.token(&claims()), NOW),
        Code::KeysUnavailable,
    );
    refused(
        verifier.verify(&key.token(&claims()), NOW),
        Code::KeysUnavailable,
    );
    assert_eq!(server.asked(), 1);
}

//! TLS and client certificates, made for the test.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use casemate_api::{Network, NetworkError, TlsFiles, tls_config};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType, date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    client::{Answered, until},
    remote::{Headers, Remote, ask_over},
};

type Authority = CertifiedIssuer<'static, KeyPair>;
type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn signed(by: &Authority, name: SanType, last_year: i32) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![name];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(last_year, 1, 1);
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    (params.signed_by(&key, by).unwrap(), key)
}

fn client(by: &Authority, uri: &str, last_year: i32) -> Identity {
    let (certificate, key) = signed(by, SanType::URI(uri.try_into().unwrap()), last_year);
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    (certificate.der().clone(), key)
}

/// A gateway with TLS, and the authorities of its server and of its clients.
struct Secured {
    remote: Remote,
    servers: Authority,
    clients: Authority,
    _dir: TempDir,
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

fn files(dir: &TempDir, servers: &Authority, clients: Option<&Authority>) -> TlsFiles {
    let (certificate, key) = signed(
        servers,
        SanType::DnsName("localhost".try_into().unwrap()),
        2099,
    );
    let write = |name: &str, text: String| -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    TlsFiles {
        certificates: write("cert.pem", pem("CERTIFICATE", certificate.der())),
        key: write("key.pem", pem("PRIVATE KEY", &key.serialize_der())),
        client_authorities: clients
            .map(|clients| write("ca.pem", pem("CERTIFICATE", clients.der()))),
    }
}

impl Secured {
    async fn new() -> Self {
        let (dir, servers, clients) = (tempfile::tempdir().unwrap(), authority(), authority());
        let config = tls_config(&files(&dir, &servers, Some(&clients))).unwrap();
        Self {
            remote: Remote::with(Some(config)).await,
            servers,
            clients,
            _dir: dir,
        }
    }

    async fn connect(&self, identity: Option<&Identity>) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.servers.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(vec![certificate.clone()], key.clone_key())
                .unwrap(),
        };
        let stream = TcpStream::connect(self.remote.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    async fn get(&self, identity: Option<&Identity>, headers: &Headers) -> Answered {
        let stream = self.connect(identity).await.unwrap();
        ask_over(stream, "GET", "/v1/sessions", headers, &Value::Null).await
    }
}

/// R88, R136: a certificate of our authority is who its rule says; one that no rule names is nobody; a token does not go with one.
#[tokio::test]
async fn a_client_certificate_is_who_its_rule_says() {
    let secured = Secured::new().await;
    let remote = &secured.remote;
    let billing = client(&secured.clients, "spiffe://acme.example/billing", 2099);
    assert_eq!(secured.get(Some(&billing), &Vec::new()).await.status, 200);
    let stream = secured.connect(Some(&billing)).await.unwrap();
    let call = json!({ "tool": "python", "code": "1" });
    let ran = ask_over(stream, "POST", "/v1/calls", &Vec::new(), &call).await;
    assert_eq!(ran.status, 200, "{}", ran.json());

    let nobody = client(&secured.clients, "spiffe://acme.example/nobody", 2099);
    remote.is_refused(
        &secured.get(Some(&nobody), &Vec::new()).await,
        401,
        "no_certificate_rule",
    );
    let both = secured
        .get(Some(&billing), &remote.somebody(&["reader"]))
        .await;
    remote.is_refused(&both, 401, "several_credentials");
    remote.is_refused(
        &secured.get(None, &Vec::new()).await,
        401,
        "missing_credential",
    );
    assert_eq!(
        secured
            .get(None, &remote.somebody(&["reader"]))
            .await
            .status,
        200
    );
}

/// R136: an expired certificate, or one of another authority, is not heard at all, and is on record.
#[tokio::test]
async fn certificates_that_tls_does_not_accept_are_on_record() {
    let secured = Secured::new().await;
    let others = authority();
    for (nth, bad) in [
        client(&secured.clients, "spiffe://acme.example/billing", 2021),
        client(&others, "spiffe://acme.example/billing", 2099),
    ]
    .iter()
    .enumerate()
    {
        // With TLS 1.3 a client may learn of it with its first read only.
        if let Ok(mut stream) = secured.connect(Some(bad)).await {
            let mut answer = Vec::new();
            let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await;
            assert!(read.is_err() || answer.is_empty());
        }
        until(|| secured.remote.refusals().len() == nth + 1).await;
        let refused = secured.remote.refusals();
        let subject = &refused.last().unwrap().entry.summary["subject"];
        assert_eq!(subject["code"], "certificate_not_accepted");
        assert_eq!(subject["peer"], "127.0.0.1");
    }
    assert_eq!(secured.remote.happened(), 0);
}

/// Who does not finish a handshake keeps out nobody; who speaks plainly is not heard.
#[tokio::test]
async fn slow_handshakes_block_nobody() {
    let secured = Secured::new().await;
    let mut slow = Vec::new();
    for _ in 0..100 {
        slow.push(TcpStream::connect(secured.remote.address).await.unwrap());
    }
    let reader = secured.remote.somebody(&["reader"]);
    assert_eq!(secured.get(None, &reader).await.status, 200);
    drop(slow);
}

/// Credentials do not travel in clear: without TLS only this host is heard.
#[tokio::test]
async fn without_tls_only_this_host_is_heard() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let address: SocketAddr = address.parse().unwrap();
        let bound = Network::bind(address, None).await;
        assert!(matches!(bound, Err(NetworkError::Readable(_))), "{bound:?}");
    }
    assert!(
        Network::bind("127.0.0.1:0".parse().unwrap(), None)
            .await
            .is_ok()
    );
}

/// A key that others can read is no key; what is no PEM is refused with its name.
#[test]
fn files_that_are_of_no_use_are_refused() {
    let (dir, servers) = (tempfile::tempdir().unwrap(), authority());
    let good = files(&dir, &servers, Some(&servers));
    assert!(tls_config(&good).is_ok());
    let other = tempfile::tempdir().unwrap();
    let mixed = TlsFiles {
        key: files(&other, &servers, None).key,
        ..good.clone()
    };
    assert!(tls_config(&mixed).is_err());
    let swapped = TlsFiles {
        certificates: good.key.clone(),
        ..good.clone()
    };
    assert!(tls_config(&swapped).is_err());
    fs::set_permissions(&good.key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(tls_config(&good).is_err());
}

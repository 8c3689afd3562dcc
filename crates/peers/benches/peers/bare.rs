//! A bare interceptor of hyper and rustls: the names of its list, and nothing else that ours does. It is what two legs of TLS and
//! HTTP cost, and what their libraries refuse by themselves.

use std::{
    collections::{BTreeSet, HashMap},
    convert::Infallible,
    fs,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, combinators::BoxBody};
use hyper::{body::Incoming, client::conn::http1::SendRequest, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Mutex as AsyncMutex,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    Failure,
    peer::{Peer, Rules},
};

type Reply = Response<BoxBody<Bytes, hyper::Error>>;

pub(crate) fn start(rules: &Rules<'_>) -> Result<Peer, Failure> {
    let authority = rules.directory.join("authority.pem");
    let mut lines = vec![
        rules.port.to_string(),
        authority.display().to_string(),
        rules.roots.display().to_string(),
    ];
    let allowed = rules.allowed.iter();
    lines.extend(allowed.map(|(name, port)| format!("{name}:{port}")));
    lines.push(format!("good.test:{}", rules.plain));
    let config = rules.directory.join("bare");
    fs::write(&config, lines.join("\n"))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("bare").arg(config);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Peer::start("hyper and rustls, bare", command, rules, &authority)
}

struct Bare {
    issuer: Issuer<'static, KeyPair>,
    key: KeyPair,
    leaves: Mutex<HashMap<String, Arc<ServerConfig>>>,
    allowed: BTreeSet<String>,
    trust: Arc<ClientConfig>,
}

/// The interceptor's process.
pub(crate) fn serve(config: &str) -> Result<(), Failure> {
    let text = fs::read_to_string(config)?;
    let mut lines = text.lines();
    let mut next = || lines.next().ok_or("no line");
    let (port, authority, roots) = (next()?.parse::<u16>()?, next()?, next()?);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key)?;
    fs::write(authority, casemate_attacks::pem(certificate.der()))?;
    let roots = CertificateDer::from_pem_file(Path::new(roots))?;
    let bare = Arc::new(Bare {
        issuer: Issuer::new(params, key),
        key: KeyPair::generate()?,
        leaves: Mutex::default(),
        allowed: lines.map(str::to_owned).collect(),
        trust: Arc::new(Peer::trusting(&roots, &[])),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let bare = Arc::clone(&bare);
            let service = service_fn(move |request| {
                let bare = Arc::clone(&bare);
                async move { Ok::<_, Infallible>(bare.outer(request).await) }
            });
            tokio::spawn(async move {
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades()
                    .await;
            });
        }
    })
}

fn plain(status: StatusCode) -> Reply {
    let body = Empty::new()
        .map_err(|never: Infallible| match never {})
        .boxed();
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply
}

impl Bare {
    /// A request at the proxy's port.
    async fn outer(self: Arc<Self>, request: Request<Incoming>) -> Reply {
        let Some(authority) = request.uri().authority().map(ToString::to_string) else {
            return plain(StatusCode::BAD_REQUEST);
        };
        let authority = authority.to_ascii_lowercase().replace(".:", ":");
        if !self.allowed.contains(&authority) {
            return plain(StatusCode::FORBIDDEN);
        }
        if request.method() == Method::CONNECT {
            tokio::spawn(async move {
                if let Ok(upgraded) = hyper::upgrade::on(request).await {
                    let _ = self.tunnel(TokioIo::new(upgraded), authority).await;
                }
            });
            return plain(StatusCode::OK);
        }
        match TcpStream::connect(authority).await {
            Ok(stream) => exchange(&AsyncMutex::new(handshake(stream).await.ok()), request).await,
            Err(_) => plain(StatusCode::BAD_GATEWAY),
        }
    }

    async fn tunnel<S>(self: Arc<Self>, stream: S, authority: String) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let host = authority.rsplit_once(':').ok_or("no port")?.0.to_owned();
        let client = TlsAcceptor::from(self.leaf(&host)?).accept(stream).await?;
        let upstream = TcpStream::connect(&authority).await?;
        upstream.set_nodelay(true)?;
        let name = ServerName::try_from(host)?;
        let upstream = TlsConnector::from(Arc::clone(&self.trust))
            .connect(name, upstream)
            .await?;
        let sender = Arc::new(AsyncMutex::new(Some(handshake(upstream).await?)));
        let speaks_h2 = client.get_ref().1.alpn_protocol() == Some(b"h2");
        let service = service_fn(move |request| {
            let sender = Arc::clone(&sender);
            async move { Ok::<_, Infallible>(exchange(&sender, request).await) }
        });
        let io = TokioIo::new(client);
        if speaks_h2 {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(io, service)
                .await?;
        } else {
            hyper::server::conn::http1::Builder::new()
                .serve_connection(io, service)
                .with_upgrades()
                .await?;
        }
        Ok(())
    }

    fn leaf(&self, host: &str) -> Result<Arc<ServerConfig>, Failure> {
        if let Some(known) = self.leaves.lock().unwrap().get(host) {
            return Ok(Arc::clone(known));
        }
        let params = CertificateParams::new(vec![host.to_owned()])?;
        let leaf = params.signed_by(&self.key, &self.issuer)?;
        let key = PrivateKeyDer::try_from(self.key.serialize_der())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let config = Arc::new(config);
        self.leaves
            .lock()
            .unwrap()
            .insert(host.to_owned(), Arc::clone(&config));
        Ok(config)
    }
}

async fn handshake<S>(stream: S) -> hyper::Result<SendRequest<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}

/// Sends a request on as it came, and the answer back.
async fn exchange(
    sender: &AsyncMutex<Option<SendRequest<Incoming>>>,
    mut request: Request<Incoming>,
) -> Reply {
    let mut sender = sender.lock().await;
    let Some(sender) = sender.as_mut() else {
        return plain(StatusCode::BAD_GATEWAY);
    };
    if let Some(authority) = request.uri().authority().map(ToString::to_string) {
        if let Ok(host) = authority.parse() {
            request.headers_mut().entry(header::HOST).or_insert(host);
        }
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let Ok(uri) = path.parse() else {
            return plain(StatusCode::BAD_REQUEST);
        };
        *request.uri_mut() = uri;
    }
    *request.version_mut() = http::Version::HTTP_11;
    let upgrade = request
        .headers()
        .contains_key(header::UPGRADE)
        .then(|| hyper::upgrade::on(&mut request));
    if sender.ready().await.is_err() {
        return plain(StatusCode::BAD_GATEWAY);
    }
    let Ok(mut answer) = sender.send_request(request).await else {
        return plain(StatusCode::BAD_GATEWAY);
    };
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(client)) = (answer.status(), upgrade) {
        let server = hyper::upgrade::on(&mut answer);
        tokio::spawn(async move {
            if let (Ok(client), Ok(server)) = tokio::join!(client, server) {
                let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        });
    }
    answer.map(BodyExt::boxed)
}

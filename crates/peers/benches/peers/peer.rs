//! A proxy in a process of its own.

use std::{
    net::{SocketAddr, TcpStream as StdTcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use casemate_attacks::{Duplex, Later, Subject};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::net::TcpStream;

use crate::Failure;

/// How long a proxy may take to listen.
const START: Duration = Duration::from_secs(20);

/// What a proxy is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    /// Where it may keep files.
    pub(crate) directory: &'a Path,
    /// Its port.
    pub(crate) port: u16,
    /// Names that are allowed, and their ports, over TLS.
    pub(crate) allowed: &'a [(String, u16)],
    /// The one port of `good.test` that may be spoken to without.
    pub(crate) plain: u16,
    /// The authority that vouches for destinations, as a file.
    pub(crate) roots: &'a Path,
}

/// A proxy that runs. It is killed when this is dropped.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) child: Child,
    pub(crate) port: u16,
    /// From its start until it listened.
    pub(crate) start: Duration,
    /// The authority that vouches for what it intercepts.
    pub(crate) authority: CertificateDer<'static>,
    pub(crate) roots: CertificateDer<'static>,
}

impl Peer {
    /// Starts `command`, which makes its authority's certificate at `authority`, and waits until it listens.
    pub(crate) fn start(
        name: &'static str,
        mut command: Command,
        rules: &Rules<'_>,
        authority: &Path,
    ) -> Result<Self, Failure> {
        let began = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let address = SocketAddr::from(([127, 0, 0, 1], rules.port));
        while StdTcpStream::connect(address).is_err() {
            if began.elapsed() > START || child.try_wait()?.is_some() {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{name} does not start").into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        let start = began.elapsed();
        Ok(Self {
            name,
            child,
            port: rules.port,
            start,
            authority: CertificateDer::from_pem_file(authority)?,
            roots: CertificateDer::from_pem_file(rules.roots)?,
        })
    }

    /// How clients that trust `authority` speak TLS.
    pub(crate) fn trusting(authority: &CertificateDer<'static>, alpn: &[&[u8]]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|one| one.to_vec()).collect();
        config
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Its own process group, so that helpers of squid go too.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}

impl Subject for Peer {
    fn connect(&self) -> Later<'_, Box<dyn Duplex>> {
        Box::pin(async {
            let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
            stream.set_nodelay(true).unwrap();
            Box::new(stream) as Box<dyn Duplex>
        })
    }

    fn dial(&self, _: SocketAddr) -> Option<Later<'_, Box<dyn Duplex>>> {
        None
    }

    fn ask<'a>(&'a self, _: &'a [u8]) -> Option<Later<'a, Vec<u8>>> {
        None
    }

    fn trust(&self, alpn: &[&[u8]], pinned: bool) -> ClientConfig {
        let believed = if pinned { &self.roots } else { &self.authority };
        Self::trusting(believed, alpn)
    }

    fn denials(&self) -> Later<'_, Option<Vec<String>>> {
        Box::pin(async { None })
    }
}

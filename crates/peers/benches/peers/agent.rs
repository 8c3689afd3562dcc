//! `casemate egress`: the process of an agent, started and spoken to as the gateway does.

use std::{
    net::{TcpListener, UdpSocket},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt as _, PermissionsExt as _},
            net::UnixStream as StdUnixStream,
            process::CommandExt as _,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use casemate_ledger::{Entry, Kind, Ledger};
use casemate_model::{DecisionId, Digest, SideEffect};
use casemate_ports::{
    Advice, AdviceCode, ConsultedRequest, Crossing, Egress as _, HeldRequest, NewWay, NotConsented,
    NotRecorded, Owner, Pending, RulesForm, ServedWay, Stage, WayRules, WaySockets, Witness,
};
use casemate_transport::{RemoteEgress, handover};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;
use tokio::{io::AsyncReadExt as _, net::UnixStream, time::timeout};

use crate::{Failure, log};

pub(crate) const NAME: &str = "casemate egress, its process";

/// How long it may take to begin.
const START: Duration = Duration::from_secs(20);
/// The most bytes of what it says then.
const MAX_SAID: u32 = 16 << 10;

/// The process. It is killed when this is dropped.
pub(crate) struct Agent {
    child: Child,
    remote: RemoteEgress,
    handover: PathBuf,
    /// From its start until it said what it is kept from, with nothing left to do but serve.
    pub(crate) start: Duration,
}

/// A way out of one call, and whom its programs believe.
pub(crate) struct Way {
    pub(crate) served: Box<dyn ServedWay>,
    pub(crate) port: u16,
    pub(crate) authority: CertificateDer<'static>,
    /// What the sandbox has of it.
    _sockets: WaySockets,
}

impl Agent {
    /// Starts `binary` in a directory of its own, with `roots` believed.
    pub(crate) async fn start(
        binary: &Path,
        directory: &Path,
        roots: &Path,
    ) -> Result<Self, Failure> {
        std::fs::DirBuilder::new().mode(0o700).create(directory)?;
        let own = directory.join("roots.pem");
        std::fs::copy(roots, &own)?;
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o600))?;
        let handover = directory.join("egress.sock");
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let began = Instant::now();
        let mut child = Command::new(binary)
            .args(["egress", "--handover"])
            .arg(&handover)
            .arg("--roots")
            .arg(&own)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()?;
        let begun = timeout(START, async {
            let mut stream = UnixStream::from_std(ours)?;
            let length = stream.read_u32().await?;
            if length > MAX_SAID {
                return Err(Failure::from("it says too much"));
            }
            let mut said = vec![0; length as usize];
            stream.read_exact(&mut said).await?;
            Ok((stream, said))
        });
        let begun = match begun.await {
            Ok(Ok(begun)) => Ok(begun),
            Ok(Err(error)) => Err(error),
            Err(_) => Err("it does not begin".into()),
        };
        let start = began.elapsed();
        let (stream, said) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        let mut agent = Self {
            child,
            remote: RemoteEgress::connect(stream).await?,
            handover,
            start,
        };
        let said: Value = serde_json::from_slice(&said)?;
        let tried = said["tried"].as_array().ok_or("it tried nothing")?;
        if tried.is_empty() || tried.iter().any(|one| one["held"] != true) {
            let _ = agent.child.kill();
            return Err(format!("it can do what it must not: {said}").into());
        }
        Ok(agent)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Opens the way out of a call, whose requests `witness` is told of.
    pub(crate) async fn open(
        &self,
        rules: &str,
        witness: Arc<dyn Witness>,
    ) -> Result<Way, Failure> {
        let owner = Owner {
            tenant: "tenant".to_owned(),
            agent: "agent".to_owned(),
        };
        let rules = WayRules {
            form: RulesForm::Toml,
            text: rules.to_owned(),
        };
        let pem = self.remote.authority(&owner, &rules).await?.pem;
        let decision =
            DecisionId::new(now_ms(), fastrand::u128(..).to_be_bytes()[..10].try_into()?);
        let way = NewWay {
            decision,
            trace: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            tool: "bench".to_owned(),
            ceiling: SideEffect::Draft,
            authority: Digest::of(pem.as_bytes()),
            rules,
            consults: false,
            known: Vec::new(),
            bound: None,
        };
        let served = self.remote.open(&owner, way, None, witness).await?;
        let listen = || {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            listener.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(listener)
        };
        let dns = UdpSocket::bind("127.0.0.1:0")?;
        dns.set_nonblocking(true)?;
        let sockets = WaySockets {
            proxy: listen()?,
            transparent: Vec::new(),
            dns,
            dns_tcp: listen()?,
        };
        let port = sockets.proxy.local_addr()?.port();
        handover::send(&self.handover, decision, &sockets).await?;
        Ok(Way {
            served,
            port,
            authority: CertificateDer::from_pem_slice(pem.as_bytes())?,
            _sockets: sockets,
        })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // The one that serves dies with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// What a decider says that is not there: it is not asked.
const NOBODY: Advice = Advice::Deny {
    code: AdviceCode::Unavailable,
    status: None,
};

/// Counts what it is told, and writes nothing down.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) denied: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) ended: AtomicU64,
}

impl Witness for Counts {
    fn record(&self, crossing: Crossing) -> Pending<'_, Result<(), NotRecorded>> {
        let count = match crossing.stage {
            Stage::Denied(_) => &self.denied,
            Stage::Sent => &self.sent,
            Stage::Ended(_) => &self.ended,
        };
        count.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::ready(Ok(())))
    }

    fn consent(&self, _: HeldRequest) -> Pending<'_, Result<(), NotConsented>> {
        Box::pin(std::future::ready(Err(NotConsented::Refused)))
    }

    fn consult(&self, _: ConsultedRequest) -> Pending<'_, Advice> {
        Box::pin(std::future::ready(NOBODY))
    }
}

/// Keeps records in a log, as the gateway does but for their sealed part.
#[derive(Debug)]
pub(crate) struct Book(pub(crate) Arc<Ledger>);

impl Witness for Book {
    fn record(&self, crossing: Crossing) -> Pending<'_, Result<(), NotRecorded>> {
        let ledger = Arc::clone(&self.0);
        Box::pin(async move {
            let entry = Entry {
                at_ms: crossing.at_ms,
                decision: crossing.decision,
                kind: match crossing.stage {
                    Stage::Denied(_) => Kind::Denied,
                    Stage::Sent => Kind::Allowed,
                    Stage::Ended(_) => Kind::Outcome,
                },
                agent: "agent".to_owned(),
                tenant: "tenant".to_owned(),
                summary: serde_json::to_value(&crossing).map_err(|_| NotRecorded)?,
                payload: None,
            };
            let written = log::append(&ledger, entry).await;
            written.map_err(|_| NotRecorded)
        })
    }

    fn consent(&self, _: HeldRequest) -> Pending<'_, Result<(), NotConsented>> {
        Box::pin(std::future::ready(Err(NotConsented::Refused)))
    }

    fn consult(&self, _: ConsultedRequest) -> Pending<'_, Advice> {
        Box::pin(std::future::ready(NOBODY))
    }
}

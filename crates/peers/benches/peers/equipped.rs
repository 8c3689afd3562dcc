//! Ours with everything on: rules of a profile, vetted addresses, a credential out of a file, answers scrubbed, records that are durable
//! in a real log before anything is sent. One thread, as in the process of an agent.

use std::{
    fs, io,
    io::BufRead as _,
    net::IpAddr,
    path::Path,
    process::Command,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use casemate_egress::{
    Admission, Allowance, Authority, BodyLength, Cidr, Clock, Code, Denial, Entropy, Facts, Filter,
    FilterError, Filters, Flow, InjectError, Injection, Injector, Judge, Name, Origin, Parts,
    Pending, Pins, Proxy, Record, RecordError, Recorder, ResolveError, Resolver, Room, Scheme,
    Stage, Subtree, Target, Trust, Vetting,
};
use casemate_ledger::{Entry, Kind, Ledger, LogKey};
use casemate_model::{DecisionId, SideEffect};
use casemate_policy::{
    self as policy, DestinationFacts, EgressPolicy, EgressRule, Familiarity, Profile, RequestBody,
    RequestFacts, RequestVerdict, Syntax,
};
use casemate_scrub::{Body, Coding, DecodeLimits, Hits, Scrubber, Secret};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    Failure, log,
    peer::{Peer, Rules as Told},
};

pub(crate) const NAME: &str = "casemate, everything on";
/// The same with its log in memory: what it costs without the disk.
pub(crate) const IN_MEMORY: &str = "casemate, log in memory";
const MEMORY: &str = "/dev/shm";

/// Rules for `good.test` and what is below it, on these ports.
pub(crate) fn profile(ports: &[u16], credential: Option<&str>) -> String {
    let credential =
        credential.map_or_else(String::new, |handle| format!("credential = \"{handle}\"\n"));
    let rule = |name: &str, host: &str| {
        format!(
            "[[egress.rules]]\nname = \"{name}\"\nhost = \"{host}\"\nclass = \"internal\"\ncidr = [\"127.0.0.0/8\"]\nports = {ports:?}\n\
             methods = [\"GET\", \"POST\"]\npaths = [\"/**\"]\nside_effect = \"read\"\n{credential}"
        )
    };
    format!(
        "route = \"bench\"\nrisk_class = \"medium\"\ntier = \"tool_limited\"\n\
         identity = {{ allowed_issuers = [\"i\"], required_audience = \"a\", required_scopes = [] }}\n\
         observability = {{ required_trace_fields = [], redact = [] }}\n\
         [tools]\nallowed = [\"bench\"]\napproval_required = []\n\
         [sandbox]\nfilesystem = \"read_only\"\nworkspace = \"/w\"\nlimits = {{ max_runtime_ms = 1000, max_output_bytes = 1000 }}\n\
         [sandbox.network]\nallowed_domains = [\"good.test\", \"*.good.test\"]\nblock_private_networks = true\nrequire_tls = true\n\
         {}{}",
        rule("good", "good.test"),
        rule("below", "*.good.test"),
    )
}

pub(crate) fn start(rules: &Told<'_>, name: &'static str) -> Result<Peer, Failure> {
    let authority = rules.directory.join("authority.pem");
    let ports: Vec<_> = rules.allowed.iter().map(|(_, port)| *port).collect();
    let profile = profile(&ports, Some("key"));
    fs::write(rules.directory.join("profile.toml"), profile)?;
    // A secret that nobody else has.
    let secret: String = (0..40).map(|_| fastrand::alphanumeric()).collect();
    fs::write(rules.directory.join("key"), secret)?;
    fs::copy(rules.roots, rules.directory.join("roots.pem"))?;
    let log = if name == IN_MEMORY {
        Path::new(MEMORY).join(rules.port.to_string())
    } else {
        rules.directory.join("log")
    };
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("equipped")
        .arg(rules.directory)
        .arg(rules.port.to_string())
        .arg(log);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Peer::start(name, command, rules, &authority)
}

/// The proxy's process. A line on its standard input withdraws the rules, the next gives them back; one with a word is a new credential.
pub(crate) fn serve(directory: &str, port: &str, log: &str) -> Result<(), Failure> {
    let directory = Path::new(directory);
    let text = fs::read(directory.join("profile.toml"))?;
    let profile = Profile::parse(&text, Syntax::Toml).map_err(|error| format!("{error:?}"))?;
    let subtree = Subtree::Name(Name::parse("good.test").map_err(|error| format!("{error:?}"))?);
    let authority = Authority::new(&[subtree], &Here, Arc::new(Here))?;
    let rules = Arc::new(Rules {
        policy: EgressPolicy::compile(&profile),
        withdrawn: AtomicBool::new(false),
    });
    let keys = Arc::new(Keys::new(fs::read_to_string(directory.join("key"))?)?);
    let key_of_log = LogKey::from_seed(&[1; 32], "casemate.bench/log")?;
    let pem = authority.pem();
    let proxy = Proxy::new(Parts {
        judge: Arc::clone(&rules) as _,
        resolver: Arc::new(Here),
        injector: Arc::clone(&keys) as _,
        placeholders: None,
        filters: Arc::clone(&keys) as _,
        recorder: Arc::new(Log(Arc::new(Ledger::open(Path::new(log), key_of_log)?))),
        clock: Arc::new(Here),
        entropy: Arc::new(Here),
        vetting: Vetting::default(),
        trust: Trust::bundled().with_pem(&fs::read(directory.join("roots.pem"))?)?,
        authority: Arc::new(authority),
        routes: Vec::new(),
        pins: Pins::new("198.18.0.0/15".parse().map_err(|_| "no block")?)?,
        room: Room::default(),
    })?;
    fs::write(directory.join("authority.pem"), pem)?;
    let port = port.parse::<u16>()?;
    let (withdrawing, reviewed) = (Arc::clone(&rules), proxy.clone());
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else {
                return;
            };
            if !line.is_empty() {
                if keys.change(line).is_err() {
                    return;
                }
                continue;
            }
            withdrawing.withdrawn.fetch_xor(true, Ordering::SeqCst);
            reviewed.review();
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            let proxy = proxy.clone();
            let origin = Origin {
                call: DecisionId::new(Here.now_ms(), [7; 10]),
                trace: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            };
            tokio::spawn(async move { proxy.serve_proxy(stream, origin).await });
        }
    })
}

/// Rules of a profile, which can be withdrawn.
#[derive(Debug)]
struct Rules {
    policy: EgressPolicy,
    withdrawn: AtomicBool,
}

const fn scheme(scheme: Scheme) -> policy::Scheme {
    match scheme {
        Scheme::Https => policy::Scheme::Https,
        Scheme::Http => policy::Scheme::Http,
        Scheme::Postgres => policy::Scheme::Postgres,
    }
}

fn pins(rule: &EgressRule) -> Vec<Cidr> {
    let blocks = rule.cidr.iter();
    blocks
        .filter_map(|block| block.to_string().parse().ok())
        .collect()
}

impl Rules {
    fn about<T>(&self, facts: &Facts, ask: impl FnOnce(&RequestFacts<'_>) -> T) -> T {
        let target = facts.destination.target();
        let host = target.host.to_string();
        let headers: Vec<_> = facts
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        let body = match (&facts.body, facts.length) {
            (_, BodyLength::Empty) => RequestBody::Empty,
            (Some(whole), _) => RequestBody::Whole {
                bytes: &whole.bytes,
                digest: whole.digest,
            },
            (None, BodyLength::Bytes(bytes)) => RequestBody::Stream { bytes: Some(bytes) },
            (None, BodyLength::Unknown) => RequestBody::Stream { bytes: None },
        };
        ask(&RequestFacts {
            tool: "bench",
            ceiling: SideEffect::Draft,
            scheme: scheme(target.scheme),
            host: &host,
            port: target.port,
            method: facts.method.as_str(),
            path: &facts.path,
            query: facts.query.as_deref(),
            headers: &headers,
            body,
            websocket: facts.websocket,
            destination: Familiarity::Known,
        })
    }
}

impl Judge for Rules {
    fn admit(&self, target: &Target, _: &Origin) -> Result<Admission, Denial> {
        let host = target.host.to_string();
        let rule = self
            .policy
            .admit(&DestinationFacts {
                tool: "bench",
                scheme: scheme(target.scheme),
                host: &host,
                port: target.port,
            })
            .map_err(|_| Denial::from(Code::EgressDenied))?;
        Ok(Admission {
            class: rule.class,
            pins: pins(rule),
            rule: rule.name.clone(),
            plaintext: rule.plaintext,
        })
    }

    fn resolves(&self, _: &Name, _: &Origin) -> Result<(), Denial> {
        Err(Code::EgressDenied.into())
    }

    fn body_bytes(&self, facts: &Facts) -> Option<usize> {
        self.about(facts, |request| self.policy.wants_body(request))
            .then_some(1 << 20)
    }

    fn judge<'a>(&'a self, facts: &'a Facts) -> Pending<'a, Result<Allowance, Denial>> {
        Box::pin(async move {
            self.about(facts, |request| {
                let ruling = self.policy.judge(request);
                match (ruling.verdict, ruling.rule) {
                    (RequestVerdict::Allow, Some(rule)) => Ok(Allowance {
                        rule: rule.name.clone(),
                        side_effect: rule.side_effect,
                        body_bytes: ruling.most_body_bytes,
                        credential: rule.credential.clone(),
                        escaped_slash: rule.escaped_slash,
                        messages: None,
                        without: Vec::new(),
                    }),
                    _ => Err(Code::EgressDenied.into()),
                }
            })
        })
    }

    fn spend(&self, _: &Allowance, _: Flow, _: u64) -> Result<(), Denial> {
        Ok(())
    }

    fn stands(&self, _: &str) -> bool {
        !self.withdrawn.load(Ordering::SeqCst)
    }
}

/// This machine: its time, its chance, its address.
#[derive(Debug)]
struct Here;

impl Clock for Here {
    fn now_ms(&self) -> u64 {
        let since = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or_default()
    }
}

impl Entropy for Here {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        for byte in bytes {
            *byte = fastrand::u8(..);
        }
        Ok(())
    }
}

impl Resolver for Here {
    fn resolve<'a>(&'a self, _: &'a Name) -> Pending<'a, Result<Vec<IpAddr>, ResolveError>> {
        Box::pin(async { Ok(vec![IpAddr::from([127, 0, 0, 1])]) })
    }
}

/// A credential out of a file, and what takes it out of answers: it, and the one before it.
struct Keys(RwLock<Current>);

struct Current {
    key: String,
    scrubber: Arc<Scrubber>,
}

impl Keys {
    fn new(key: String) -> Result<Self, Failure> {
        let scrubber = scrubber([&key])?;
        Ok(Self(RwLock::new(Current { key, scrubber })))
    }

    fn change(&self, key: String) -> Result<(), Failure> {
        let mut current = self.0.write().unwrap();
        let scrubber = scrubber([&key, &current.key])?;
        *current = Current { key, scrubber };
        Ok(())
    }
}

fn scrubber<const N: usize>(keys: [&String; N]) -> Result<Arc<Scrubber>, Failure> {
    let secrets = keys.map(|key| Secret::new("key", key.clone().into_bytes()));
    let secrets = secrets.into_iter().collect::<Result<_, _>>()?;
    Ok(Arc::new(Scrubber::new(secrets)?))
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Injector for Keys {
    fn render<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a Facts,
    ) -> Pending<'a, Result<Injection, InjectError>> {
        let value = HeaderValue::try_from(format!("Bearer {}", self.0.read().unwrap().key));
        let value = value.map_err(|_| InjectError::Unavailable);
        let name = HeaderName::from_static("authorization");
        Box::pin(async move { Ok(Injection::new(name, value?)) })
    }
}

struct Scrub {
    scrubber: Arc<Scrubber>,
    body: Option<Body>,
    hits: Hits,
}

impl Filters for Keys {
    fn learn(&self, _: &Injection) -> Result<(), FilterError> {
        Ok(())
    }

    fn looks(&self) -> bool {
        false
    }

    fn filter(&self, _: &Facts, injected: Option<&Injection>) -> Option<Box<dyn Filter>> {
        injected?;
        Some(Box::new(Scrub {
            scrubber: Arc::clone(&self.0.read().unwrap().scrubber),
            body: None,
            hits: Hits::default(),
        }))
    }
}

/// The pieces that come out, as one; a single one is not copied.
#[derive(Default)]
struct Joined(Bytes, BytesMut);

impl Joined {
    fn push(&mut self, bytes: Bytes) {
        if self.0.is_empty() && self.1.is_empty() {
            self.0 = bytes;
            return;
        }
        if self.1.is_empty() {
            self.1.extend_from_slice(&std::mem::take(&mut self.0));
        }
        self.1.extend_from_slice(&bytes);
    }

    fn all(self) -> Bytes {
        if self.1.is_empty() {
            self.0
        } else {
            self.1.freeze()
        }
    }
}

impl Filter for Scrub {
    fn head(&mut self, _: StatusCode, fields: &mut HeaderMap) -> Result<(), FilterError> {
        self.trailers(fields)?;
        let codings = fields.get_all("content-encoding").iter();
        let coding = Coding::of(codings.map(HeaderValue::as_bytes)).map_err(|_| FilterError)?;
        fields.remove("content-encoding");
        self.body = Some(Body::new(
            Arc::clone(&self.scrubber),
            coding,
            DecodeLimits::default(),
        ));
        Ok(())
    }

    fn data(&mut self, bytes: Bytes) -> Result<Bytes, FilterError> {
        let mut out = Joined::default();
        let body = self.body.as_mut().ok_or(FilterError)?;
        body.push(&bytes, |piece| out.push(piece))
            .map_err(|_| FilterError)?;
        Ok(out.all())
    }

    fn finish(&mut self) -> Result<Bytes, FilterError> {
        let mut out = Joined::default();
        let Some(body) = self.body.take() else {
            return Ok(Bytes::new());
        };
        let (hits, ended) = body.finish(|piece| out.push(piece));
        self.hits = hits;
        ended.map_err(|_| FilterError)?;
        Ok(out.all())
    }

    fn trailers(&mut self, fields: &mut HeaderMap) -> Result<(), FilterError> {
        for value in fields.values_mut() {
            let clean = self.scrubber.value(value.as_bytes(), &mut self.hits);
            if let std::borrow::Cow::Owned(clean) = clean {
                *value = HeaderValue::from_bytes(&clean).map_err(|_| FilterError)?;
            }
        }
        Ok(())
    }

    fn message(&mut self, _: Bytes) -> Result<Bytes, FilterError> {
        Err(FilterError)
    }

    fn hits(&self) -> u64 {
        0
    }
}

/// Records in a log on disk.
#[derive(Debug)]
struct Log(Arc<Ledger>);

impl Recorder for Log {
    fn record<'a>(&'a self, record: &'a Record) -> Pending<'a, Result<(), RecordError>> {
        let (kind, stage) = match record.stage {
            Stage::Denied(code) => (Kind::Denied, code.as_str()),
            Stage::Sent => (Kind::Allowed, "sent"),
            Stage::Ended(code) => (Kind::Outcome, code.map_or("ended", |code| code.as_str())),
        };
        let entry = Entry {
            at_ms: record.at_ms,
            decision: record.decision,
            kind,
            agent: "agent".to_owned(),
            tenant: "tenant".to_owned(),
            summary: json!({
                "type": "egress.request",
                "stage": stage,
                "host": record.target.as_ref().map(|target| target.host.to_string()),
                "port": record.target.as_ref().map(|target| target.port),
                "rule": record.rule,
                "method": record.method,
                "credential": record.credential,
                "status": record.status,
                "bytes_out": record.bytes_out,
                "bytes_in": record.bytes_in,
            }),
            payload: None,
        };
        Box::pin(async move {
            let written = log::append(&self.0, entry).await;
            written.map_err(|_| RecordError)
        })
    }
}

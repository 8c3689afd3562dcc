//! A proxy with everything around it made for tests: rules, addresses, credentials, records, time.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use casemate_egress::*;
use casemate_model::{DecisionId, DestinationClass, SideEffect};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::DuplexStream;

pub(crate) const NOW_MS: u64 = 1_800_000_000_000;

/// What the test's profile says about one host.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) class: DestinationClass,
    pub(crate) pins: Vec<Cidr>,
    pub(crate) ports: Vec<u16>,
    pub(crate) plaintext: bool,
    /// Whether it is a database that is logged in to.
    pub(crate) logins: bool,
    pub(crate) credential: Option<String>,
    pub(crate) messages: Option<Messages>,
    pub(crate) body_bytes: Option<usize>,
    pub(crate) most: u64,
    pub(crate) paths: Vec<String>,
    pub(crate) escaped_slash: bool,
    pub(crate) budget: Option<u64>,
    pub(crate) delay: Option<Arc<tokio::sync::Notify>>,
}

impl Rule {
    /// A host of ours on this machine.
    pub(crate) fn local(port: u16) -> Self {
        Self {
            class: DestinationClass::Internal,
            pins: vec!["127.0.0.0/8".parse().unwrap()],
            ports: vec![port],
            plaintext: false,
            logins: false,
            credential: None,
            messages: Some(Messages {
                text: true,
                binary: false,
                bytes: 1_000,
            }),
            body_bytes: None,
            most: u64::MAX,
            paths: Vec::new(),
            escaped_slash: false,
            budget: None,
            delay: None,
        }
    }

    /// A host on the internet.
    pub(crate) fn public() -> Self {
        Self {
            class: DestinationClass::Public,
            pins: Vec::new(),
            ports: vec![443, 80],
            ..Self::local(0)
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) hosts: Mutex<BTreeMap<String, Rule>>,
    withdrawn: Mutex<BTreeSet<String>>,
    pub(crate) judged: Mutex<Vec<Facts>>,
    pub(crate) spent: AtomicU64,
}

impl Rules {
    fn rule(&self, host: &str) -> Result<Rule, Denial> {
        let hosts = self.hosts.lock().unwrap();
        hosts
            .get(host)
            .cloned()
            .ok_or_else(|| Code::EgressDenied.into())
    }

    pub(crate) fn withdraw(&self, rule: &str) {
        self.withdrawn.lock().unwrap().insert(rule.to_owned());
    }

    pub(crate) fn change(&self, host: &str, change: impl FnOnce(&mut Rule)) {
        change(self.hosts.lock().unwrap().get_mut(host).unwrap());
    }
}

impl Judge for Rules {
    fn admit(&self, target: &Target, _: &Origin) -> Result<Admission, Denial> {
        let host = target.host.to_string();
        let rule = self.rule(&host)?;
        if !rule.ports.contains(&target.port) {
            return Err(Code::EgressDenied.into());
        }
        Ok(Admission {
            class: rule.class,
            pins: rule.pins,
            rule: host,
            plaintext: rule.plaintext,
        })
    }

    fn resolves(&self, name: &Name, _: &Origin) -> Result<(), Denial> {
        self.rule(name.as_str()).map(drop)
    }

    fn body_bytes(&self, facts: &Facts) -> Option<usize> {
        self.rule(facts.destination.rule()).ok()?.body_bytes
    }

    fn judge<'a>(&'a self, facts: &'a Facts) -> Pending<'a, Result<Allowance, Denial>> {
        Box::pin(async move {
            self.judged.lock().unwrap().push(facts.clone());
            let rule = self.rule(facts.destination.rule())?;
            if let Some(delay) = &rule.delay {
                delay.notified().await;
            }
            if !rule.paths.is_empty() && !rule.paths.contains(&facts.path) {
                return Err(Denial {
                    code: Code::EgressDenied,
                    because: Some("path_refused"),
                    rule: Some("paths".to_owned()),
                    status: None,
                });
            }
            if facts
                .body
                .as_ref()
                .is_some_and(|body| body.bytes.windows(6).any(|part| part == b"DELETE"))
            {
                return Err(Code::EgressDenied.into());
            }
            Ok(Allowance {
                rule: facts.destination.rule().to_owned(),
                side_effect: SideEffect::Read,
                credential: rule.credential,
                escaped_slash: rule.escaped_slash,
                messages: rule.messages,
                body_bytes: rule.most,
                without: Vec::new(),
            })
        })
    }

    fn is_for_logins(&self, target: &Target, _: &Origin) -> bool {
        target.scheme == Scheme::Postgres
            && self
                .rule(&target.host.to_string())
                .is_ok_and(|rule| rule.logins)
    }

    fn login<'a>(&'a self, facts: &'a LoginFacts) -> Pending<'a, Result<Allowance, Denial>> {
        Box::pin(async move {
            let rule = self.rule(facts.destination.rule())?;
            Ok(Allowance {
                rule: facts.destination.rule().to_owned(),
                side_effect: SideEffect::Read,
                credential: rule.credential,
                escaped_slash: false,
                messages: None,
                body_bytes: rule.most,
                without: Vec::new(),
            })
        })
    }

    fn spend(&self, allowance: &Allowance, _: Flow, bytes: u64) -> Result<(), Denial> {
        let spent = self.spent.fetch_add(bytes, Ordering::Relaxed) + bytes;
        match self.rule(&allowance.rule)?.budget {
            Some(budget) if spent > budget => Err(Code::BudgetExhausted.into()),
            _ => Ok(()),
        }
    }

    fn stands(&self, rule: &str) -> bool {
        !self.withdrawn.lock().unwrap().contains(rule)
    }
}

/// Addresses of names; this machine's for those that are not listed.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    pub(crate) known: Mutex<BTreeMap<String, Vec<IpAddr>>>,
    pub(crate) asked: Mutex<Vec<String>>,
    /// Whether the next question is never answered.
    pub(crate) silent: AtomicBool,
    /// What an answer waits for.
    pub(crate) delay: Mutex<Option<Arc<tokio::sync::Notify>>>,
}

impl Resolver for Addresses {
    fn resolve<'a>(&'a self, name: &'a Name) -> Pending<'a, Result<Vec<IpAddr>, ResolveError>> {
        self.asked.lock().unwrap().push(name.to_string());
        let known = self.known.lock().unwrap().get(name.as_str()).cloned();
        let known = known.unwrap_or_else(|| vec![IpAddr::from([127, 0, 0, 1])]);
        Box::pin(async move {
            silence(&self.silent).await;
            let delay = self.delay.lock().unwrap().clone();
            if let Some(delay) = delay {
                delay.notified().await;
            }
            if known.is_empty() {
                Err(ResolveError)
            } else {
                Ok(known)
            }
        })
    }
}

/// Credentials whose values no test could guess.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) rendered: AtomicUsize,
    /// The rules that let those requests through.
    pub(crate) rules: Mutex<Vec<String>>,
    pub(crate) refuses: Mutex<Option<InjectError>>,
    pub(crate) secret: Mutex<String>,
    /// What goes into the query too, beside a second field.
    pub(crate) query: Mutex<Option<String>>,
    pub(crate) silent: AtomicBool,
    /// What is presented to destinations, if nothing goes into requests.
    pub(crate) certificate: Mutex<Option<ClientCertificate>>,
    /// How often it was asked for.
    pub(crate) presented: AtomicUsize,
}

impl Injector for Credentials {
    fn presents(&self, _: &str) -> bool {
        self.certificate.lock().unwrap().is_some()
    }

    fn present<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a Facts,
    ) -> Pending<'a, Result<ClientCertificate, InjectError>> {
        self.presented.fetch_add(1, Ordering::Relaxed);
        let certificate = self.certificate.lock().unwrap().clone();
        Box::pin(std::future::ready(
            certificate.ok_or(InjectError::Unavailable),
        ))
    }

    fn render<'a>(
        &'a self,
        _: &'a str,
        rule: &'a str,
        _: &'a Facts,
    ) -> Pending<'a, Result<Injection, InjectError>> {
        Box::pin(async move {
            self.rendered.fetch_add(1, Ordering::Relaxed);
            self.rules.lock().unwrap().push(rule.to_owned());
            silence(&self.silent).await;
            if let Some(error) = *self.refuses.lock().unwrap() {
                return Err(error);
            }
            let secret = self.secret.lock().unwrap().clone();
            let value = format!("Bearer {secret}");
            let injection = Injection::new(
                HeaderName::from_static("authorization"),
                HeaderValue::try_from(value).unwrap(),
            )
            .hiding("key", secret.into());
            Ok(match self.query.lock().unwrap().clone() {
                None => injection,
                Some(pair) => injection.with_query(pair.into()).with_field(
                    HeaderName::from_static("x-amz-date"),
                    HeaderValue::from_static("ours"),
                ),
            })
        })
    }

    fn prove<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a LoginFacts,
        _: Challenge,
    ) -> Pending<'a, Result<Proof, InjectError>> {
        let secret = self.secret.lock().unwrap().clone();
        Box::pin(std::future::ready(Ok(Proof {
            answers: vec![secret.into()],
            injection: Injection::empty(),
        })))
    }
}

/// Filters that replace the secret where it is whole, hold the last bytes back, and refuse what is compressed.
#[derive(Debug, Default)]
pub(crate) struct Replacing {
    /// Whether there is no room for more secrets.
    pub(crate) is_full: AtomicBool,
    /// Whether answers are looked at to requests without a credential.
    pub(crate) looks: AtomicBool,
    pub(crate) learnt: Mutex<Vec<Bytes>>,
}

struct Replace {
    secret: String,
    held: Vec<u8>,
    hits: u64,
}

impl Filters for Replacing {
    fn learn(&self, injected: &Injection) -> Result<(), FilterError> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(FilterError);
        }
        let secrets = injected.hidden().iter().map(|(_, secret)| secret.clone());
        self.learnt.lock().unwrap().extend(secrets);
        Ok(())
    }

    fn looks(&self) -> bool {
        self.looks.load(Ordering::Relaxed)
    }

    fn filter(&self, _: &Facts, injected: Option<&Injection>) -> Option<Box<dyn Filter>> {
        let (_, secret) = injected?.hidden().first()?;
        let secret = String::from_utf8(secret.to_vec()).unwrap();
        Some(Box::new(Replace {
            secret,
            held: Vec::new(),
            hits: 0,
        }))
    }
}

impl Replace {
    fn replace(&mut self, bytes: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(bytes);
        self.hits += u64::try_from(text.matches(&self.secret).count()).unwrap();
        text.replace(&self.secret, "[removed]").into_bytes()
    }
}

impl Filter for Replace {
    fn head(&mut self, _: StatusCode, fields: &mut HeaderMap) -> Result<(), FilterError> {
        if fields.contains_key("content-encoding") {
            return Err(FilterError);
        }
        for value in fields.values_mut() {
            *value = HeaderValue::from_bytes(&self.replace(value.as_bytes())).unwrap();
        }
        Ok(())
    }

    fn data(&mut self, bytes: Bytes) -> Result<Bytes, FilterError> {
        let held = [std::mem::take(&mut self.held), bytes.to_vec()].concat();
        let text = self.replace(&held);
        let keep = text.len().saturating_sub(self.secret.len());
        self.held = text[keep..].to_vec();
        Ok(Bytes::from(text[..keep].to_vec()))
    }

    fn finish(&mut self) -> Result<Bytes, FilterError> {
        Ok(std::mem::take(&mut self.held).into())
    }

    fn trailers(&mut self, fields: &mut HeaderMap) -> Result<(), FilterError> {
        self.head(StatusCode::OK, fields)
    }

    fn message(&mut self, bytes: Bytes) -> Result<Bytes, FilterError> {
        Ok(self.replace(&bytes).into())
    }

    fn hits(&self) -> u64 {
        self.hits
    }
}

/// Never ends, the first time.
async fn silence(silent: &AtomicBool) {
    if silent.swap(false, Ordering::Relaxed) {
        std::future::pending().await
    }
}

/// Records in memory.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) all: Mutex<Vec<Record>>,
    pub(crate) is_down: AtomicBool,
    pub(crate) silent: AtomicBool,
}

impl Recorder for Records {
    fn record<'a>(&'a self, record: &'a Record) -> Pending<'a, Result<(), RecordError>> {
        Box::pin(async move {
            silence(&self.silent).await;
            if self.is_down.load(Ordering::Relaxed) {
                return Err(RecordError);
            }
            self.all.lock().unwrap().push(record.clone());
            Ok(())
        })
    }
}

#[derive(Debug)]
pub(crate) struct Still;

impl Clock for Still {
    fn now_ms(&self) -> u64 {
        NOW_MS
    }
}

/// Bytes of the system.
#[derive(Debug)]
pub(crate) struct Chance;

impl Entropy for Chance {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        for byte in bytes {
            *byte = fastrand::u8(..);
        }
        Ok(())
    }
}

/// A proxy and what is around it.
pub(crate) struct World {
    pub(crate) proxy: Proxy,
    pub(crate) rules: Arc<Rules>,
    pub(crate) addresses: Arc<Addresses>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) filters: Arc<Replacing>,
    pub(crate) records: Arc<Records>,
    pub(crate) origin: Origin,
}

impl World {
    /// Takes a rule back, and has the proxy look at what is open.
    pub(crate) fn withdraw(&self, rule: &str) {
        self.rules.withdraw(rule);
        self.proxy.review();
    }

    /// A proxy that believes the authority with this certificate, and has these routes.
    pub(crate) fn new(roots: &[u8], routes: Vec<Route>) -> Self {
        Self::with(roots, routes, BTreeSet::new())
    }

    pub(crate) fn with(roots: &[u8], routes: Vec<Route>, own: BTreeSet<SocketAddr>) -> Self {
        Self::in_room(&Room::default(), roots, routes, own)
    }

    /// A proxy of another call of the agent that has this room.
    pub(crate) fn beside(room: &Room, roots: &[u8]) -> Self {
        Self::in_room(room, roots, Vec::new(), BTreeSet::new())
    }

    fn in_room(room: &Room, roots: &[u8], routes: Vec<Route>, own: BTreeSet<SocketAddr>) -> Self {
        let rules = Arc::new(Rules::default());
        let addresses = Arc::new(Addresses::default());
        let credentials = Arc::new(Credentials::default());
        *credentials.secret.lock().unwrap() = (0..32).map(|_| fastrand::alphanumeric()).collect();
        let filters = Arc::new(Replacing::default());
        let records = Arc::new(Records::default());
        let subtree = Subtree::Name(Name::parse("test").unwrap());
        let authority = Authority::new(&[subtree], &Still, Arc::new(Chance)).unwrap();
        let proxy = Proxy::new(Parts {
            judge: Arc::clone(&rules) as _,
            resolver: Arc::clone(&addresses) as _,
            injector: Arc::clone(&credentials) as _,
            placeholders: None,
            filters: Arc::clone(&filters) as _,
            recorder: Arc::clone(&records) as _,
            clock: Arc::new(Still),
            entropy: Arc::new(Chance),
            vetting: Vetting::new(Vec::new(), own),
            trust: Trust::bundled().with_pem(roots).unwrap(),
            authority: Arc::new(authority),
            routes,
            pins: Pins::new("198.18.0.0/24".parse().unwrap()).unwrap(),
            room: room.clone(),
        })
        .unwrap();
        let origin = Origin {
            call: DecisionId::new(NOW_MS, [7; 10]),
            trace: "trace".to_owned(),
        };
        Self {
            proxy,
            rules,
            addresses,
            credentials,
            filters,
            records,
            origin,
        }
    }

    pub(crate) fn allow(&self, host: &str, rule: Rule) {
        self.rules
            .hosts
            .lock()
            .unwrap()
            .insert(host.to_owned(), rule);
    }

    /// A connection to the proxy's own port.
    pub(crate) fn connect(&self) -> DuplexStream {
        self.connect_held().0
    }

    /// The same, with what ends when it is aborted.
    pub(crate) fn connect_held(&self) -> (DuplexStream, tokio::task::JoinHandle<()>) {
        let (client, server) = tokio::io::duplex(64 << 10);
        let (proxy, origin) = (self.proxy.clone(), self.origin.clone());
        let served = tokio::spawn(async move { proxy.serve_proxy(server, origin).await });
        (client, served)
    }

    /// A connection to an address that leads to the proxy.
    pub(crate) fn connect_to(&self, original: SocketAddr) -> DuplexStream {
        let (client, server) = tokio::io::duplex(64 << 10);
        let (proxy, origin) = (self.proxy.clone(), self.origin.clone());
        tokio::spawn(async move { proxy.serve_transparent(server, original, origin).await });
        client
    }

    /// All records, once there are so many.
    pub(crate) async fn records(&self, count: usize) -> Vec<Record> {
        for _ in 0..2_000 {
            if self.records.all.lock().unwrap().len() >= count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let all = self.records.all.lock().unwrap().clone();
        assert_eq!(
            all.len(),
            count,
            "{:?}",
            all.iter().map(|one| one.stage).collect::<Vec<_>>()
        );
        all
    }

    /// The code of the one record there is.
    pub(crate) async fn denied(&self) -> Code {
        let all = self.records(1).await;
        match all[0].stage {
            Stage::Denied(code) => code,
            other => panic!("{other:?}"),
        }
    }
}

//! The credentials of a call: lent by identity, one request at a time.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use casemate_egress::{
    BodyLength, Challenge, ClientCertificate, Facts, InjectError, Injection, Injector, LoginFacts,
    Pending, Proof, Signs,
};
use casemate_identity::{Handle, Login, RemoteError, Rendered, Request, Secret, Signatures};
use casemate_model::{Digest, one_line};
use casemate_ports::Witness;
use http::{HeaderName, HeaderValue};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    in_place,
    right::{Lease, Right},
    telling::{Held, Telling},
};
use crate::report;

/// How often it is looked whether a lease stands.
const LOOK: Duration = Duration::from_millis(50);

/// How long the end of a lease waits for what is being noted.
const NOTES_TIMEOUT: Duration = Duration::from_secs(5);

/// The most that people are told of the credentials of one call.
const MAX_TOLD: usize = 256;

/// A lease of one call, or why there is none: then nothing is lent.
#[derive(Debug)]
pub(crate) struct Lent {
    lease: Result<Lease, String>,
    /// What the lease ends with, if it was ordered here.
    right: Option<Held>,
    told: Mutex<Told>,
    /// What is being noted, of each credential once.
    notes: Mutex<BTreeMap<Handle, JoinHandle<()>>>,
}

/// What people were told of credentials: of each handle, and without the numbers in it, which are how long something is waited for.
#[derive(Debug, Default)]
struct Told(BTreeSet<(String, String)>);

impl Told {
    /// Whether people are to be told this: it is new, and not too much.
    fn is_new(&mut self, handle: &str, what: &str) -> bool {
        let kind = what.chars().filter(|char| !char.is_ascii_digit()).collect();
        self.0.len() < MAX_TOLD && self.0.insert((handle.to_owned(), kind))
    }
}

impl Lent {
    /// Nothing, for this reason.
    pub(crate) fn nothing(why: &str) -> Arc<Self> {
        Arc::new(Self {
            lease: Err(why.to_owned()),
            right: None,
            told: Mutex::default(),
            notes: Mutex::default(),
        })
    }

    /// This lease, or why there is none, and the right that it was redeemed for if that was ordered here. Needs a tokio runtime, which
    /// has to go on until it is ended.
    pub(super) fn of(lease: anyhow::Result<Lease>, right: Option<Right>) -> Arc<Self> {
        Arc::new(Self {
            lease: lease.map_err(|error| one_line(error.as_ref())),
            right: right.map(Held::new),
            told: Mutex::default(),
            notes: Mutex::default(),
        })
    }

    /// Whether there is a lease.
    pub(super) const fn lends(&self) -> bool {
        self.lease.is_ok()
    }

    /// Whoever keeps the records of the call, by whom identity hears of them, if the right was ordered here.
    pub(super) fn told(&self, witness: Arc<dyn Witness>) -> Arc<dyn Witness> {
        match &self.right {
            Some(right) => Arc::new(Telling::new(witness, right.clone())),
            None => witness,
        }
    }

    /// Ends the lease, once what was seen is noted. It ends with its connection, too.
    pub(super) async fn end(&self) {
        let notes = std::mem::take(&mut *lock(&self.notes));
        settle(notes.into_values().collect(), NOTES_TIMEOUT).await;
        if let Ok(Lease { identity, id, .. }) = &self.lease {
            let _ = identity.end(id.clone()).await;
        }
        self.right.iter().for_each(Held::end);
    }

    /// Looks what of it is taken back, until nothing is left, and says so each time that it is more: nothing but `None` stands for
    /// all of it, because the call has no lease any more or identity has gone.
    pub(super) async fn watch(&self, mut lost: impl FnMut(Option<&[Handle]>)) {
        let Ok(Lease { identity, id, .. }) = &self.lease else {
            return;
        };
        let mut known = BTreeSet::new();
        while let Ok(Some(now)) = identity.lost(id.clone()).await {
            if let Some(all) = more(&mut known, now) {
                lost(Some(&all));
            }
            sleep(LOOK).await;
        }
        lost(None);
    }

    /// Notes that the secret of a credential was in an answer, without waiting. Needs a tokio runtime.
    pub(super) fn note(self: &Arc<Self>, handle: &str) {
        let Ok(handle) = handle.parse::<Handle>() else {
            return;
        };
        let mut notes = lock(&self.notes);
        let Entry::Vacant(place) = notes.entry(handle.clone()) else {
            return;
        };
        let name = handle.to_string();
        self.tell(
            &name,
            &format!("the secret of {name} was in an answer, and was taken out: rotate it"),
        );
        let lent = Arc::clone(self);
        place.insert(tokio::spawn(async move {
            let Ok(Lease { identity, .. }) = &lent.lease else {
                return;
            };
            if let Err(error) = identity.reflected(handle).await {
                let why = one_line(&error);
                lent.tell(
                    &name,
                    &format!("it cannot be noted that {name} has to be rotated: {why}"),
                );
            }
        }));
    }

    /// What identity has for something that is about to be sent.
    async fn grant(
        &self,
        handle: &str,
        ask: impl FnOnce(Handle) -> Option<Request>,
    ) -> Result<(Handle, Rendered), InjectError> {
        let unavailable = |why: String| self.unavailable(handle, &why);
        let Lease { identity, id, .. } = self
            .lease
            .as_ref()
            .map_err(|why| unavailable(why.clone()))?;
        let parsed: Handle = handle
            .parse()
            .map_err(|error: casemate_identity::HandleError| unavailable(error.to_string()))?;
        let asked = ask(parsed.clone())
            .ok_or_else(|| unavailable("a field of it cannot be signed".to_owned()))?;
        match identity.grant(id.clone(), asked).await {
            Ok(rendered) => Ok((parsed, rendered)),
            Err(RemoteError::Scope(_)) => Err(InjectError::Scope),
            Err(error) => Err(unavailable(one_line(&error))),
        }
    }

    async fn injection(
        &self,
        handle: &str,
        rule: &str,
        facts: &Facts,
    ) -> Result<Injection, InjectError> {
        let granted = self.grant(handle, |parsed| request(parsed, rule, facts));
        let (parsed, rendered) = granted.await?;
        let nowhere = || self.unavailable(handle, "it cannot be put into a request");
        let injection = injection(&parsed, &rendered).ok_or_else(nowhere)?;
        match &rendered.in_place {
            Some(put) => in_place::put(put, facts, injection).ok_or(InjectError::Scope),
            None => Ok(injection),
        }
    }

    async fn certificate(
        &self,
        handle: &str,
        rule: &str,
        facts: &Facts,
    ) -> Result<ClientCertificate, InjectError> {
        let granted = self.grant(handle, |parsed| request(parsed, rule, facts));
        let (_, rendered) = granted.await?;
        let lease = self.lease.as_ref().ok();
        let signatures = lease.and_then(|lease| lease.signatures.clone());
        let both = rendered.presented.zip(signatures);
        let (presented, signatures) = both
            .ok_or_else(|| self.unavailable(handle, "it cannot be presented to a destination"))?;
        Ok(ClientCertificate {
            certificates: presented.certificates,
            is_rsa: presented.is_rsa,
            signs: Arc::new(Signed {
                signatures,
                ticket: presented.ticket,
            }),
        })
    }

    async fn proof(
        &self,
        handle: &str,
        rule: &str,
        facts: &LoginFacts,
        challenge: Challenge,
    ) -> Result<Proof, InjectError> {
        let granted = self.grant(handle, |parsed| Some(login(parsed, rule, facts, challenge)));
        let (parsed, rendered) = granted.await?;
        let answers = rendered.fields.iter();
        Ok(Proof {
            answers: answers.map(|(_, answer)| bytes_of(answer)).collect(),
            injection: hidden(&parsed, &rendered, Injection::empty()),
        })
    }

    fn unavailable(&self, handle: &str, why: &str) -> InjectError {
        let what = format!("no credential `{}`: {why}", handle.escape_debug());
        self.tell(handle, &what);
        InjectError::Unavailable
    }

    /// Tells people, once.
    fn tell(&self, handle: &str, what: &str) {
        if lock(&self.told).is_new(handle, what) {
            report::line(what);
        }
    }
}

/// One handshake that may be signed.
#[derive(Debug)]
struct Signed {
    signatures: Arc<Signatures>,
    ticket: Secret,
}

impl Signs for Signed {
    fn sign(&self, scheme: u16, message: &[u8]) -> Option<Vec<u8>> {
        self.signatures
            .sign(&self.ticket, scheme, message)
            .inspect_err(|error| report::line(&format!("no handshake: {}", one_line(error))))
            .ok()
    }
}

impl Injector for Lent {
    fn presents(&self, handle: &str) -> bool {
        let mut presented = self.lease.iter().flat_map(|lease| &lease.presents);
        presented.any(|known| known.to_string() == handle)
    }

    fn present<'a>(
        &'a self,
        handle: &'a str,
        rule: &'a str,
        facts: &'a Facts,
    ) -> Pending<'a, Result<ClientCertificate, InjectError>> {
        Box::pin(self.certificate(handle, rule, facts))
    }

    fn render<'a>(
        &'a self,
        handle: &'a str,
        rule: &'a str,
        facts: &'a Facts,
    ) -> Pending<'a, Result<Injection, InjectError>> {
        Box::pin(self.injection(handle, rule, facts))
    }

    fn prove<'a>(
        &'a self,
        handle: &'a str,
        rule: &'a str,
        facts: &'a LoginFacts,
        challenge: Challenge,
    ) -> Pending<'a, Result<Proof, InjectError>> {
        Box::pin(self.proof(handle, rule, facts, challenge))
    }
}

/// Waits for these, and gives up those that take too long: an identity that hangs does not keep a call.
async fn settle(mut notes: Vec<JoinHandle<()>>, patience: Duration) {
    let all = async {
        for note in &mut notes {
            let _ = note.await;
        }
    };
    if timeout(patience, all).await.is_err() {
        for note in notes {
            note.abort();
        }
        report::line("not every credential that was in an answer could be noted in time");
    }
}

/// All that was ever taken back, if there is more of it `now`. What was is not given back, whatever is said later.
fn more(known: &mut BTreeSet<Handle>, now: Vec<Handle>) -> Option<Vec<Handle>> {
    let before = known.len();
    known.extend(now);
    (known.len() > before).then(|| known.iter().cloned().collect())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn request(handle: Handle, rule: &str, facts: &Facts) -> Option<Request> {
    let fields = facts.sent(true);
    let fields = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().ok()));
    let target = facts.destination.target();
    Some(Request {
        handle,
        rule: rule.to_owned(),
        method: facts.method.to_string(),
        host: target.host.to_string(),
        port: target.port,
        path: facts.path.clone(),
        query: facts.query.clone(),
        body: match (&facts.body, facts.length) {
            (Some(whole), _) => Some(whole.digest),
            (None, BodyLength::Empty) => Some(Digest::of(b"")),
            (None, BodyLength::Bytes(_) | BodyLength::Unknown) => None,
        },
        login: None,
        signed: signed(fields)?,
    })
}

/// The fields that a signature has to be over; nothing if one of them is no text.
pub(super) fn signed<'a>(
    fields: impl Iterator<Item = (&'a str, Option<&'a str>)>,
) -> Option<Vec<(String, String)>> {
    let signed = fields.filter(|(name, _)| Request::signs(name));
    let signed = signed.map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    let mut signed: Vec<_> = signed.collect::<Option<_>>()?;
    signed.sort();
    Some(signed)
}

/// What goes into a request; nothing of what goes into none, such as a certificate: a request is not sent without its credential.
fn injection(handle: &Handle, rendered: &Rendered) -> Option<Injection> {
    let is_put =
        !rendered.fields.is_empty() || rendered.query.is_some() || rendered.in_place.is_some();
    if !is_put || rendered.presented.is_some() {
        return None;
    }
    let mut injection = Injection::empty();
    for (name, value) in &rendered.fields {
        let name = HeaderName::try_from(name.as_str()).ok()?;
        injection = injection.with_field(name, HeaderValue::try_from(value.expose()).ok()?);
    }
    if let Some(pair) = &rendered.query {
        injection = injection.with_query(Bytes::copy_from_slice(pair.expose().as_bytes()));
    }
    Some(hidden(handle, rendered, injection))
}

/// With what must not come back.
fn hidden(handle: &Handle, rendered: &Rendered, injection: Injection) -> Injection {
    let mut injection = injection.expiring(rendered.expires_at_ms);
    let handle = handle.to_string();
    for hidden in &rendered.hidden {
        injection = injection.hiding(&handle, bytes_of(hidden));
    }
    for hidden in &rendered.once {
        injection = injection.hiding_once(&handle, bytes_of(hidden));
    }
    injection
}

fn bytes_of(secret: &Secret) -> Bytes {
    Bytes::copy_from_slice(secret.expose().as_bytes())
}

/// A login, as a grant is bound to it.
fn login(handle: Handle, rule: &str, facts: &LoginFacts, challenge: Challenge) -> Request {
    let target = facts.destination.target();
    Request {
        handle,
        rule: rule.to_owned(),
        method: "CONNECT".to_owned(),
        host: target.host.to_string(),
        port: target.port,
        path: format!("/{}", facts.database),
        query: None,
        body: None,
        login: Some(Login {
            user: facts.user.clone(),
            database: facts.database.clone(),
            challenge: match challenge {
                Challenge::Cleartext => casemate_identity::Challenge::Cleartext {},
                Challenge::Md5 { salt } => casemate_identity::Challenge::Md5 { salt },
                Challenge::Scram { client, server } => {
                    casemate_identity::Challenge::Scram { client, server }
                }
            },
        }),
        signed: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use casemate_identity::{Form, Presented};

    use super::*;

    /// What was taken back is told when it is another one, although it is not more at once; and the first one stays taken back.
    #[test]
    fn what_was_taken_back_stays_so() {
        let [first, second]: [Handle; 2] = ["cred:a", "cred:b"].map(|name| name.parse().unwrap());
        let mut known = BTreeSet::new();
        assert_eq!(more(&mut known, Vec::new()), None);
        assert_eq!(
            more(&mut known, vec![first.clone()]),
            Some(vec![first.clone()])
        );
        assert_eq!(more(&mut known, vec![first.clone()]), None);
        assert_eq!(more(&mut known, Vec::new()), None);
        assert_eq!(
            more(&mut known, vec![second.clone()]),
            Some(vec![first, second])
        );
    }

    /// What cannot be noted is given up, and with it whatever it holds.
    #[tokio::test]
    async fn notes_are_not_waited_for_for_ever() {
        let held = Arc::new(());
        let holds = Arc::clone(&held);
        let hangs = tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(holds);
        });
        settle(vec![tokio::spawn(async {}), hangs], Duration::ZERO).await;
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    }

    /// What a signature has to be over is the same in whatever order a client says it; what is signed anew in any case is not the client's to say, and
    /// what is no text is not left out.
    #[test]
    fn fields_are_bound_to_a_grant() {
        let pair = |name: &str| (name.to_owned(), "1".to_owned());
        let some = |names: &[&'static str]| signed(names.iter().map(|name| (*name, Some("1"))));
        let both = Some(vec![pair("x-amz-acl"), pair("x-amz-meta-a")]);
        assert_eq!(some(&["x-amz-meta-a", "accept", "x-amz-acl"]), both);
        assert_eq!(some(&["x-amz-acl", "x-amz-date", "x-amz-meta-a"]), both);
        assert_eq!(signed([("x-amz-acl", None)].into_iter()), None);
        assert_eq!(signed([("accept", None)].into_iter()), Some(Vec::new()));
    }

    /// R87: what would go into no request is no injection: the request would be sent bare.
    #[test]
    fn what_goes_into_no_request_is_no_injection() {
        let handle: Handle = "cred:a".parse().unwrap();
        let secret = || Secret::read(b"a-secret-of-a-test", Form::Line).unwrap();
        let nothing = || Rendered {
            fields: Vec::new(),
            query: None,
            in_place: None,
            presented: None,
            hidden: Vec::new(),
            expires_at_ms: None,
            once: Vec::new(),
        };
        let presented = Presented {
            certificates: vec![vec![1]],
            is_rsa: false,
            ticket: secret(),
        };
        let field = ("authorization".to_owned(), secret());
        let bearer = Rendered {
            fields: vec![field],
            ..nothing()
        };
        let certificate = Rendered {
            presented: Some(presented),
            ..nothing()
        };
        let both = Rendered {
            presented: certificate.presented.clone(),
            ..bearer.clone()
        };
        assert!(injection(&handle, &bearer).is_some());
        for bare in [nothing(), certificate, both] {
            assert!(injection(&handle, &bare).is_none(), "{bare:?}");
        }
    }

    /// However often something fails, and whatever it says, people are told each kind once, and no more than they can read.
    #[test]
    fn people_are_told_once() {
        let mut told = Told::default();
        assert!(told.is_new("cred:a1", "asked again in 900 ms"));
        assert!(!told.is_new("cred:a1", "asked again in 12 ms"));
        assert!(told.is_new("cred:a2", "asked again in 12 ms"));
        assert!(told.is_new("cred:a1", "it is quarantined"));
        for length in 0..2 * MAX_TOLD {
            told.is_new("cred:a1", &"x".repeat(length));
        }
        assert_eq!(told.0.len(), MAX_TOLD);
        assert!(!told.is_new("cred:b", "something else"));
    }
}

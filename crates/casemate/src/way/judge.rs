//! The rules of the profile as the proxy's judge.

mod login;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use casemate_egress::{
    Admission, Allowance, BodyLength, Cidr, CidrError, Code, Denial, Facts, Flow, Host, Judge,
    LoginFacts, Messages, Name, Origin, Pending, Target,
    limits::{MAX_JUDGED_BODY_BYTES, MAX_MESSAGE_BYTES},
};
use casemate_identity::Handle;
use casemate_model::{SideEffect, Text, is_credential};
use casemate_policy::{
    DestinationFacts, EgressCode, EgressPolicy, EgressRule, RequestBody, RequestFacts,
    RequestVerdict, RuleApproval, RuleExport, Scheme, UNLIMITED, WebSocket,
};
use casemate_ports::{
    Advice, AdviceCode, ConsultedBody, ConsultedRequest, HeldRequest, NotConsented, Witness,
};
use http::StatusCode;

use super::known::Known;

/// Judges the requests of one call.
#[derive(Debug)]
pub(super) struct Rules {
    policy: Arc<EgressPolicy>,
    witness: Arc<dyn Witness>,
    /// The blocks of each rule, by its name.
    pins: BTreeMap<String, Vec<Cidr>>,
    sender: Sender,
    /// Where the agent has been.
    known: Arc<Known>,
    spent: Mutex<BTreeMap<String, Spent>>,
    /// Whether a rule says how much may come back.
    bounds_answers: bool,
    /// Whether a rule asks where the agent has been.
    asks_known: bool,
    closed: AtomicBool,
    /// The credentials that were taken back from the call.
    taken_back: Mutex<TakenBack>,
}

/// What was taken back.
#[derive(Debug)]
enum TakenBack {
    These(Vec<Handle>),
    All,
}

/// What sends the requests, and who is asked about all of them.
#[derive(Debug)]
pub(super) struct Sender {
    /// The tool.
    pub(super) tool: String,
    /// The most that its requests do.
    pub(super) ceiling: SideEffect,
    /// Whether a program of the operator's is asked.
    pub(super) consults: bool,
}

/// Whether a request was judged before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// It was not: it uses its rule up.
    First,
    /// It was, with other fields.
    Again,
    /// A person has consented to it since.
    Consented,
}

/// A person consented, and identity could not be told: the request would have no credential.
const UNNOTED: &str = "consent_unnoted";
/// So much of a body is shown to a program of the operator's at most.
const MAX_SHOWN_BYTES: usize = 1 << 20;

/// What the rules come to.
#[derive(Debug)]
enum Ruled {
    Allowed(Allowance),
    /// A person has to consent to this; if nobody does, that is why it is refused.
    Held(HeldRequest, Denial),
}

impl Ruled {
    fn rule(&self) -> &str {
        match self {
            Self::Allowed(allowance) => &allowance.rule,
            Self::Held(request, _) => &request.rule,
        }
    }
}

/// What a call used up of one rule.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    requests: u64,
    bytes: u64,
    most_bytes: u64,
    answered: u64,
    most_answered: u64,
}

impl Rules {
    /// Those of `policy`, for requests of `sender`.
    ///
    /// # Errors
    /// When a block of a rule is none to the proxy.
    pub(super) fn new(
        policy: Arc<EgressPolicy>,
        sender: Sender,
        known: Arc<Known>,
        witness: Arc<dyn Witness>,
    ) -> Result<Self, CidrError> {
        let bounds_answers = policy.all().any(|rule| rule.max_answer_bytes < UNLIMITED);
        let asks_known = policy
            .all()
            .any(|rule| rule.approval == RuleApproval::NewDestination);
        Ok(Self {
            pins: policy
                .all()
                .map(|rule| Ok((rule.name.clone(), blocks(rule)?)))
                .collect::<Result<_, _>>()?,
            bounds_answers,
            asks_known,
            policy,
            sender,
            known,
            witness,
            spent: Mutex::default(),
            closed: AtomicBool::new(false),
            taken_back: Mutex::new(TakenBack::These(Vec::new())),
        })
    }

    /// From now on nothing is let through, and nothing stands that was.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// From now on nothing of rules with these credentials is let through, and nothing of them stands that was. Without any, it is
    /// all of them.
    pub(super) fn take_back(&self, handles: Option<&[Handle]>) {
        let taken = handles.map_or(TakenBack::All, |handles| TakenBack::These(handles.to_vec()));
        *self
            .taken_back
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = taken;
    }

    /// Whether a rule has a credential that was taken back.
    fn lost(&self, rule: &EgressRule) -> bool {
        let Some(handle) = &rule.credential else {
            return false;
        };
        match &*self
            .taken_back
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
        {
            TakenBack::All => true,
            TakenBack::These(handles) => handle
                .parse::<Handle>()
                .is_ok_and(|handle| handles.contains(&handle)),
        }
    }

    fn open(&self) -> Result<(), Denial> {
        match self.closed.load(Ordering::SeqCst) {
            true => Err(Code::Revoked.into()),
            false => Ok(()),
        }
    }

    /// Asks the rules about a request.
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
            tool: &self.sender.tool,
            ceiling: self.sender.ceiling,
            scheme: scheme(target.scheme),
            host: &host,
            port: target.port,
            method: facts.method.as_str(),
            path: &facts.path,
            query: facts.query.as_deref(),
            headers: &headers,
            body,
            websocket: facts.websocket,
            destination: self.known.of(&host, target.port),
        })
    }

    /// Decides, as far as that takes nobody else.
    fn decide(&self, facts: &Facts, look: Look) -> Result<Ruled, Denial> {
        self.open()?;
        self.about(facts, |request| {
            let ruling = self.policy.judge(request);
            let denied = |code: EgressCode| denial(code, ruling.rule);
            let rule = match (ruling.verdict, ruling.rule, look) {
                (RequestVerdict::Allow, Some(rule), _)
                | (RequestVerdict::Hold, Some(rule), Look::Consented) => rule,
                (RequestVerdict::Hold, rule, _) => {
                    let code = ruling.code.unwrap_or(EgressCode::ApprovalRequired);
                    let unanswered = Denial {
                        code: Code::ApprovalRequired,
                        ..denied(code)
                    };
                    let held = rule.and_then(|rule| Some((rule, held(facts, rule, code)?)));
                    return match held {
                        Some((rule, request)) => {
                            // Whoever asks people uses the rule, whatever they say.
                            self.count(rule, look)?;
                            Ok(Ruled::Held(request, unanswered))
                        }
                        None => Err(unanswered),
                    };
                }
                _ => return Err(denied(ruling.code.unwrap_or(EgressCode::NotAllowed))),
            };
            // The connection is made by what the destination was admitted by: it must be what this rule says too.
            if rule.class != facts.destination.class()
                || self.pins(rule) != facts.destination.pins()
            {
                return Err(denied(EgressCode::ClassUnknown));
            }
            if self.lost(rule) {
                return Err(Denial {
                    rule: Some(rule.name.clone()),
                    ..Code::Revoked.into()
                });
            }
            self.count(rule, look)?;
            Ok(Ruled::Allowed(Allowance {
                rule: rule.name.clone(),
                side_effect: rule.side_effect,
                body_bytes: ruling.most_body_bytes,
                credential: rule.credential.clone(),
                escaped_slash: rule.escaped_slash,
                messages: messages(rule),
                without: Vec::new(),
            }))
        })
    }

    /// Whether the decision takes the body: rules are about it, or a person is to see it.
    fn wants_body(&self, request: &RequestFacts<'_>) -> bool {
        let holds = || self.policy.judge(request).verdict == RequestVerdict::Hold;
        self.policy.wants_body(request) || !matches!(request.body, RequestBody::Empty) && holds()
    }

    /// Asks the program of the operator's about a request that the rules let through; the fields that it takes out.
    async fn consult(&self, facts: &Facts, ruled: &Ruled) -> Result<Vec<String>, Denial> {
        match self.witness.consult(consulted(facts)).await {
            Advice::Pass { without } => Ok(without),
            Advice::Deny { code, status } => Err(refused_by(code, status, ruled.rule())),
        }
    }

    fn pins(&self, rule: &EgressRule) -> &[Cidr] {
        self.pins.get(&rule.name).map_or(&[], Vec::as_slice)
    }

    /// Takes a request from the budget of its rule, unless that was done.
    fn count(&self, rule: &EgressRule, look: Look) -> Result<(), Denial> {
        if look != Look::First {
            return Ok(());
        }
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = spent.entry(rule.name.clone()).or_default();
        spent.most_bytes = rule.max_bytes;
        spent.most_answered = rule.max_answer_bytes;
        if spent.requests >= rule.max_requests {
            return Err(exhausted(&rule.name));
        }
        spent.requests += 1;
        Ok(())
    }
}

impl Judge for Rules {
    fn admit(&self, target: &Target, _: &Origin) -> Result<Admission, Denial> {
        self.open()?;
        let host = target.host.to_string();
        let admitted = self.policy.admit(&DestinationFacts {
            tool: &self.sender.tool,
            scheme: scheme(target.scheme),
            host: &host,
            port: target.port,
        });
        let rule = admitted.map_err(|code| match &target.host {
            // Rules name hosts: none is about an address.
            Host::Address(_) => Code::EgressDenied.into(),
            Host::Name(_) => denial(code, None),
        })?;
        Ok(Admission {
            class: rule.class,
            pins: self.pins(rule).to_vec(),
            rule: rule.name.clone(),
            plaintext: rule.plaintext,
        })
    }

    fn resolves(&self, name: &Name, _: &Origin) -> Result<(), Denial> {
        self.open()?;
        let resolved = self.policy.resolves(&self.sender.tool, name.as_str());
        resolved.map_err(|code| denial(code, None))
    }

    fn body_bytes(&self, facts: &Facts) -> Option<usize> {
        let (wanted, lends) = self.about(facts, |request| {
            (self.wants_body(request), self.policy.lends(request))
        });
        // What is lent is bound to the body, and a program of the operator's may want to see it, if that is not too long to be held.
        let bound = lends || self.sender.consults;
        let fits = matches!(facts.length, BodyLength::Bytes(bytes) if bytes <= MAX_JUDGED_BODY_BYTES as u64);
        (wanted || bound && fits).then_some(MAX_JUDGED_BODY_BYTES)
    }

    fn judge<'a>(&'a self, facts: &'a Facts) -> Pending<'a, Result<Allowance, Denial>> {
        Box::pin(async move {
            if self.asks_known {
                let target = facts.destination.target();
                self.known
                    .settled(&target.host.to_string(), target.port)
                    .await;
            }
            // The rules first: nobody else is asked about what they refuse.
            let mut ruled = self.decide(facts, Look::First)?;
            let (mut judged, mut without) = (Cow::Borrowed(facts), Vec::new());
            if self.sender.consults {
                without = self.consult(facts, &ruled).await?;
                if !without.is_empty() {
                    judged.to_mut().remove(&without);
                    let again = self.decide(&judged, Look::Again)?;
                    // By another rule it would be another request, perhaps with a credential.
                    if again.rule() != ruled.rule() {
                        return Err(refused_by(AdviceCode::Widens, None, ruled.rule()));
                    }
                    ruled = again;
                }
            }
            if let Ruled::Held(request, unanswered) = ruled {
                let rule = request.rule.clone();
                let consented = self.witness.consent(request).await;
                consented.map_err(|why| match why {
                    NotConsented::Refused => unanswered.clone(),
                    NotConsented::Unnoted => Denial {
                        because: Some(UNNOTED),
                        rule: Some(rule.clone()),
                        ..Code::CredUnavailable.into()
                    },
                })?;
                // Of the same request, and the call may have ended meanwhile.
                ruled = self.decide(&judged, Look::Consented)?;
                // The person saw what this rule does, and consented to nothing else.
                if ruled.rule() != rule {
                    return Err(unanswered);
                }
            }
            match ruled {
                Ruled::Allowed(allowance) => Ok(Allowance {
                    without,
                    ..allowance
                }),
                Ruled::Held(_, unanswered) => Err(unanswered),
            }
        })
    }

    fn is_for_logins(&self, target: &Target, origin: &Origin) -> bool {
        target.scheme == casemate_egress::Scheme::Postgres && self.admit(target, origin).is_ok()
    }

    fn login<'a>(&'a self, facts: &'a LoginFacts) -> Pending<'a, Result<Allowance, Denial>> {
        Box::pin(async move {
            let allowance = self.decide_login(facts)?;
            if self.sender.consults {
                match self.witness.consult(login::consulted(facts)).await {
                    Advice::Pass { without } if without.is_empty() => {}
                    // There are no fields to be taken out.
                    Advice::Pass { .. } => {
                        return Err(refused_by(AdviceCode::Inexpressible, None, &allowance.rule));
                    }
                    Advice::Deny { code, status } => {
                        return Err(refused_by(code, status, &allowance.rule));
                    }
                }
            }
            Ok(allowance)
        })
    }

    fn spend(&self, allowance: &Allowance, flow: Flow, bytes: u64) -> Result<(), Denial> {
        if flow == Flow::In && !self.bounds_answers {
            return Ok(());
        }
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(spent) = spent.get_mut(&allowance.rule) else {
            return Err(exhausted(&allowance.rule));
        };
        let (used, most) = match flow {
            Flow::Out => (&mut spent.bytes, spent.most_bytes),
            Flow::In => (&mut spent.answered, spent.most_answered),
        };
        let after = used.saturating_add(bytes);
        if after > most {
            return Err(exhausted(&allowance.rule));
        }
        *used = after;
        Ok(())
    }

    /// The rules of a call are those that it was decided under: all of them end with it, and those with credentials when these are
    /// taken back.
    fn stands(&self, name: &str) -> bool {
        let mut rules = self.policy.all();
        self.open().is_ok() && !rules.any(|rule| rule.name == name && self.lost(rule))
    }
}

/// The request as a person is shown it: whole, or not at all. What would go through a WebSocket nobody can be shown before.
fn held(facts: &Facts, rule: &EgressRule, code: EgressCode) -> Option<HeldRequest> {
    if facts.websocket {
        return None;
    }
    let body = match (&facts.body, facts.length) {
        (_, BodyLength::Empty) => None,
        (Some(whole), _) => Some(whole.bytes.to_vec().into()),
        (None, _) => return None,
    };
    let sent = facts.sent(rule.credential.is_some());
    let fields = sent.iter().map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((name.to_string(), value.to_owned()))
    });
    let query = facts.query.as_ref();
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    Some(HeldRequest {
        decision: facts.decision,
        rule: rule.name.clone(),
        because: code.as_str().to_owned(),
        side_effect: rule.side_effect,
        method: facts.method.to_string(),
        target: facts.destination.target().to_string(),
        path: format!("{}{query}", facts.path),
        fields: fields.collect::<Option<_>>()?,
        body,
    })
}

/// The request as a program of the operator's is shown it. By what its sender proves itself is nobody else's to see.
fn consulted(facts: &Facts) -> ConsultedRequest {
    let target = facts.destination.target();
    let shown = facts.fields.iter();
    let shown = shown.filter(|(name, _)| !is_credential(name.as_str()));
    ConsultedRequest {
        decision: facts.decision,
        method: facts.method.to_string(),
        host: target.host.to_string(),
        port: target.port,
        server_name: facts.server_name.clone(),
        path: facts.path.clone(),
        query: facts.query.clone(),
        fields: shown
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec().into()))
            .collect(),
        body: match (&facts.body, facts.length) {
            // What goes through it comes later: its request without a body is not all of it.
            _ if facts.websocket => ConsultedBody::Stream,
            (_, BodyLength::Empty) => ConsultedBody::Whole(Text::EMPTY),
            (Some(whole), _) => match whole.bytes.get(..MAX_SHOWN_BYTES) {
                Some(beginning) if beginning.len() < whole.bytes.len() => {
                    ConsultedBody::Beginning(beginning.to_vec().into())
                }
                _ => ConsultedBody::Whole(whole.bytes.to_vec().into()),
            },
            (None, _) => ConsultedBody::Stream,
        },
    }
}

fn refused_by(code: AdviceCode, status: Option<u16>, rule: &str) -> Denial {
    let status = status.filter(|status| (400..=599).contains(status));
    Denial {
        because: Some(code.as_str()),
        rule: Some(rule.to_owned()),
        status: status.and_then(|status| StatusCode::from_u16(status).ok()),
        ..Code::DeciderDenied.into()
    }
}

fn exhausted(rule: &str) -> Denial {
    Denial {
        rule: Some(rule.to_owned()),
        ..Code::BudgetExhausted.into()
    }
}

fn denial(code: EgressCode, rule: Option<&EgressRule>) -> Denial {
    Denial {
        code: said(code),
        because: Some(code.as_str()),
        rule: rule.map(|rule| rule.name.clone()),
        status: None,
    }
}

/// The proxy's word for a code of the rules, which goes along.
const fn said(code: EgressCode) -> Code {
    match code {
        EgressCode::HostSyntax => Code::HostSyntax,
        EgressCode::PathSyntax => Code::PathAmbiguous,
        EgressCode::ClassUnknown => Code::ClassUnknown,
        EgressCode::TenantPin => Code::TenantBoundary,
        EgressCode::PlaintextDenied => Code::PlaintextDenied,
        EgressCode::CredScope => Code::CredScope,
        EgressCode::LoginRefused => Code::LoginRefused,
        EgressCode::WebSocketRefused => Code::UpgradeRefused,
        EgressCode::BodyTooLarge => Code::BodyTooLarge,
        EgressCode::NotAllowed
        | EgressCode::RuleDenies
        | EgressCode::PortRefused
        | EgressCode::MethodRefused
        | EgressCode::PathRefused
        | EgressCode::QueryRefused
        | EgressCode::HeaderRefused
        | EgressCode::SideEffect
        | EgressCode::BodyRefused
        | EgressCode::BodyStreamed
        | EgressCode::BodyUnreadable
        | EgressCode::BodyCondition
        | EgressCode::Export
        | EgressCode::NewDestination
        | EgressCode::ApprovalRequired => Code::EgressDenied,
    }
}

const fn scheme(scheme: casemate_egress::Scheme) -> Scheme {
    match scheme {
        casemate_egress::Scheme::Https => Scheme::Https,
        casemate_egress::Scheme::Http => Scheme::Http,
        casemate_egress::Scheme::Postgres => Scheme::Postgres,
    }
}

/// The blocks of a rule, as the proxy has them.
fn blocks(rule: &EgressRule) -> Result<Vec<Cidr>, CidrError> {
    let blocks = rule.cidr.iter();
    blocks
        .map(|block| Cidr::new(block.addr(), block.prefix_len()))
        .collect()
}

/// What may be in a WebSocket: a message is bounded like a body.
fn messages(rule: &EgressRule) -> Option<Messages> {
    let binary = match rule.websocket {
        WebSocket::Off => return None,
        WebSocket::Text => false,
        WebSocket::Binary => true,
    };
    let most = match rule.export {
        RuleExport::Allowed => rule.max_body_bytes,
        RuleExport::Never | RuleExport::Approval => {
            rule.max_body_bytes.min(rule.export_above_bytes)
        }
    };
    Some(Messages {
        text: true,
        binary,
        bytes: usize::try_from(most).map_or(MAX_MESSAGE_BYTES, |most| most.min(MAX_MESSAGE_BYTES)),
    })
}

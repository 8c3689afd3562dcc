//! Requests on the way out that wait for a person, as calls do: kept, asked about, and consented to by the hash of what would
//! be sent. They wait for as long as their call runs.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use casemate_model::{ApprovalState, Call, DecisionId, InputDigest, Program, Reason, Text};
use casemate_policy::{Decision, RoutePolicy, Verdict};
use casemate_ports::{Command, HeldRequest, InputFile, SessionKeeper};
use casemate_store::ApprovalStore as _;
use tokio::sync::Notify;

use super::{
    Demand, SessionStores, Sessions,
    ballots::{Ballot, REQUEST as KEPT},
};
use crate::{
    Ask, Facts, Held, Key,
    approval::{Originals, ToKeep},
    crossing::{Asked, Consent},
    entry::REQUEST,
};

/// Under which name the body of a request is shown.
const BODY: &str = "body";

/// What it takes to ask people about requests of one call.
pub(super) struct Asker<'a> {
    pub(super) facts: &'a Facts,
    pub(super) policy: &'a RoutePolicy,
    pub(super) demand: Demand,
    pub(super) since: casemate_authority::Epoch,
    pub(super) by: casemate_policy::Authenticator,
}

/// The requests that wait for people, and who waits with them.
#[derive(Debug, Default)]
pub(super) struct Requests(Mutex<HashMap<DecisionId, Arc<Notify>>>);

impl Requests {
    fn add(&self, decision: DecisionId) -> Arc<Notify> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(decision).or_default())
    }

    fn remove(&self, decision: DecisionId) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&decision);
    }

    /// Something was said about a call or request.
    pub(super) fn tell(&self, decision: DecisionId) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = all.get(&decision) {
            told.notify_one();
        }
    }

    fn has(&self, decision: DecisionId) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.contains_key(&decision)
    }
}

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// Whether this is a request of a call that runs, and not a call: it goes on by itself when it was approved.
    #[must_use]
    pub fn goes_on_itself(&self, decision: DecisionId) -> bool {
        self.requests.has(decision)
    }

    /// Asks people about a request, and answers whoever waits for it.
    pub(super) async fn ask_people(&self, asker: &Asker<'_>, asked: Asked) {
        let Asked {
            request,
            mut answer,
            holding,
        } = asked;
        let decision = request.decision;
        let told = self.requests.add(decision);
        let consent = match self.keep_request(asker, request).await {
            // That is on record, too.
            None => Some(Consent::Refused),
            Some(()) => tokio::select! {
                consent = self.consented(asker, decision, &told) => Some(consent),
                // Whoever sent it went away.
                () = holding.gone.notified() => None,
                () = answer.closed() => None,
            },
        };
        let consent = match consent {
            Some(consent) => consent,
            None => match self.end_waiting_of(decision).await {
                true => Consent::Refused,
                false => Consent::Nothing,
            },
        };
        // With the record itself: whoever drops this in between finds it so.
        holding
            .recorded
            .fetch_or(consent == Consent::Refused, Ordering::SeqCst);
        self.requests.remove(decision);
        // Whoever went away has no need of it.
        let _ = answer.send(consent);
        self.drop_body(decision).await;
    }

    /// Ends a request that waits: its call has ended. Whether it is on record that it was refused.
    pub(super) async fn end_request(&self, decision: DecisionId) -> bool {
        let recorded = self.end_waiting_of(decision).await;
        self.requests.remove(decision);
        self.drop_body(decision).await;
        recorded
    }

    /// Ends the waiting of a request, if it is not over; whether it is on record that it was refused. A consent that is used up is not taken
    /// back: whoever serves the way out says what came of it.
    async fn end_waiting_of(&self, decision: DecisionId) -> bool {
        let why = "whoever would have sent it waits no more";
        let (to, reason) = (ApprovalState::Cancelled, Reason::ApprovalCancelled);
        if self.end_waiting(decision, to, reason, why).await {
            return true;
        }
        let state = match self.approval_record(decision).await {
            Ok(Some((record, _))) => record.state,
            Ok(None) | Err(_) => return false,
        };
        matches!(
            state,
            ApprovalState::Denied
                | ApprovalState::ChangesRequested
                | ApprovalState::Expired
                | ApprovalState::Superseded
        )
    }

    /// Keeps of a request that waits no more what was asked, and its body no longer: nobody sends it again.
    async fn drop_body(&self, decision: DecisionId) {
        let Ok(Ballot {
            owner, mut kept, ..
        }) = self.ballot(decision).await
        else {
            return;
        };
        if std::mem::take(&mut kept.files).is_empty() {
            return;
        }
        let Ok(json) = serde_json::to_vec(&kept) else {
            return;
        };
        if let Ok(sealed) = self.sealed(&owner, decision, KEPT, &json)
            && let Ok(store) = self.stores.open(&owner.agent).await
        {
            // If that cannot be, it goes with the record.
            drop(store.replace_request(decision, &sealed).await);
        }
    }

    /// Keeps a request, and has people asked. If it cannot wait, that is recorded.
    async fn keep_request(&self, asker: &Asker<'_>, request: HeldRequest) -> Option<()> {
        let facts = request_facts(asker, &request)?;
        let body = request.body.as_ref();
        let body = body.map(|body| InputFile::in_memory(BODY.to_owned().into(), body.as_bytes()));
        let files: Vec<_> = body.into_iter().collect::<Result<_, _>>().ok()?;
        let keep = ToKeep {
            originals: Originals::of(&files).ok()?,
            // What its call reads is not what is asked about.
            demand: Demand {
                has_stdin: false,
                ..asker.demand
            },
            since: asker.since,
            by: asker.by,
        };
        let kept = self.keep(Held::new(Box::new(facts)), &keep, asker.policy);
        Box::pin(kept).await.ok().map(drop)
    }

    /// Waits until people have said something, and uses their consent up.
    async fn consented(&self, asker: &Asker<'_>, decision: DecisionId, told: &Notify) -> Consent {
        loop {
            let state = match self.approval_record(decision).await {
                Ok(Some((record, _))) => record.state,
                Ok(None) | Err(_) => return Consent::Refused,
            };
            match state {
                ApprovalState::Pending => told.notified().await,
                ApprovalState::Approved => {
                    if self.may_be_sent(asker, decision).await {
                        return Consent::Given;
                    }
                    // Somebody who consented may not any more: others have to, or it is over.
                    let record = self.approval_record(decision).await;
                    let waits = matches!(record, Ok(Some((record, _))) if record.state == ApprovalState::Pending);
                    if !waits {
                        return Consent::Refused;
                    }
                }
                _ => return Consent::Refused,
            }
        }
    }

    /// Whether what people said counts now, under the policy of now. It is used up then.
    async fn may_be_sent(&self, asker: &Asker<'_>, decision: DecisionId) -> bool {
        let Some((_, approved)) = self.approved(decision, Arc::default()).await else {
            return false;
        };
        let now = self.policy(Some(&asker.policy.route));
        let same = now.is_some_and(|now| now.policy_digest() == asker.policy.policy_digest());
        let mine = asker.facts.claims.as_ref();
        let other = mine.is_some_and(|claims| approved.approval.approver != claims.subject);
        if !same || !other || self.consume(decision).await.is_err() {
            return false;
        }
        let ended = self.change_waiting(decision, |record| {
            record.ended = true;
            true
        });
        // If that cannot be, the next start finds that it was sent.
        drop(ended.await);
        self.waiting().remove(decision);
        true
    }
}

/// A request as what people are asked about: its method and address in the place of a program, its fields in that of variables, its body
/// in that of a file.
fn request_facts(asker: &Asker<'_>, request: &HeldRequest) -> Option<Facts> {
    let of = asker.facts;
    let claims = of.claims.clone()?;
    let terms = of.terms.clone()?;
    let address = format!("{}{}", request.target, request.path);
    let argv: Vec<Text> = vec![request.method.clone().into(), address.into()];
    let fields = named_fields(&request.fields);
    let inputs = request.body.iter().map(|body| InputDigest {
        name: BODY.to_owned().into(),
        bytes: body.as_bytes().len() as u64,
        sha256: casemate_model::Digest::of(body.as_bytes()),
    });
    let call = Call {
        tenant: claims.tenant.clone(),
        user: claims.subject.clone(),
        agent: of.ask.agent.clone(),
        route: terms.route.clone(),
        tool: REQUEST.to_owned(),
        side_effect: request.side_effect,
        destination: Some(request.target.clone()),
        idempotency_key: Some(request.decision.to_string()),
        within: of.ask.within.clone(),
        program: Program {
            argv: argv.clone(),
            code: None,
            cell: None,
            terminal: false,
            env: fields.clone(),
            inputs: inputs.collect(),
        },
        limits: of.ask.limits,
        policy: terms.policy,
    };
    let detail = format!(
        "a request of {}, by the rule `{}` ({})",
        of.decision, request.rule, request.because
    );
    Some(Facts {
        decision: request.decision,
        ask: Ask {
            agent: of.ask.agent.clone(),
            tool: REQUEST.to_owned(),
            command: Command {
                argv,
                env: fields,
                ..Command::default()
            },
            code: None,
            limits: of.ask.limits,
            within: of.ask.within.clone(),
            destination: Some(request.target.clone()),
            key: Key::Own,
            trace_id: Some(of.trace_id.clone()),
        },
        files: call
            .program
            .inputs
            .iter()
            .map(|input| input.name.clone())
            .collect(),
        side_effect: Some(request.side_effect),
        action_hash: Some(call.action_hash().ok()?),
        call: Some(call),
        ruling: Some(Decision {
            verdict: Verdict::Hold,
            reason: Reason::ApprovalRequired,
            detail,
            checks: Vec::new(),
            policies: Vec::new(),
        }),
        isolation: None,
        inputs: None,
        wait: None,
        approval: None,
        quota: None,
        scan: None,
        replay_of: None,
        claims: Some(claims),
        terms: Some(terms),
        ..of.clone()
    })
}

/// Fields by their names. One that is there again has its number, in a way in which no field is called.
fn named_fields(fields: &[(String, String)]) -> BTreeMap<String, Text> {
    let mut named = BTreeMap::new();
    for (name, value) in fields {
        let again = (2..).map(|number: usize| format!("{name} ({number})"));
        let mut names = std::iter::once(name.clone()).chain(again);
        if let Some(free) = names.find(|name| !named.contains_key(name)) {
            named.insert(free, value.clone().into());
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No field is left out of what is signed, and none can pass for another.
    #[test]
    fn every_field_is_shown() {
        let fields = [("a", "1"), ("b", "2"), ("a", "3"), ("a", "1")];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let named = named_fields(&fields);
        let named: Vec<_> = named
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()))
            .collect();
        assert_eq!(
            named,
            [("a", "1"), ("a (2)", "3"), ("a (3)", "1"), ("b", "2")]
        );
    }
}

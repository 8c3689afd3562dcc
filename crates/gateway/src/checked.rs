//! The fourth state: everything that a decision needs is known.

use std::fmt;

use casemate_model::{Reason, RunMode};
use casemate_policy::{Approval, Decision, Inputs, RoutePolicy, Verdict};

use crate::{Allowed, Clock, Denied, Facts, Held, evidence::Evidence};

/// A call of which everything is known that a decision needs.
pub struct Checked<S> {
    facts: Box<Facts>,
    evidence: Box<Evidence>,
    sandbox: S,
}

/// What was decided. Nobody has been told, because none of it is recorded yet.
#[derive(Debug)]
pub enum Ruling<S> {
    /// It may run, once it is recorded.
    Allowed(Allowed<S>),
    /// A person has to approve it first.
    Held(Held),
    /// It may not run, and its sandbox is gone.
    Denied(Denied),
}

impl<S> Checked<S> {
    pub(crate) const fn new(facts: Box<Facts>, evidence: Box<Evidence>, sandbox: S) -> Self {
        Self {
            facts,
            evidence,
            sandbox,
        }
    }

    /// Decides about a call that a person approved, under the policy of now: what was allowed yesterday may be refused today.
    ///
    /// The approval has to be for exactly this call, from somebody else, and in time.
    #[must_use]
    pub fn decide_approved(
        mut self,
        policy: &RoutePolicy,
        mode: RunMode,
        clock: &dyn Clock,
        approval: Approval,
    ) -> Ruling<S> {
        let now_ms = clock.now_ms();
        let source = self.facts.ask.source();
        let approval_of = Some(&approval);
        let (inputs, decision) = self
            .evidence
            .decide(source, policy, mode, now_ms, approval_of);
        self.decided(inputs, decision, mode);
        let verdict = self.facts.ruling.as_ref().map(|ruling| ruling.verdict);
        if let Some(flaw) = self.flaw(&approval, policy, now_ms) {
            return Ruling::Denied(Denied::new(self.facts, Reason::ApprovalInvalid, flaw));
        }
        match verdict {
            Some(Verdict::Allow) => {
                if let Some(ruling) = &mut self.facts.ruling {
                    ruling.detail = format!("approved by {}", approval.approver.escape_debug());
                }
                self.facts.approval = Some(approval);
                Ruling::Allowed(Allowed::new(self.facts, self.evidence.action, self.sandbox))
            }
            Some(Verdict::Hold) => {
                let why = "the policy does not take this approval";
                Ruling::Denied(Denied::new(self.facts, Reason::ApprovalInvalid, why))
            }
            Some(Verdict::Deny) | None => Ruling::Denied(Denied::decided(self.facts)),
        }
    }

    /// What is wrong with an approval, if anything is.
    fn flaw(&self, approval: &Approval, policy: &RoutePolicy, now_ms: u64) -> Option<&'static str> {
        let call = &self.evidence.call;
        if policy.policy_digest() != call.policy {
            Some("the policy has changed since the call was proposed")
        } else if approval.action_hash != self.evidence.action {
            Some("the approval is for another call, or under another policy")
        } else if approval.expires_at_ms <= now_ms {
            Some("the approval has expired")
        } else if approval.approver.is_empty() || approval.approver == call.user {
            Some("the approval does not come from another person")
        } else {
            None
        }
    }

    fn decided(&mut self, inputs: Option<Inputs>, decision: Decision, mode: RunMode) {
        self.facts.inputs = inputs;
        self.facts.mode = Some(mode);
        self.facts.action_hash = Some(self.evidence.action);
        self.facts.call = Some(self.evidence.call.clone());
        self.facts.ruling = Some(decision);
    }

    /// Decides: a function of the policy, the canonical call, proven claims, measured isolation, the run
    /// mode and the time, and of nothing that a model says (R3, R4).
    ///
    /// `policy` is the one of now. If it is not the one that the call was proposed under, that is the reason.
    #[must_use]
    pub fn decide(mut self, policy: &RoutePolicy, mode: RunMode, clock: &dyn Clock) -> Ruling<S> {
        let source = self.facts.ask.source();
        let (inputs, decision) = self
            .evidence
            .decide(source, policy, mode, clock.now_ms(), None);
        let verdict = decision.verdict;
        self.decided(inputs, decision, mode);
        match verdict {
            Verdict::Allow => {
                Ruling::Allowed(Allowed::new(self.facts, self.evidence.action, self.sandbox))
            }
            Verdict::Hold => Ruling::Held(Held::new(self.facts)),
            Verdict::Deny => Ruling::Denied(Denied::decided(self.facts)),
        }
    }
}

impl<S> fmt::Debug for Checked<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Checked").field(&self.facts).finish()
    }
}

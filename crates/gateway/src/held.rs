//! A call that waits for a person.

use std::fmt;

use casemate_ledger::{Kind, Receipt};
use casemate_model::{Reason, RunMode};
use casemate_policy::{Approval, RoutePolicy, Verdict};

use crate::{Allowed, Clock, Denied, Facts, Journal, Refused, error::chain, evidence::Evidence};

/// A call that a person has to approve. Nobody is asked before it is recorded.
pub struct Held<S> {
    facts: Box<Facts>,
    evidence: Box<Evidence>,
    mode: RunMode,
    sandbox: S,
}

/// A held call, recorded (R175). It waits in its sandbox, where nothing has run.
pub struct Pending<S> {
    held: Held<S>,
    receipt: Receipt,
}

impl<S> Held<S> {
    pub(crate) const fn new(
        facts: Box<Facts>,
        evidence: Box<Evidence>,
        mode: RunMode,
        sandbox: S,
    ) -> Self {
        Self {
            facts,
            evidence,
            mode,
            sandbox,
        }
    }

    /// Records that the call waits. Blocks for one flush of the disk.
    ///
    /// # Errors
    /// When it cannot be recorded; then nobody is asked and nothing runs.
    pub fn record(self, journal: &Journal) -> Result<Pending<S>, Refused> {
        match journal.decided(&self.facts, Kind::Held, None) {
            Ok(receipt) => Ok(Pending {
                held: self,
                receipt,
            }),
            Err(error) => Err(Refused::unrecorded(self.facts, chain(&error))),
        }
    }
}

impl<S> Pending<S> {
    /// Lets the call run if `approval` is for exactly this call, still counts, does not come from who
    /// asked, and the policy of now would not refuse it. An approval counts once: it is used up.
    ///
    /// # Errors
    /// When any of that is not so.
    pub fn approve(
        self,
        approval: Approval,
        policy: &RoutePolicy,
        clock: &dyn Clock,
    ) -> Result<Allowed<S>, Denied> {
        let Held {
            mut facts,
            evidence,
            mode,
            sandbox,
        } = self.held;
        let now_ms = clock.now_ms();
        if let Some(flaw) = flaw(&approval, &evidence, policy, now_ms) {
            return Err(Denied::new(facts, Reason::ApprovalInvalid, flaw));
        }
        let (inputs, mut decision) = evidence.decide(policy, mode, now_ms, Some(&approval));
        facts.inputs = inputs;
        match decision.verdict {
            Verdict::Allow => {
                decision.detail = format!("approved by {}", approval.approver.escape_debug());
                facts.ruling = Some(decision);
            }
            Verdict::Deny => {
                facts.ruling = Some(decision);
                return Err(Denied::decided(facts));
            }
            Verdict::Hold => {
                let why = "the policy does not take this approval";
                return Err(Denied::new(facts, Reason::ApprovalInvalid, why));
            }
        }
        facts.approval = Some(approval);
        Ok(Allowed::new(facts, evidence.action, sandbox))
    }

    /// Gives up: nobody will approve.
    #[must_use]
    pub fn refuse(self) -> Refused {
        Refused::held(self.held.facts, self.receipt)
    }

    /// What is known of the call: what an approver is shown.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.held.facts
    }
}

/// What is wrong with an approval, if anything is.
fn flaw(
    approval: &Approval,
    evidence: &Evidence,
    policy: &RoutePolicy,
    now_ms: u64,
) -> Option<&'static str> {
    if approval.action_hash != evidence.action {
        Some("the approval is for another call")
    } else if policy.policy_digest() != evidence.call.policy {
        Some("the policy has changed since the call was held")
    } else if approval.expires_at_ms <= now_ms {
        Some("the approval has expired")
    } else if approval.approver.is_empty() || approval.approver == evidence.call.user {
        Some("the approval does not come from another person")
    } else {
        None
    }
}

impl<S> fmt::Debug for Held<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.facts).finish()
    }
}

impl<S> fmt::Debug for Pending<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pending").field(&self.held.facts).finish()
    }
}

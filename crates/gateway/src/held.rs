//! A call that waits for a person.

use std::fmt;

use casemate_ledger::{Kind, Receipt};
use casemate_model::{Digest, Reason, RunMode};
use casemate_policy::{Profile, Verdict};
use serde::{Deserialize, Serialize};

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

/// A person's consent to one call. Made by trusted code only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The hash of the canonical call that was shown.
    pub action_hash: Digest,
    /// Who approved.
    pub approver: String,
    /// When the approval stops counting, in milliseconds since 1970.
    pub expires_at_ms: u64,
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
        profile: &Profile,
        clock: &dyn Clock,
    ) -> Result<Allowed<S>, Denied> {
        let Held {
            mut facts,
            evidence,
            mode,
            sandbox,
        } = self.held;
        let now_ms = clock.now_ms();
        if let Some(flaw) = flaw(&approval, &evidence, profile, now_ms) {
            return Err(Denied::new(facts, Reason::ApprovalInvalid, flaw));
        }
        let decision = evidence.decide(profile, mode, now_ms);
        let verdict = decision.verdict;
        facts.ruling = Some(decision);
        if verdict == Verdict::Deny {
            return Err(Denied::decided(facts));
        }
        facts.approve(approval);
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
    profile: &Profile,
    now_ms: u64,
) -> Option<&'static str> {
    if approval.action_hash != evidence.action {
        Some("the approval is for another call")
    } else if profile.digest() != evidence.call.policy {
        Some("the profile has changed since the call was held")
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

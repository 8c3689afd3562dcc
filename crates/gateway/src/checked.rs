//! The fourth state: everything that a decision needs is known.

use std::fmt;

use casemate_model::RunMode;
use casemate_policy::{RoutePolicy, Verdict};

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
    Held(Held<S>),
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

    /// Decides: a function of the policy, the canonical call, proven claims, measured isolation, the run
    /// mode and the time, and of nothing that a model says (R3, R4).
    ///
    /// `policy` is the one of now. If it is not the one that the call was proposed under, that is the reason.
    #[must_use]
    pub fn decide(mut self, policy: &RoutePolicy, mode: RunMode, clock: &dyn Clock) -> Ruling<S> {
        let (inputs, decision) = self.evidence.decide(policy, mode, clock.now_ms(), None);
        self.facts.inputs = inputs;
        let verdict = decision.verdict;
        self.facts.mode = Some(mode);
        self.facts.action_hash = Some(self.evidence.action);
        self.facts.call = Some(self.evidence.call.clone());
        self.facts.ruling = Some(decision);
        match verdict {
            Verdict::Allow => {
                Ruling::Allowed(Allowed::new(self.facts, self.evidence.action, self.sandbox))
            }
            Verdict::Hold => Ruling::Held(Held::new(self.facts, self.evidence, mode, self.sandbox)),
            Verdict::Deny => Ruling::Denied(Denied::decided(self.facts)),
        }
    }
}

impl<S> fmt::Debug for Checked<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Checked").field(&self.facts).finish()
    }
}

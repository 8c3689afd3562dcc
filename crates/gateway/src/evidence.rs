//! What a decision is made from.

use casemate_model::{Call, Digest, Isolation, RunMode};
use casemate_policy::{Approval, Claims, Decision, Inputs, Request, RoutePolicy, Verified};

/// What a decision is made from, beside the profile and the time.
#[derive(Clone)]
pub(crate) struct Evidence {
    pub(crate) call: Call,
    pub(crate) action: Digest,
    pub(crate) isolation: Isolation,
    pub(crate) claims: Verified<Claims>,
}

impl Evidence {
    /// What a decision about the call is made from, and the decision.
    pub(crate) fn decide(
        &self,
        source: Option<&[u8]>,
        policy: &RoutePolicy,
        mode: RunMode,
        now_ms: u64,
        approval: Option<&Approval>,
    ) -> (Option<Inputs>, Decision) {
        policy.decide(&Request {
            call: &self.call,
            action: self.action,
            source,
            claims: &self.claims,
            isolation: &self.isolation,
            now_ms,
            mode,
            approval,
            labels: None,
        })
    }
}

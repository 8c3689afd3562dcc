//! What a decision is made from.

use casemate_model::{Call, Digest, Isolation, RunMode};
use casemate_policy::{Claims, Decision, Profile, Request, Verified, decide};

/// What a decision is made from, beside the profile and the time.
#[derive(Clone)]
pub(crate) struct Evidence {
    pub(crate) call: Call,
    pub(crate) action: Digest,
    pub(crate) isolation: Isolation,
    pub(crate) claims: Verified<Claims>,
}

impl Evidence {
    pub(crate) fn decide(&self, profile: &Profile, mode: RunMode, now_ms: u64) -> Decision {
        let request = Request {
            call: &self.call,
            claims: &self.claims,
            isolation: &self.isolation,
            now_ms,
            mode,
        };
        decide(profile, &request)
    }
}

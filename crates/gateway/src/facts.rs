//! What is known of a call. It grows on the way; records and answers are made from it.

use std::fmt;

use casemate_model::{
    Call, DecisionId, Digest, Isolation, Reason, RunMode, SideEffect, Text, Trigger,
};
use casemate_policy::{Approval, Check, Claims, Decision, Inputs, RoutePolicy, Verdict};
use casemate_scan::Report;
use serde::{Deserialize, Serialize};

use crate::{Ask, Lodging, QuotaUse};

/// What is known of a call. Having it gives no right: no transition takes it from outside.
#[derive(Clone)]
pub struct Facts {
    /// Joins everything about the call.
    pub decision: DecisionId,
    /// When it was proposed, in milliseconds since 1970.
    pub at_ms: u64,
    /// The trace it is part of.
    pub trace_id: String,
    /// What was asked.
    pub ask: Ask,
    /// The names of its input files.
    pub files: Vec<Text>,
    /// Who asks, once that is proven.
    pub claims: Option<Claims>,
    /// What its profile says of records.
    pub terms: Option<Terms>,
    /// What its tool does to the world.
    pub side_effect: Option<SideEffect>,
    /// What its sandbox enforces, measured.
    pub isolation: Option<Isolation>,
    /// Its canonical form.
    pub call: Option<Call>,
    /// The hash of that form.
    pub action_hash: Option<Digest>,
    /// How much the agent may do without a person.
    pub mode: Option<RunMode>,
    /// What that was decided from.
    pub inputs: Option<Inputs>,
    /// What was decided.
    pub ruling: Option<Decision>,
    /// That it waits, or waited, for a person.
    pub wait: Option<Wait>,
    /// Who approved it.
    pub approval: Option<Approval>,
    /// Where it is, or was meant to be, if that is a session.
    pub lodging: Option<Lodging>,
    /// The quota that refused it or cut its output.
    pub quota: Option<QuotaUse>,
    /// What was found in its source.
    pub scan: Option<Box<Report>>,
    /// The call whose stored result answers this one.
    pub replay_of: Option<DecisionId>,
}

/// That a call waits, or waited, for a person: what is told of it to those who are not to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// The hash of what would run.
    pub action: Digest,
    /// Until when it waits, or its consent counts, in milliseconds since 1970.
    pub until_ms: u64,
    /// What made the agent act.
    pub trigger: Trigger,
}

/// What a profile says of records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// The route.
    pub route: String,
    /// The digest of the policy.
    pub policy: Digest,
    /// The names whose values are not recorded.
    pub redact: Vec<String>,
    /// The trace fields that a record must have.
    pub required: Vec<String>,
}

impl Terms {
    pub(crate) fn of(policy: &RoutePolicy) -> Self {
        Self {
            route: policy.route.clone(),
            policy: policy.policy_digest(),
            redact: policy.observability.redact.clone(),
            required: policy.observability.required_trace_fields.clone(),
        }
    }
}

impl Facts {
    /// Whose data the call touches; empty until somebody has proven it.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.claims.as_ref().map_or("", |claims| &claims.tenant)
    }

    /// Why the call was allowed, held or refused.
    #[must_use]
    pub fn reason(&self) -> Reason {
        // A call on which nothing was decided was not allowed: it fails closed (I1).
        self.ruling
            .as_ref()
            .map_or(Reason::RecordUnavailable, |ruling| ruling.reason)
    }

    /// The checks that were made, in order.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        self.ruling.as_ref().map_or(&[], |ruling| &ruling.checks)
    }

    /// Notes a refusal; the checks that were made before it stay.
    pub(crate) fn refuse(&mut self, reason: Reason, detail: impl Into<String>) {
        let checks = self
            .ruling
            .take()
            .map_or_else(Vec::new, |ruling| ruling.checks);
        self.ruling = Some(Decision {
            verdict: Verdict::Deny,
            reason,
            detail: detail.into(),
            checks,
            policies: Vec::new(),
        });
    }
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The call's environment and code are not for logs.
        f.debug_struct("Facts")
            .field("decision", &self.decision)
            .field("tool", &self.ask.tool)
            .field("ruling", &self.ruling)
            .finish_non_exhaustive()
    }
}

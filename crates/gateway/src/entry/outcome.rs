//! What is recorded of an outcome.

use std::collections::BTreeMap;

use casemate_model::{
    Cause, DecisionId, Digest, Exit, Outcome, OutcomeStatus, Usage, ViolationKind,
};
use serde::Serialize;
use serde_json::Value;

use super::Trace;
use crate::{Facts, Lodging, QuotaUse, limits::MAX_CONTENT_BYTES, tee::Streams};

#[derive(Serialize)]
struct OutcomeSummary<'a> {
    #[serde(flatten)]
    trace: Trace<'a>,
    status: OutcomeStatus,
    exit: Option<Exit>,
    usage: Usage,
    stdout_bytes: u64,
    stderr_bytes: u64,
    output_truncated: bool,
    /// How often the program was refused something, by kind.
    denied: BTreeMap<&'a str, u64>,
    /// What it did that no ordinary program does: names of closed lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violations: Vec<ViolationSummary<'a>>,
    /// Somebody has to look.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    alert: bool,
    artefacts: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    lodging: Option<Lodging>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<&'a QuotaUse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay_of: Option<DecisionId>,
}

#[derive(Serialize)]
struct ViolationSummary<'a> {
    kind: ViolationKind,
    what: &'a str,
    count: u64,
}

/// The metadata of an outcome (R228, R237, R238).
pub(crate) fn summary(facts: &Facts, outcome: &Outcome) -> serde_json::Result<Value> {
    let mut denied = BTreeMap::new();
    for attempt in &outcome.denied {
        let count: &mut u64 = denied.entry(attempt.kind.as_str()).or_default();
        *count = count.saturating_add(attempt.count);
    }
    let violations = outcome.violations.iter().map(|violation| ViolationSummary {
        kind: violation.kind,
        what: &violation.what,
        count: violation.count,
    });
    serde_json::to_value(OutcomeSummary {
        trace: Trace::of(facts, outcome.cause.as_str()),
        status: outcome.status,
        exit: outcome.exit,
        usage: outcome.usage,
        stdout_bytes: outcome.stdout_bytes,
        stderr_bytes: outcome.stderr_bytes,
        output_truncated: outcome.output_truncated,
        denied,
        violations: violations.collect(),
        alert: outcome.cause == Cause::Violation,
        artefacts: outcome.artefacts.len(),
        lodging: facts.lodging,
        quota: facts.quota.as_ref(),
        replay_of: facts.replay_of,
    })
}

#[derive(Serialize)]
struct OutcomeContent<'a> {
    outcome: Outcome,
    /// The digest of the list of artefacts in JSON, of which `outcome` may hold only the beginning.
    artefacts_sha256: Digest,
    #[serde(flatten)]
    observed: &'a Observed,
}

/// What was seen of an end beside its outcome.
#[derive(Default, Serialize)]
pub(crate) struct Observed {
    /// The digests of what was given back of the output; the output itself is nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) streams: Option<Streams>,
    /// What went wrong with the sandbox or the artefacts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trouble: Option<String>,
}

/// The content of an outcome (R236).
pub(crate) fn content(outcome: &Outcome, observed: &Observed) -> serde_json::Result<Vec<u8>> {
    let mut content = OutcomeContent {
        outcome: outcome.clone(),
        artefacts_sha256: Digest::of(&serde_json::to_vec(&outcome.artefacts)?),
        observed,
    };
    loop {
        let json = serde_json::to_vec(&content)?;
        let Outcome {
            artefacts, denied, ..
        } = &mut content.outcome;
        if json.len() <= MAX_CONTENT_BYTES || artefacts.is_empty() && denied.is_empty() {
            return Ok(json);
        }
        if artefacts.is_empty() {
            denied.truncate(denied.len() / 2);
        } else {
            artefacts.truncate(artefacts.len() / 2);
        }
    }
}

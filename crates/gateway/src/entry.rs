//! What records say: metadata in clear, content for the sealed part.
//!
//! Neither has output, values of variables, or values whose names the profile redacts (I11, R178).

mod crossing;
mod decision;
mod deed;
mod outcome;

use casemate_model::{Digest, OutcomeStatus, Reason, SideEffect};
use casemate_policy::Verdict;
use serde::Serialize;
use serde_json::Value;

pub(crate) use self::{
    crossing::{REQUEST, content as crossing_content, summary as crossing},
    decision::{content as decision_content, summary as decision},
    deed::{content as deed_content, ending as session_ending, summary as deed},
    outcome::{Observed, content as outcome_content, summary as outcome},
};
use crate::{Facts, Operation, Terms, erase::Erases};

/// The trace fields that every record of an allowed or held call has, and that a profile may therefore
/// require (R232).
pub(crate) const TRACE_FIELDS: [&str; 8] = [
    "trace_id",
    "actor",
    "tool",
    "route",
    "side_effect",
    "policy",
    "policy_decision",
    "stop_reason",
];

#[derive(Serialize)]
struct Trace<'a> {
    trace_id: &'a str,
    actor: Option<&'a str>,
    tool: &'a str,
    route: Option<&'a str>,
    side_effect: Option<SideEffect>,
    policy: Option<Digest>,
    policy_decision: Option<Verdict>,
    stop_reason: &'a str,
}

impl<'a> Trace<'a> {
    fn of(facts: &'a Facts, stop_reason: &'a str) -> Self {
        Self {
            trace_id: &facts.trace_id,
            actor: facts.claims.as_ref().map(|claims| claims.subject.as_str()),
            tool: &facts.ask.tool,
            route: facts.terms.as_ref().map(|terms| terms.route.as_str()),
            side_effect: facts.side_effect,
            policy: facts.terms.as_ref().map(|terms| terms.policy),
            policy_decision: facts.ruling.as_ref().map(|ruling| ruling.verdict),
            stop_reason,
        }
    }
}

#[derive(Serialize)]
struct Engine {
    name: &'static str,
    version: &'static str,
}

const ENGINE: Engine = Engine {
    name: "casemate",
    version: env!("CARGO_PKG_VERSION"),
};

/// The first field that the profile requires and `summary` lacks.
pub(crate) fn missing_field<'t>(terms: Option<&'t Terms>, summary: &Value) -> Option<&'t str> {
    terms?
        .required
        .iter()
        .map(String::as_str)
        .find(|name| summary.get(name).is_none_or(Value::is_null))
}

#[derive(Serialize)]
struct LostSummary {
    engine: Engine,
    policy_decision: Verdict,
    status: OutcomeStatus,
    stop_reason: &'static str,
}

/// The metadata of an outcome that nobody saw.
pub(crate) fn lost() -> serde_json::Result<Value> {
    serde_json::to_value(LostSummary {
        engine: ENGINE,
        policy_decision: Verdict::Allow,
        status: OutcomeStatus::Unknown,
        stop_reason: "nobody_saw_the_end",
    })
}

#[derive(Serialize)]
struct ErasureSummary<'a> {
    engine: Engine,
    actor: &'a str,
    erases: Erases,
    status: &'static str,
    keys: &'a [String],
}

/// The metadata of an erasure that begins, or that has destroyed these keys.
pub(crate) fn erasure(
    actor: &str,
    erases: Erases,
    destroyed: Option<&[String]>,
) -> serde_json::Result<Value> {
    serde_json::to_value(ErasureSummary {
        engine: ENGINE,
        actor,
        erases,
        status: match destroyed {
            None => "begun",
            Some(_) => "done",
        },
        keys: destroyed.unwrap_or_default(),
    })
}

#[derive(Serialize)]
struct OperationSummary<'a> {
    engine: Engine,
    actor: &'a str,
    /// What is done, in the place of a call's tool.
    tool: &'a str,
    side_effect: SideEffect,
    policy_decision: Verdict,
    stop_reason: &'a str,
    reason: Reason,
    detail: &'a str,
    alert: bool,
    subject: &'a Value,
}

/// The metadata of what an operator does.
pub(crate) fn operation(
    operation: &Operation,
    actor: &str,
    verdict: Verdict,
    stop_reason: &str,
) -> serde_json::Result<Value> {
    serde_json::to_value(OperationSummary {
        engine: ENGINE,
        actor,
        tool: operation.what,
        side_effect: SideEffect::Write,
        policy_decision: verdict,
        stop_reason,
        reason: operation.reason,
        detail: &operation.detail,
        alert: operation.alert,
        subject: &operation.subject,
    })
}

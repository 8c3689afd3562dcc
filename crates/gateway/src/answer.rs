//! Everything that is known about a call, as one JSON object (R51).

use std::collections::BTreeMap;

use casemate_ledger::Receipt;
use casemate_model::{
    Artefact, Cause, ControlName, DecisionId, DeniedAttempt, Digest, Exit, InputDigest, Isolation,
    Limits, Outcome, OutcomeStatus, Reason, Strength, Text, Usage,
};
use casemate_policy::{Check, Verdict};
use serde::Serialize;
use serde_json::Value;

use crate::{Facts, Lodging, Output, QuotaUse, Refused, Released};

/// The answer to a request.
#[derive(Debug, Serialize)]
pub struct Answer<'a> {
    decision: DecisionId,
    trace_id: &'a str,
    action_hash: Option<Digest>,
    asked: Asked<'a>,
    verdict: Option<Verdict>,
    reason: Reason,
    detail: &'a str,
    hint: Option<&'static str>,
    checks: &'a [Check],
    status: Option<OutcomeStatus>,
    cause: Option<Cause>,
    exit_code: Option<u8>,
    signal: Option<u8>,
    stdout: Option<Text>,
    stderr: Option<Text>,
    stdout_bytes: u64,
    stderr_bytes: u64,
    output_truncated: bool,
    artefacts: &'a [Artefact],
    denied: &'a [DeniedAttempt],
    usage: Option<Usage>,
    limits: BTreeMap<&'static str, LimitFact>,
    isolation: Option<&'a Isolation>,
    policy: Option<Policy<'a>>,
    record: Option<&'a Receipt>,
    replay_of: Option<DecisionId>,
    error: Option<String>,
    /// Where it ran, or was meant to, if that is a session.
    #[serde(flatten)]
    lodging: Option<Lodging>,
    /// The results of an interpreter, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    results: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<&'a QuotaUse>,
}

/// What was asked.
#[derive(Debug, Serialize)]
struct Asked<'a> {
    agent: &'a str,
    runtime: &'a str,
    argv: &'a [Text],
    code: Option<Digest>,
    files: Files<'a>,
    /// The names of the variables.
    env: Vec<&'a str>,
    limits: Limits,
}

/// The input files: as the sandbox holds them, or by name when there was none.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Files<'a> {
    Held(&'a [InputDigest]),
    Named(Vec<Named<'a>>),
}

#[derive(Debug, Serialize)]
struct Named<'a> {
    name: &'a Text,
}

#[derive(Debug, Serialize)]
struct LimitFact {
    asked: u64,
    enforced: Strength,
    by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
}

#[derive(Debug, Serialize)]
struct Policy<'a> {
    route: &'a str,
    digest: Digest,
}

impl<'a> Answer<'a> {
    /// A call of which nothing is known but what led to the decision.
    #[must_use]
    pub fn of(facts: &'a Facts) -> Self {
        let ruling = facts.ruling.as_ref();
        let reason = facts.reason();
        Self {
            decision: facts.decision,
            trace_id: &facts.trace_id,
            action_hash: facts.action_hash,
            asked: Asked::of(facts),
            verdict: ruling.map(|ruling| ruling.verdict),
            reason,
            detail: ruling.map_or("", |ruling| &ruling.detail),
            hint: (reason != Reason::Allowed).then(|| reason.hint()),
            checks: facts.checks(),
            status: None,
            cause: None,
            exit_code: None,
            signal: None,
            stdout: None,
            stderr: None,
            stdout_bytes: 0,
            stderr_bytes: 0,
            output_truncated: false,
            artefacts: &[],
            denied: &[],
            usage: None,
            limits: limits(facts),
            isolation: facts.isolation.as_ref(),
            policy: facts.terms.as_ref().map(|terms| Policy {
                route: &terms.route,
                digest: terms.policy,
            }),
            record: None,
            replay_of: facts.replay_of,
            error: None,
            lodging: facts.lodging,
            results: Vec::new(),
            quota: facts.quota.as_ref(),
        }
    }

    /// A call that was refused.
    #[must_use]
    pub fn refused(refused: &'a Refused) -> Self {
        Self {
            record: refused.receipt(),
            ..Self::of(refused.facts())
        }
    }

    /// A call that ended, with its output.
    #[must_use]
    pub fn released(released: &'a Released, output: Output) -> Self {
        let outcome: &Outcome = released.outcome();
        let (exit_code, signal) = match outcome.exit {
            Some(Exit::Code(code)) => (Some(code), None),
            Some(Exit::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        Self {
            status: Some(outcome.status),
            cause: Some(outcome.cause),
            exit_code,
            signal,
            results: results(&output.results),
            stdout: Some(output.stdout),
            stderr: Some(output.stderr),
            stdout_bytes: outcome.stdout_bytes,
            stderr_bytes: outcome.stderr_bytes,
            output_truncated: outcome.output_truncated,
            artefacts: &outcome.artefacts,
            denied: &outcome.denied,
            usage: Some(outcome.usage),
            record: Some(released.receipt()),
            error: released.trouble().map(str::to_owned),
            ..Self::of(released.facts())
        }
    }

    /// A call that ran, and whose outcome could not be recorded.
    #[must_use]
    pub fn unrecorded(facts: &'a Facts, error: String) -> Self {
        Self {
            status: Some(OutcomeStatus::Unknown),
            error: Some(error),
            ..Self::of(facts)
        }
    }
}

impl<'a> Asked<'a> {
    fn of(facts: &'a Facts) -> Self {
        let ask = &facts.ask;
        let program = facts.call.as_ref().map(|call| &call.program);
        Self {
            agent: &ask.agent,
            runtime: &ask.tool,
            argv: &ask.command.argv,
            code: program.and_then(|program| program.code),
            files: match program {
                Some(program) => Files::Held(&program.inputs),
                None => Files::Named(facts.files.iter().map(|name| Named { name }).collect()),
            },
            env: ask.command.env.keys().map(String::as_str).collect(),
            limits: ask.limits,
        }
    }
}

/// The results of an interpreter, each a JSON object; whatever is none is left out.
fn results(lines: &Text) -> Vec<Value> {
    let lines = lines.as_bytes().split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .filter(Value::is_object)
        .collect()
}

/// Each limit, and how well it is really enforced.
fn limits(facts: &Facts) -> BTreeMap<&'static str, LimitFact> {
    let named = facts.ask.limits.named().into_iter();
    named
        .map(|(name, asked)| {
            let control = control(name).and_then(|name| {
                let controls = &facts.isolation.as_ref()?.controls;
                controls.iter().find(|control| control.name == name)
            });
            let fact = LimitFact {
                asked,
                enforced: control.map_or(Strength::Absent, |control| control.strength),
                by: control.map_or_else(String::new, |control| control.by.clone()),
                note: control.map_or_else(String::new, |control| control.note.clone()),
            };
            (name, fact)
        })
        .collect()
}

/// What enforces a limit.
fn control(limit: &str) -> Option<ControlName> {
    Some(match limit {
        "wall_ms" => ControlName::WallClock,
        "cpu_milli" => ControlName::Cpu,
        "memory_bytes" => ControlName::Memory,
        "processes" => ControlName::Processes,
        "open_files" => ControlName::OpenFiles,
        "file_bytes" => ControlName::FileSize,
        "disk_bytes" | "disk_files" => ControlName::Disk,
        "output_bytes" => ControlName::Output,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_its_control() {
        for (name, _) in Limits::default().named() {
            assert!(control(name).is_some(), "{name}");
        }
    }
}

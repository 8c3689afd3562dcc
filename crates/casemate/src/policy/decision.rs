//! `casemate policy explain | replay`: a decision of the log, and the same decision made again.

use std::path::Path;

use casemate_bundle::PolicyStore;
use casemate_ledger::{Kind, Record, find, tail};
use casemate_model::{DecisionId, Digest};
use casemate_policy::{Decision, Engine, Inputs, Profile, Verdict};
use serde_json::{Value, json};

use super::bundle::{compiled, store};
use crate::{
    audit::{Contents, ledger},
    exit::Exit,
    report::{self, Failure},
    state,
};

/// How many records are looked at for decisions to replay before an activation.
const RECENT: usize = 2_000;

/// A decision as the log has it.
struct Recorded {
    decision: DecisionId,
    record: Record,
    content: Value,
}

impl Recorded {
    fn inputs(&self) -> Result<Inputs, Failure> {
        if let Some(key) = self.content.get("erased").and_then(Value::as_str) {
            return Err(Failure::failed(anyhow::anyhow!(
                "what {} was made from is erased, with {key}",
                self.decision
            )));
        }
        let inputs = self.content.get("inputs").cloned().ok_or_else(|| {
            Failure::invalid(anyhow::anyhow!(
                "{} was refused before anything was decided from",
                self.decision
            ))
        })?;
        serde_json::from_value(inputs).map_err(Failure::failed)
    }

    fn word(&self, name: &str) -> &str {
        self.record
            .entry
            .summary
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The part of the record that a decision gives.
    fn decided(&self) -> Value {
        let summary = &self.record.entry.summary;
        json!({
            "verdict": summary.get("policy_decision"),
            "reason": summary.get("reason"),
            "detail": summary.get("detail"),
            "checks": summary.get("checks"),
            "policies": summary.get("policies").cloned().unwrap_or_else(|| json!([])),
        })
    }
}

fn read(what: &str) -> Result<Recorded, Failure> {
    let decision: DecisionId = what.parse().map_err(|error| {
        Failure::usage(anyhow::Error::new(error)).hint("`casemate audit tail` shows decisions")
    })?;
    let records = find(&ledger()?, decision).map_err(Failure::failed)?;
    let decided = records
        .into_iter()
        .find(|record| is_decision(record.entry.kind));
    let record = decided
        .ok_or_else(|| Failure::invalid(anyhow::anyhow!("the log has no decision {decision}")))?;
    let content = Contents::open().of(&record);
    Ok(Recorded {
        decision,
        record,
        content,
    })
}

const fn is_decision(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Allowed | Kind::Denied | Kind::Held | Kind::Event
    )
}

/// Says why a call was allowed, held or refused.
pub(crate) fn explain(what: &str, json: bool) -> Result<Exit, Failure> {
    let recorded = read(what)?;
    let inputs = recorded.inputs();
    if json {
        let line = json!({
            "decision": recorded.decision,
            "policy": recorded.record.entry.summary.get("policy"),
            "decided": recorded.decided(),
            "inputs": inputs.ok(),
        });
        report::print(format_args!("{line}\n"))?;
        return Ok(Exit::Success);
    }
    let summary = &recorded.record.entry.summary;
    report::print(format_args!(
        "{}: {} ({})\n{}\n\nasked by {} on route {} for {}, under {}\n",
        recorded.decision,
        recorded.word("policy_decision"),
        recorded.word("reason"),
        recorded.word("detail"),
        recorded.word("actor"),
        recorded.word("route"),
        recorded.word("tool"),
        recorded.word("policy"),
    ))?;
    for check in summary
        .get("checks")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let passed = check.get("passed").and_then(Value::as_bool) == Some(true);
        let name = check
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        report::print(format_args!(
            "  {} {name}\n",
            if passed { "yes" } else { "NO " }
        ))?;
    }
    let policies = summary.get("policies").and_then(Value::as_array);
    for policy in policies.into_iter().flatten().filter_map(Value::as_str) {
        report::print(format_args!("  by the policy {policy}\n"))?;
    }
    match inputs {
        Ok(inputs) => {
            let text = serde_json::to_string_pretty(&inputs).map_err(Failure::failed)?;
            report::print(format_args!("\nmade from {text}\n"))?;
            if let Some(reason) = casemate_model::Reason::from_word(recorded.word("reason")) {
                report::print(format_args!("\nwhat to do: {}\n", reason.hint()))?;
            }
        }
        Err(failure) => report::print(format_args!("\n{failure}\n"))?,
    }
    Ok(Exit::Success)
}

/// Decides again, from what was recorded and under the policy of then. Exits with 1 if the answer is not the same to the last bit.
pub(crate) fn replay(what: &str) -> Result<Exit, Failure> {
    let recorded = read(what)?;
    let inputs = recorded.inputs()?;
    let again = under(inputs.policy)?.judge(&inputs);
    let now = decided(&again)?;
    let then = recorded.decided();
    if now == then {
        report::print(format_args!(
            "{}: the same answer again: {} ({})\n",
            recorded.decision,
            again.verdict.as_str(),
            again.reason
        ))?;
        return Ok(Exit::Success);
    }
    report::print(format_args!(
        "{}: another answer\n  then {then}\n  now  {now}\n",
        recorded.decision
    ))?;
    Ok(Exit::Invalid)
}

fn decided(decision: &Decision) -> Result<Value, Failure> {
    serde_json::to_value(decision).map_err(Failure::failed)
}

/// The policy of this digest: a stored bundle, or a profile that every build has.
fn under(digest: Digest) -> Result<std::sync::Arc<Engine>, Failure> {
    let every_build_has = [
        Profile::builtin(),
        Profile::builtin_serve(),
        Profile::builtin_up(),
    ];
    for profile in every_build_has {
        let profile = profile.map_err(Failure::failed)?;
        if profile.digest() == digest {
            let engine = Engine::of_profile(profile.into()).map_err(Failure::failed)?;
            return Ok(engine.into());
        }
    }
    let stored = stored()?.and_then(|store| store.load(digest).ok());
    let bundle = stored.ok_or_else(|| {
        Failure::invalid(anyhow::anyhow!("the policy {digest} is not stored here"))
            .hint("decisions under a profile of --profile FILE can be replayed only with a bundle: activate one")
    })?;
    let loaded = compiled(bundle)
        .map_err(|_| Failure::failed(anyhow::anyhow!("the bundle {digest} is broken")))?;
    Ok(loaded.engine)
}

/// The store, if there is one.
fn stored() -> Result<Option<PolicyStore>, Failure> {
    let dir = state::policy_in(&state::path()?);
    if Path::new(&dir).exists() {
        store().map(Some)
    } else {
        Ok(None)
    }
}

/// The decisions of the newest records, with what they were made from.
pub(crate) fn recent() -> Result<Vec<(DecisionId, Verdict, Inputs)>, Failure> {
    let dir = state::ledger_in(&state::path()?);
    if !dir.join("log").exists() {
        return Ok(Vec::new());
    }
    let contents = Contents::open();
    let records = tail(&dir, RECENT).map_err(Failure::failed)?;
    let decided = records
        .into_iter()
        .filter(|record| is_decision(record.entry.kind));
    let decided = decided.filter_map(|record| {
        let verdict = record.entry.summary.get("policy_decision")?.clone();
        let verdict = serde_json::from_value(verdict).ok()?;
        let inputs = contents.of(&record).get("inputs")?.clone();
        let inputs = serde_json::from_value(inputs).ok()?;
        Some((record.entry.decision, verdict, inputs))
    });
    Ok(decided.collect())
}

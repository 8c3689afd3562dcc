//! What the log says of the calls: read as it grows, as only its newest records are shown.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{process::capture, served::Gateway};

/// Records that are shown at once.
const SHOWN: &str = "10000";
/// The most findings that are told.
const MAX_FINDINGS: usize = 10;

/// How often each decision was allowed, refused and ended, and how many events it has.
#[derive(Debug, Default)]
pub(super) struct Records {
    next: u64,
    calls: BTreeMap<String, [u64; 4]>,
    missed: u64,
}

impl Records {
    /// Reads what is new.
    pub(super) fn read(&mut self, gateway: &Gateway) -> Result<()> {
        let tail = ["audit", "tail", "-n", SHOWN, "--json"];
        let log = capture(&mut gateway.casemate(&tail))?;
        for line in log.lines() {
            self.take(&serde_json::from_str(line).context("a record is not JSON")?)?;
        }
        Ok(())
    }

    fn take(&mut self, record: &Value) -> Result<()> {
        let record = record.get("record").context("there is no record")?;
        let index = record.get("index").and_then(Value::as_u64);
        let index = index.context("a record has no index")?;
        if index < self.next {
            return Ok(());
        }
        self.missed += index - self.next;
        self.next = index + 1;
        let word = |key: &str| record.get(key).and_then(Value::as_str);
        let (kind, decision) = word("kind")
            .zip(word("decision"))
            .context("a record says nothing")?;
        let [allowed, denied, ended, events] = self.calls.entry(decision.to_owned()).or_default();
        match kind {
            "allowed" => *allowed += 1,
            "denied" => *denied += 1,
            "outcome" => *ended += 1,
            "event" => *events += 1,
            _ => {}
        }
        Ok(())
    }

    /// Decisions that are not refused once, nor allowed and ended once, nor an event and nothing else.
    pub(super) fn findings(&self) -> Vec<String> {
        if self.missed > 0 {
            return vec![format!("{} records were not seen", self.missed)];
        }
        let odd = self
            .calls
            .iter()
            .filter(
                |(_, [allowed, denied, ended, events])| match (allowed, denied, ended) {
                    (1, 0, 1) | (0, 1, 0) => false,
                    (0, 0, 0) => *events == 0,
                    _ => true,
                },
            );
        odd.take(MAX_FINDINGS)
            .map(|(decision, [allowed, denied, ended, _])| {
                format!("{decision} was {allowed} times allowed, {denied} times refused and ended {ended} times")
            })
            .collect()
    }

    pub(super) fn summary(&self) -> String {
        let allowed: u64 = self.calls.values().map(|[allowed, ..]| allowed).sum();
        format!("{} calls on record, {allowed} allowed", self.calls.len())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_without_an_outcome_is_found() {
        let mut records = Records::default();
        for (index, kind, decision) in [
            (0, "allowed", "a"),
            (1, "denied", "b"),
            (1, "denied", "b"),
            (2, "allowed", "c"),
            (3, "outcome", "a"),
            (4, "event", "d"),
        ] {
            let record =
                json!({ "record": { "index": index, "kind": kind, "decision": decision } });
            records.take(&record).unwrap();
        }
        let findings = records.findings();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].starts_with("c was 1 times allowed"));
        records
            .take(&json!({ "record": { "index": 9, "kind": "outcome", "decision": "c" } }))
            .unwrap();
        assert!(records.findings()[0].starts_with("4 records"));
    }
}

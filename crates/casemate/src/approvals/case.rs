//! A call as the gateway shows it to an approver: believed as far as its hash goes.

use anyhow::{anyhow, ensure};
use casemate_model::{Call, DecisionId, Digest, Text};
use serde::Deserialize;
use serde_json::Value;

use crate::{client::GatewayArgs, report::Failure};

/// A call that waits, whose parts all belong to its hash.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) decision: DecisionId,
    /// Computed here, from the bytes that are shown.
    pub(super) action: Digest,
    pub(super) call: Call,
    pub(super) code: Option<Text>,
    pub(super) files: Vec<(Text, Text)>,
    /// What the gateway says beside the call.
    pub(super) said: Said,
}

#[derive(Debug, Deserialize)]
pub(super) struct Said {
    decision: DecisionId,
    action: Digest,
    pub(super) state: String,
    pub(super) held_at_ms: u64,
    pub(super) expires_at_ms: u64,
    pub(super) votes: Vec<VoteSaid>,
    pub(super) needed: u64,
    pub(super) roles: Vec<String>,
    pub(super) detail: String,
    pub(super) policies: Vec<String>,
    canonical: Text,
    code: Option<Text>,
    files: Vec<(Text, Text)>,
}

#[derive(Debug, Deserialize)]
pub(super) struct VoteSaid {
    pub(super) user: String,
    pub(super) vote: String,
    pub(super) reason: String,
}

/// A decision's id, which can stand in a path.
pub(super) fn checked(decision: &str) -> Result<DecisionId, Failure> {
    decision
        .parse()
        .map_err(|error| Failure::usage(anyhow!("{error}")))
}

/// Asks for a call that waits, or waited.
pub(super) async fn fetch(gateway: &GatewayArgs, decision: &str) -> Result<Value, Failure> {
    let path = format!("/v1/approvals/{}", checked(decision)?);
    gateway.ask("GET", &path, None).await
}

impl Case {
    /// Takes nothing that does not belong to the hash.
    pub(super) fn check(answer: Value) -> Result<Self, Failure> {
        Self::read(answer).map_err(|error| {
            Failure::failed(error)
                .hint("do not approve it: what the gateway shows is not what would run")
        })
    }

    fn read(answer: Value) -> anyhow::Result<Self> {
        let mut said: Said = serde_json::from_value(answer)?;
        let canonical = said.canonical.as_bytes();
        let action = Digest::of(canonical);
        ensure!(
            action == said.action,
            "the call does not have the hash that the gateway says: {action}, not {}",
            said.action
        );
        let call: Call = serde_json::from_slice(canonical)?;
        ensure!(
            call.canonical()? == canonical,
            "the call is not in its canonical form"
        );
        let (code, files) = (said.code.take(), std::mem::take(&mut said.files));
        let digest = code.as_ref().map(|code| Digest::of(code.as_bytes()));
        ensure!(
            digest == call.program.code,
            "the source that is shown is not the one that would run"
        );
        for input in &call.program.inputs {
            let shown = files.iter().find(|(name, _)| *name == input.name);
            ensure!(
                shown.is_some_and(|(_, content)| Digest::of(content.as_bytes()) == input.sha256),
                "the file `{}` that is shown is not the one that would be there",
                input.name
            );
        }
        ensure!(
            files.len() == call.program.inputs.len(),
            "a file is shown that would not be there"
        );
        Ok(Self {
            decision: said.decision,
            action,
            call,
            code,
            files,
            said,
        })
    }
}

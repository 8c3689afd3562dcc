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
    /// Files of the call that the gateway does not show: it keeps those of a request no longer than somebody may send it.
    pub(super) missing: Vec<Text>,
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
    /// To be answered: takes nothing that does not belong to the hash, and all that does.
    pub(super) fn check(answer: Value) -> Result<Self, Failure> {
        Self::read(answer)
            .and_then(|case| match case.missing.first() {
                None => Ok(case),
                Some(name) => Err(anyhow!(
                    "the file `{name}` is not shown; the gateway says that the call is {}",
                    case.said.state
                )),
            })
            .map_err(distrusted)
    }

    /// To be looked at: takes nothing that does not belong to the hash.
    pub(super) fn look(answer: Value) -> Result<Self, Failure> {
        Self::read(answer).map_err(distrusted)
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
        let mut missing = Vec::new();
        for input in &call.program.inputs {
            match files.iter().find(|(name, _)| *name == input.name) {
                None => missing.push(input.name.clone()),
                Some((_, content)) => ensure!(
                    Digest::of(content.as_bytes()) == input.sha256,
                    "the file `{}` that is shown is not the one that would be there",
                    input.name
                ),
            }
        }
        ensure!(
            files.len() + missing.len() == call.program.inputs.len(),
            "a file is shown that would not be there"
        );
        Ok(Self {
            decision: said.decision,
            action,
            call,
            code,
            files,
            missing,
            said,
        })
    }
}

fn distrusted(error: anyhow::Error) -> Failure {
    Failure::failed(error).hint("do not approve it: what the gateway shows is not what would run")
}

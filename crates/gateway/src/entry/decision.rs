//! What is recorded of a decision.

use casemate_model::{
    Call, DecisionId, Delegator, Digest, Isolation, Limits, Reason, RunMode, Text,
};
use casemate_policy::{Approval, Check, Inputs, Verdict};
use casemate_scan::Report;
use serde::Serialize;
use serde_json::Value;

use super::{ENGINE, Engine, Trace};
use crate::{
    Code, Facts, Lodging, QuotaUse, Wait,
    limits::{MAX_CODE_RECORD_BYTES, MAX_CONTENT_BYTES},
    redact::{REDACTED, digest_env, redact, redact_argv},
};

#[derive(Serialize)]
struct DecisionSummary<'a> {
    #[serde(flatten)]
    trace: Trace<'a>,
    engine: Engine,
    reason: Reason,
    detail: &'a str,
    checks: &'a [Check],
    /// The policies that made it so.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    policies: &'a [String],
    issuer: Option<&'a str>,
    audience: Option<&'a str>,
    scopes: Option<Vec<&'a str>>,
    mode: Option<RunMode>,
    idempotency_key_given: bool,
    limits: Limits,
    isolation: Option<&'a Isolation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait: Option<Wait>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<&'a Approval>,
    /// The digest of the action token.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lodging: Option<Lodging>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    behalf: &'a [Delegator],
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<&'a QuotaUse>,
    /// What was found in the source: names of closed lists, and lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    scan: Option<&'a Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay_of: Option<DecisionId>,
}

/// The metadata of a decision (R96, R224, R239).
pub(crate) fn summary(facts: &Facts, token: Option<Digest>) -> serde_json::Result<Value> {
    let ruling = facts.ruling.as_ref();
    let claims = facts.claims.as_ref();
    let stop_reason = match ruling.map(|ruling| ruling.verdict) {
        Some(Verdict::Allow) => "not_ended",
        _ => facts.reason().as_str(),
    };
    serde_json::to_value(DecisionSummary {
        trace: Trace::of(facts, stop_reason),
        engine: ENGINE,
        reason: facts.reason(),
        detail: ruling.map_or("", |ruling| &ruling.detail),
        checks: facts.checks(),
        policies: ruling.map_or(&[], |ruling| &ruling.policies),
        issuer: claims.map(|claims| claims.issuer.as_str()),
        audience: claims.map(|claims| claims.audience.as_str()),
        scopes: claims.map(|claims| claims.scopes.iter().map(String::as_str).collect()),
        credential: claims.map(|claims| claims.credential.as_str()),
        behalf: claims.map_or(&[], |claims| &claims.behalf),
        mode: facts.mode,
        idempotency_key_given: facts.ask.given_key().is_some(),
        limits: facts.ask.limits,
        isolation: facts.isolation.as_ref(),
        wait: facts.wait,
        approval: facts.approval.as_ref(),
        token,
        lodging: facts.lodging,
        quota: facts.quota.as_ref(),
        scan: facts.scan.as_deref(),
        replay_of: facts.replay_of,
    })
}

#[derive(Serialize)]
struct CallContent<'a> {
    action_hash: Option<Digest>,
    /// Everything that was decided from: `casemate policy replay` decides again. Sealed, as a hash can be guessed at.
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs: Option<&'a Inputs>,
    /// The canonical call, but for the values of its variables and what the profile redacts; absent when it
    /// is larger than a record takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<Call>,
    /// What the digests of the variables' values are salted with, in hex.
    env_salt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<CodeContent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a String>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum CodeContent {
    Text(Text),
    Digest { sha256: Digest, bytes: usize },
}

impl CodeContent {
    fn text(code: &Code, names: &[String]) -> Self {
        if code.source.len() <= MAX_CODE_RECORD_BYTES {
            Self::Text(redact(&code.source, names).into())
        } else {
            Self::digest(code)
        }
    }

    fn digest(code: &Code) -> Self {
        Self::Digest {
            sha256: Digest::of(&code.source),
            bytes: code.source.len(),
        }
    }
}

/// The content of a decision (R234). There is none before a profile has said what to redact. Source that was refused before it was
/// part of a call is kept too.
pub(crate) fn content(facts: &Facts, salt: &[u8]) -> serde_json::Result<Option<Vec<u8>>> {
    let Some(terms) = &facts.terms else {
        return Ok(None);
    };
    let (call, code) = (facts.call.as_ref(), facts.ask.code.as_ref());
    if call.is_none() && code.is_none() {
        return Ok(None);
    }
    let source = |code| match facts.reason() {
        Reason::SecretInEnvironment => CodeContent::digest(code),
        _ => CodeContent::text(code, &terms.redact),
    };
    let mut content = CallContent {
        action_hash: facts.action_hash,
        inputs: facts.inputs.as_ref(),
        call: call.map(|call| recorded(call, facts.reason(), &terms.redact, salt)),
        env_salt: salt.iter().map(|byte| format!("{byte:02x}")).collect(),
        code: code.map(source),
        idempotency_key: facts.ask.given_key(),
    };
    let json = serde_json::to_vec(&content)?;
    if json.len() <= MAX_CONTENT_BYTES {
        return Ok(Some(json));
    }
    content.call = None;
    content.code = code.map(CodeContent::digest);
    serde_json::to_vec(&content).map(Some)
}

/// A call as it may be recorded.
fn recorded(call: &Call, reason: Reason, names: &[String], salt: &[u8]) -> Call {
    let mut recorded = call.clone();
    let program = &mut recorded.program;
    if reason == Reason::SecretInEnvironment {
        // Where the secret is was for the decision to find; the record does not keep it anywhere (I2).
        program.argv = vec![REDACTED.into(); program.argv.len()];
        program
            .env
            .values_mut()
            .for_each(|value| *value = REDACTED.into());
    } else {
        program.argv = redact_argv(&program.argv, names);
        program.env = digest_env(&program.env, names, salt);
    }
    recorded
}

//! What is recorded of deeds: what is done with sessions beside calls, and what becomes of them.

use casemate_model::{Delegator, Digest, OutcomeStatus, Reason, SideEffect};
use casemate_policy::{Check, Inputs, Verdict};
use casemate_ports::Gone;
use serde::Serialize;
use serde_json::Value;

use super::{ENGINE, Engine};
use crate::{
    Ending, Lodging,
    deed::{Deed, End, Subject},
};

#[derive(Serialize)]
struct DeedSummary<'a> {
    trace_id: &'a str,
    actor: Option<&'a str>,
    /// What is done, in the place of a call's tool.
    tool: &'a str,
    route: Option<&'a str>,
    side_effect: SideEffect,
    policy: Option<Digest>,
    policy_decision: Option<Verdict>,
    stop_reason: &'a str,
    engine: Engine,
    reason: Reason,
    detail: &'a str,
    checks: &'a [Check],
    issuer: &'a str,
    audience: &'a str,
    scopes: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    behalf: &'a [Delegator],
    lodging: Lodging,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<OutcomeStatus>,
}

/// The metadata of a deed, or of its end.
pub(crate) fn summary(deed: &Deed, end: Option<End>) -> serde_json::Result<Value> {
    let terms = deed.terms.as_ref();
    let (ruling, claims) = (&deed.ruling, deed.caller.claims.get());
    let stop_reason = match (end, ruling.verdict, deed.side_effect) {
        (Some(end), ..) => end.stop_reason(),
        // Who reads is not watched to the end.
        (None, Verdict::Allow, SideEffect::Read) => "not_watched",
        (None, Verdict::Allow, _) => "not_ended",
        (None, ..) => ruling.reason.as_str(),
    };
    serde_json::to_value(DeedSummary {
        trace_id: &deed.trace_id,
        actor: Some(&claims.subject),
        tool: deed.access,
        route: terms.map(|terms| terms.route.as_str()),
        side_effect: deed.side_effect,
        policy: terms.map(|terms| terms.policy),
        policy_decision: Some(ruling.verdict),
        stop_reason,
        engine: ENGINE,
        reason: ruling.reason,
        detail: &ruling.detail,
        checks: &ruling.checks,
        issuer: &claims.issuer,
        audience: &claims.audience,
        scopes: claims.scopes.iter().map(String::as_str).collect(),
        credential: Some(&claims.credential),
        behalf: &claims.behalf,
        lodging: deed.lodging,
        status: end.map(End::status),
    })
}

/// The content of a deed.
pub(crate) fn content(deed: &Deed) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&DeedContent {
        subject: &deed.subject,
        inputs: deed.inputs.as_ref(),
    })
}

#[derive(Serialize)]
struct DeedContent<'a> {
    #[serde(flatten)]
    subject: &'a Subject,
    /// Everything that was decided from.
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs: Option<&'a Inputs>,
}

#[derive(Serialize)]
struct EndingSummary<'a> {
    trace_id: &'a str,
    tool: &'static str,
    policy: Option<Digest>,
    stop_reason: &'a str,
    engine: Engine,
    reason: &'a str,
    lodging: Lodging,
    /// Somebody has to look: nobody else has told of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    alert: bool,
}

/// The metadata of a session's end that nobody asked for.
pub(crate) fn ending(
    trace_id: &str,
    lodging: Lodging,
    policy: Option<Digest>,
    why: &str,
) -> serde_json::Result<Value> {
    serde_json::to_value(EndingSummary {
        trace_id,
        tool: "session.end",
        policy,
        stop_reason: why,
        engine: ENGINE,
        reason: why,
        lodging,
        alert: why == Ending::Kept(Gone::Violation).as_str(),
    })
}

//! What is recorded of a request on the way out.

use casemate_model::{DecisionId, DestinationClass, Digest, OutcomeStatus, SideEffect};
use casemate_policy::Verdict;
use casemate_ports::{Advice, Crossing, CrossingContent, Stage};
use serde::Serialize;
use serde_json::Value;

use super::{ENGINE, Engine};
use crate::{Facts, crossing::Heard};

/// In the place of a call's tool: what is done is a request.
pub(crate) const REQUEST: &str = "egress.request";

#[derive(Serialize)]
struct CrossingSummary<'a> {
    trace_id: &'a str,
    actor: Option<&'a str>,
    tool: &'static str,
    route: Option<&'a str>,
    side_effect: SideEffect,
    policy: Option<Digest>,
    policy_decision: Verdict,
    stop_reason: &'a str,
    engine: Engine,
    /// The call that sends it.
    call: DecisionId,
    /// The tool of that call.
    sender: &'a str,
    entry: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<&'a str>,
    scheme: Option<&'a str>,
    host: Option<&'a str>,
    port: Option<u16>,
    class: Option<DestinationClass>,
    rule: Option<&'a str>,
    method: Option<&'a str>,
    /// What a program of the operator's said of it, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    decider: Option<Opinion<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<OutcomeStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    bytes_out: u64,
    bytes_in: u64,
    hits: u64,
}

#[derive(Serialize)]
struct Opinion<'a> {
    name: &'a str,
    /// `pass`, or why not.
    said: &'a str,
    /// The fields that it takes out.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    without: &'a [String],
}

#[derive(Serialize)]
struct Content<'a> {
    #[serde(flatten)]
    crossing: &'a CrossingContent,
    /// Why a program of the operator's said what it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    decider: Option<&'a str>,
}

/// The metadata of a request, or of its end.
pub(crate) fn summary(
    call: &Facts,
    crossing: &Crossing,
    heard: Option<&Heard>,
) -> serde_json::Result<Value> {
    let opinion = heard.map(|heard| {
        let (said, without) = match &heard.said.advice {
            Advice::Pass { without } => ("pass", without.as_slice()),
            Advice::Deny { code, .. } => (code.as_str(), [].as_slice()),
        };
        Opinion {
            name: &heard.by,
            said,
            without,
        }
    });
    let (verdict, stop_reason, code, status) = match &crossing.stage {
        Stage::Denied(code) => (Verdict::Deny, code.as_ref(), Some(code.as_ref()), None),
        Stage::Sent => (Verdict::Allow, "not_ended", None, None),
        Stage::Ended(None) => (
            Verdict::Allow,
            "completed",
            None,
            Some(OutcomeStatus::Succeeded),
        ),
        // What of it arrived, nobody knows.
        Stage::Ended(Some(code)) => (
            Verdict::Allow,
            code.as_ref(),
            Some(code.as_ref()),
            Some(OutcomeStatus::Unknown),
        ),
    };
    let terms = call.terms.as_ref();
    serde_json::to_value(CrossingSummary {
        trace_id: &call.trace_id,
        actor: call.claims.as_ref().map(|claims| claims.subject.as_str()),
        tool: REQUEST,
        route: terms.map(|terms| terms.route.as_str()),
        // The worst, until a rule says it.
        side_effect: crossing.side_effect.unwrap_or(SideEffect::ExternalSend),
        policy: terms.map(|terms| terms.policy),
        policy_decision: verdict,
        stop_reason,
        engine: ENGINE,
        call: call.decision,
        sender: &call.ask.tool,
        entry: &crossing.entry,
        code,
        because: crossing.because.as_deref(),
        scheme: crossing.scheme.as_deref(),
        host: crossing.host.as_deref(),
        port: crossing.port,
        class: crossing.class,
        rule: crossing.rule.as_deref(),
        method: crossing.method.as_deref(),
        decider: opinion,
        credential: crossing.credential.as_deref(),
        status,
        http_status: crossing.status,
        bytes_out: crossing.bytes_out,
        bytes_in: crossing.bytes_in,
        hits: crossing.hits,
    })
}

/// The sealed part.
pub(crate) fn content(crossing: &Crossing, heard: Option<&Heard>) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Content {
        crossing: &crossing.sealed,
        decider: heard.and_then(|heard| heard.said.reason.as_deref()),
    })
}

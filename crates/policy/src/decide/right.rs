//! What the caller may do, where, and behind which walls.

use casemate_model::{Reason, RunMode, SideEffect, Strength};

use super::{Answer, Request, refuse};
use crate::{claims::Claims, profile::Profile, visible::quoted};

/// A tool that the profile does not list has no scope, and without a scope nothing runs (R131).
pub(super) fn scope(profile: &Profile, request: &Request<'_>) -> Answer {
    may_call(profile, &request.call.tool, request.claims.get())
}

/// Whether the profile lists the tool, and the caller has every scope for it.
pub(super) fn may_call(profile: &Profile, tool: &str, claims: &Claims) -> Answer {
    let tools = &profile.tools;
    let missing = |detail| refuse(Reason::MissingScope, detail);
    if !tools
        .allowed
        .iter()
        .chain(&tools.approval_required)
        .any(|listed| listed == tool)
    {
        return missing(format!(
            "the tool {} is in neither list of tools of route {}",
            quoted(tool),
            quoted(&profile.route)
        ));
    }
    let mut needed = profile
        .identity
        .required_scopes
        .iter()
        .chain(tools.scopes.get(tool))
        .peekable();
    if needed.peek().is_none() {
        return missing(format!(
            "the profile names no scope for the tool {}",
            quoted(tool)
        ));
    }
    match needed.find(|scope| !claims.scopes.contains(*scope)) {
        None => Ok(()),
        Some(scope) => missing(format!(
            "the caller lacks the scope {}, which the tool {} needs",
            quoted(scope),
            quoted(tool)
        )),
    }
}

pub(super) fn mode(_: &Profile, request: &Request<'_>) -> Answer {
    let (tool, side_effect) = (&request.call.tool, request.call.side_effect);
    if request.mode != RunMode::ReadOnly || side_effect == SideEffect::Read {
        return Ok(());
    }
    refuse(
        Reason::MissingScope,
        format!(
            "the run mode is `{}`, and the tool {} does a `{side_effect}`",
            request.mode,
            quoted(tool)
        ),
    )
}

pub(super) fn idempotency(_: &Profile, request: &Request<'_>) -> Answer {
    let call = request.call;
    let key = call.idempotency_key.as_deref().unwrap_or_default();
    if call.side_effect == SideEffect::Read || !key.is_empty() {
        return Ok(());
    }
    refuse(
        Reason::MissingIdempotencyKey,
        format!(
            "the tool {} does a `{}`, and the call has no idempotency key",
            quoted(&call.tool),
            call.side_effect
        ),
    )
}

pub(super) fn destination(profile: &Profile, request: &Request<'_>) -> Answer {
    let Some(destination) = &request.call.destination else {
        return Ok(());
    };
    let mut rules = profile.sandbox.network.allowed_domains.iter();
    if rules.any(|rule| rule.allows(destination)) {
        return Ok(());
    }
    refuse(
        Reason::EgressDenied,
        format!(
            "the destination {} is not in sandbox.network.allowed_domains",
            quoted(destination)
        ),
    )
}

/// The boundary is a fact: what it lacks is named, and nothing weaker is offered (I7).
pub(super) fn isolation(profile: &Profile, request: &Request<'_>) -> Answer {
    let (isolation, wanted) = (request.isolation, profile.sandbox.tier);
    let mut lacks = Vec::new();
    if isolation.tier < wanted {
        lacks.push(format!(
            "the tier `{wanted}` (this is `{}`)",
            isolation.tier
        ));
    }
    for control in &profile.sandbox.require {
        match isolation.strength(*control) {
            Strength::Enforced => {}
            Strength::Partial => lacks.push(format!("`{control}` (only in part)")),
            Strength::Absent => lacks.push(format!("`{control}`")),
        }
    }
    if lacks.is_empty() {
        return Ok(());
    }
    refuse(
        Reason::IsolationUnavailable,
        format!("this host does not enforce {}", lacks.join(", ")),
    )
}

pub(super) fn approval(profile: &Profile, request: &Request<'_>) -> Answer {
    let (tool, side_effect) = (&request.call.tool, request.call.side_effect);
    let held = |why: String| {
        refuse(
            Reason::ApprovalRequired,
            format!("the tool {} waits for a person: {why}", quoted(tool)),
        )
    };
    if profile.tools.approval_required.contains(tool) {
        return held("it is in tools.approval_required".to_owned());
    }
    let for_good = matches!(side_effect, SideEffect::Write | SideEffect::ExternalSend);
    if request.mode == RunMode::Review && for_good {
        return held(format!(
            "it does a `{side_effect}` in the run mode `{}`",
            request.mode
        ));
    }
    Ok(())
}

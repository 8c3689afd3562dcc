//! Why a question's answer was no, for people. Nothing is decided here.

use casemate_model::{RunMode, Strength};

use crate::{
    decide::CheckName,
    grant::needed,
    inputs::{Inputs, Wish},
    profile::Profile,
    visible::{quoted, shown},
};

/// Why `failed` was answered with no: one line without the value of any argument or variable.
pub(crate) fn explain(
    failed: CheckName,
    inputs: &Inputs,
    profile: &Profile,
    policies: &[String],
) -> String {
    let wish = wish(inputs);
    let side_effect = inputs.side_effect;
    match failed {
        CheckName::Issuer => format!(
            "the issuer {} is not in identity.allowed_issuers",
            quoted(&inputs.token.issuer)
        ),
        CheckName::Call
        | CheckName::Secrets
        | CheckName::Environment
        | CheckName::Limits
        | CheckName::Inputs => inputs
            .flaw
            .as_ref()
            .map_or_else(String::new, |flaw| flaw.detail.clone()),
        CheckName::Expiry => format!(
            "the caller's claims expired {} ms ago",
            inputs.now_ms.saturating_sub(inputs.token.expires_at_ms)
        ),
        CheckName::Audience => format!(
            "the caller's claims are for {}, not for {}",
            quoted(&inputs.token.audience),
            quoted(&profile.identity.required_audience)
        ),
        CheckName::Tenant => tenant(inputs),
        CheckName::Scope => scope(inputs, profile),
        CheckName::Tier => format!(
            "{wish} needs a stronger tier than the profile's, which is `{}`",
            profile.tier()
        ),
        CheckName::Mode => match &inputs.wish {
            Wish::Tool(tool) => format!(
                "the run mode is `{}`, and the tool {} does a `{side_effect}`",
                inputs.mode,
                quoted(tool)
            ),
            Wish::Access(access) => format!(
                "the run mode is `{}`, and `{}` changes something",
                inputs.mode,
                shown(access)
            ),
        },
        CheckName::Idempotency => {
            format!("{wish} does a `{side_effect}`, and the call has no idempotency key")
        }
        CheckName::Destination => destination(inputs),
        CheckName::Flow => format!(
            "{wish} sends something out of a thread that read private data and data that anybody may have written"
        ),
        CheckName::Budget => "nothing is left of the budget".to_owned(),
        CheckName::Isolation => isolation(inputs, profile),
        CheckName::Policy => format!(
            "{wish} is forbidden by {}",
            policies
                .iter()
                .map(|name| quoted(name))
                .collect::<Vec<_>>()
                .join(", ")
        ),
        CheckName::Approval => approval(inputs, profile),
    }
}

fn wish(inputs: &Inputs) -> String {
    match &inputs.wish {
        Wish::Tool(tool) => format!("the tool {}", quoted(tool)),
        Wish::Access(access) => format!("`{}`", shown(access)),
    }
}

fn tenant(inputs: &Inputs) -> String {
    let (own, called) = (&inputs.token.tenant, &inputs.tenant);
    if own == called {
        format!(
            "the tenant {} is not in identity.allowed_tenants",
            quoted(own)
        )
    } else {
        format!(
            "the caller's tenant is {}, the call's is {}",
            quoted(own),
            quoted(called)
        )
    }
}

fn scope(inputs: &Inputs, profile: &Profile) -> String {
    let route = quoted(&profile.route);
    let tools: Vec<&str> = match &inputs.wish {
        Wish::Tool(tool) => vec![tool],
        Wish::Access(_) => profile.tools.listed().collect(),
    };
    let Some(tool) = tools.first() else {
        return format!("route {route} has no tools");
    };
    if !profile.tools.listed().any(|listed| listed == *tool) {
        return format!(
            "the tool {} is in neither list of tools of route {route}",
            quoted(tool)
        );
    }
    let lacks = |scope: &&str| {
        let delegated = inputs.delegated.as_ref();
        !inputs.token.scopes.contains(*scope)
            || delegated.is_some_and(|scopes| !scopes.contains(*scope))
    };
    let mut needed = needed(profile, tool, None).peekable();
    if needed.peek().is_none() {
        return format!("the profile names no scope for the tool {}", quoted(tool));
    }
    match needed.find(lacks) {
        Some(scope) => format!(
            "the caller lacks the scope {}, which the tool {} needs",
            quoted(scope),
            quoted(tool)
        ),
        None => format!(
            "the caller lacks a scope that the manifest of the tool {} names, or the tool does no `{}`",
            quoted(tool),
            inputs.side_effect
        ),
    }
}

fn destination(inputs: &Inputs) -> String {
    let host = inputs
        .destination
        .as_ref()
        .map_or("", |to| to.host.as_str());
    format!(
        "the destination {} is not in sandbox.network.allowed_domains",
        quoted(host)
    )
}

/// What the boundary lacks is named (I7).
fn isolation(inputs: &Inputs, profile: &Profile) -> String {
    let Some(isolation) = &inputs.isolation else {
        return "it is not known what the sandbox enforces".to_owned();
    };
    let wanted = profile.sandbox.tier;
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
    format!("this host does not enforce {}", lacks.join(", "))
}

fn approval(inputs: &Inputs, profile: &Profile) -> String {
    let (tool, side_effect, mode) = (inputs.wish.name(), inputs.side_effect, inputs.mode);
    let why = if profile
        .tools
        .approval_required
        .iter()
        .any(|listed| listed == tool)
    {
        "it is in tools.approval_required".to_owned()
    } else if mode != RunMode::Review {
        "its manifest demands it".to_owned()
    } else {
        format!("it does a `{side_effect}` in the run mode `{mode}`")
    };
    format!("the tool {} waits for a person: {why}", quoted(tool))
}

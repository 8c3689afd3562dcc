//! What a profile says, as Cedar: one `permit` for each tool, that holds every condition, and nothing else permits anything.
//!
//! The conditions are the questions of [`CheckName`], in their order. A grant is all of them; when it does not apply, the first that is
//! false gives the reason.

use std::{collections::BTreeMap, fmt::Write as _};

use casemate_model::{IsolationTier, SideEffect, Tier};

use crate::{
    cedar::{all_of, any_of, literal, literals},
    decide::{Access, CheckName},
    domain::DomainRule,
    profile::Profile,
    tool::ToolFacts,
};

/// Whether a person approved exactly this call, in time, and is not who asked.
pub(crate) const APPROVED: &str = "(context has approval \
    && context.approval.action_hash == context.action_hash \
    && context.now_ms < context.approval.expires_at_ms \
    && context.approval.approver != principal)";
/// Whether the call only looks.
const READS: &str = "action == Casemate::Action::\"read\"";
/// What always holds.
const ALWAYS: &str = "true";
/// What never holds.
const NEVER: &str = "false";

/// One condition of a grant.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) check: CheckName,
    /// A Cedar expression.
    pub(crate) text: String,
}

/// What a route offers: a tool of the profile, any other tool, or something that can be done with its sessions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Offered<'a> {
    Tool(&'a str, &'a ToolFacts),
    Unlisted,
    Access(Access<'a>),
}

/// What has to hold of a call, or of an access, in the order of the questions.
///
/// `only` is the one thing that the grant lets it do to the world, if it is known: what depends on that is answered here, and not again
/// for each call.
pub(crate) fn conditions(
    profile: &Profile,
    tools: &BTreeMap<String, ToolFacts>,
    offered: Offered<'_>,
    only: Option<SideEffect>,
) -> Vec<Condition> {
    let mut all = Vec::new();
    let mut add = |check, text: String| all.push(Condition { check, text });
    add(
        CheckName::Issuer,
        one_of(&profile.identity.allowed_issuers, "context.token.issuer"),
    );
    add(
        CheckName::Expiry,
        "context.now_ms < context.token.expires_at_ms".to_owned(),
    );
    let audience = literal(&profile.identity.required_audience);
    add(
        CheckName::Audience,
        format!("context.token.audience == {audience}"),
    );
    add(CheckName::Tenant, tenant(profile));
    add(CheckName::Scope, scope(profile, tools, offered));
    if let Offered::Tool(_, tool) = offered {
        add(CheckName::Tier, tier(profile, tool));
    }
    add(CheckName::Mode, mode(only));
    if matches!(offered, Offered::Access(_)) {
        // Nothing of it goes anywhere.
        add(
            CheckName::Destination,
            "!(context has destination)".to_owned(),
        );
        return all;
    }
    add(CheckName::Idempotency, idempotency(offered, only));
    add(CheckName::Destination, destination(profile, offered));
    add(CheckName::Flow, flow(only));
    add(
        CheckName::Budget,
        "if context has budget then context.budget.left > 0 else true".to_owned(),
    );
    add(CheckName::Isolation, isolation(profile));
    add(CheckName::Approval, approval(profile, offered, only));
    all
}

/// The grant of these conditions, as text that people can read.
pub(crate) fn grant(
    offer: &str,
    side_effect: Option<SideEffect>,
    conditions: &[Condition],
) -> String {
    let action = side_effect.map_or_else(
        || "action".to_owned(),
        |action| format!("action == Casemate::Action::{}", literal(action.as_str())),
    );
    let name = literal(offer);
    let mut text = format!(
        "@id({name})\npermit (\n  principal,\n  {action},\n  resource == Casemate::Offer::{name}\n)"
    );
    for Condition { check, text: holds } in conditions {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n// {}\nwhen {{ {holds} }}", check.as_str());
    }
    text.push_str(";\n");
    text
}

/// Whether `value` is one of `words`.
fn one_of(words: &[String], value: &str) -> String {
    match words {
        [] => NEVER.to_owned(),
        [word] => format!("{value} == {}", literal(word)),
        words => {
            let words = literals(words.iter().map(String::as_str));
            format!("{words}.contains({value})")
        }
    }
}

fn tenant(profile: &Profile) -> String {
    let tenants: Vec<_> = profile
        .identity
        .allowed_tenants
        .iter()
        .map(|tenant| format!("context.tenant == Casemate::Tenant::{}", literal(tenant)))
        .collect();
    format!(
        "context.token.tenant == context.tenant && {}",
        any_of(&tenants)
    )
}

/// A tool that the profile does not list has no scope, and without a scope nothing runs (R131).
fn scope(profile: &Profile, tools: &BTreeMap<String, ToolFacts>, offered: Offered<'_>) -> String {
    match offered {
        Offered::Unlisted => NEVER.to_owned(),
        Offered::Tool(name, tool) => {
            has_all(&needed(profile, name, Some(tool)).collect::<Vec<_>>())
        }
        // Whoever could call nothing in a session has nothing to do there.
        Offered::Access(access) => {
            let listed = profile.tools.listed().filter(|tool| access.is_for(tool));
            let any: Vec<_> = listed
                .map(|tool| has_all(&needed(profile, tool, tools.get(tool)).collect::<Vec<_>>()))
                .collect();
            any_of(&any)
        }
    }
}

/// The scopes that a call of a tool needs.
pub(crate) fn needed<'p>(
    profile: &'p Profile,
    name: &str,
    tool: Option<&'p ToolFacts>,
) -> impl Iterator<Item = &'p str> {
    profile
        .identity
        .required_scopes
        .iter()
        .chain(profile.tools.scopes.get(name))
        .chain(tool.into_iter().flat_map(|tool| &tool.scopes))
        .map(String::as_str)
}

/// Whether all of `scopes` were given, and delegated if anything was. One by one: Cedar makes a set anew for each question about one.
pub(crate) fn has_all(scopes: &[&str]) -> String {
    let all_in = |set: &str| {
        let each = scopes
            .iter()
            .map(|scope| format!("{set}.contains({})", literal(scope)));
        all_of(&each.collect::<Vec<_>>())
    };
    match scopes {
        [] => NEVER.to_owned(),
        _ => format!(
            "({} && (if context has delegated then {} else true))",
            all_in("context.token.scopes"),
            all_in("context.delegated")
        ),
    }
}

/// Nothing moves to a stronger tier because a tool was convenient (R71).
fn tier(profile: &Profile, tool: &ToolFacts) -> String {
    let fits = tool.tier <= profile.tier();
    fits.to_string()
}

/// With the mode `read_only`, nothing but reads.
fn mode(only: Option<SideEffect>) -> String {
    let writes = "context.mode != \"read_only\"";
    match only {
        Some(SideEffect::Read) => ALWAYS.to_owned(),
        Some(_) => writes.to_owned(),
        None => format!("{READS} || {writes}"),
    }
}

/// What has a side effect needs a key, and what its manifest says.
fn idempotency(offered: Offered<'_>, only: Option<SideEffect>) -> String {
    let key = "context.idempotency_key";
    match (offered, only) {
        (Offered::Tool(_, tool), _) if tool.idempotency => key.to_owned(),
        (_, Some(SideEffect::Read)) => ALWAYS.to_owned(),
        (_, Some(_)) => key.to_owned(),
        (_, None) => format!("{READS} || {key}"),
    }
}

/// Something private does not leave because of something untrusted, unless a person says so.
fn flow(only: Option<SideEffect>) -> String {
    let apart = "(if context has labels then !(context.labels.private && context.labels.untrusted) else true)";
    match only {
        Some(SideEffect::ExternalSend) => format!("{APPROVED} || {apart}"),
        Some(_) => ALWAYS.to_owned(),
        None => format!("action != Casemate::Action::\"external_send\" || {APPROVED} || {apart}"),
    }
}

fn destination(profile: &Profile, offered: Offered<'_>) -> String {
    let mut allowed = hosts(&profile.sandbox.network.allowed_domains);
    if let Offered::Tool(_, tool) = offered
        && let Some(own) = &tool.destinations
    {
        allowed = format!("{allowed} && {}", hosts(own));
    }
    format!(
        "if context has destination then (context.destination.class != \"unknown\" \
         && context.destination.reach == \"global\" && {allowed}) else true"
    )
}

/// Whether the destination is one of these.
fn hosts(rules: &[DomainRule]) -> String {
    let (below, exact): (Vec<&str>, Vec<&str>) = rules
        .iter()
        .map(DomainRule::as_str)
        .partition(|rule| rule.starts_with('*'));
    let mut any: Vec<_> = below
        .into_iter()
        .map(|rule| format!("context.destination.host like {}", literal(rule)))
        .collect();
    if !exact.is_empty() {
        let exact = literals(exact.into_iter());
        any.push(format!("{exact}.contains(context.destination.host)"));
    }
    any_of(&any)
}

/// The boundary is a fact: nothing weaker than what the profile demands is offered (I7).
fn isolation(profile: &Profile) -> String {
    let tier = format!("context.sandbox.tier >= {}", rank(profile.sandbox.tier));
    let controls = profile.sandbox.require.iter();
    let controls = controls.map(|control| format!("context.sandbox.{control}"));
    let all: Vec<_> = std::iter::once(tier).chain(controls).collect();
    format!("context has sandbox && {}", all_of(&all))
}

/// A boundary as a number: stronger ones are greater.
pub(crate) const fn rank(tier: IsolationTier) -> u64 {
    match tier {
        IsolationTier::Namespace => 0,
        IsolationTier::Gvisor => 1,
        IsolationTier::Vm => 2,
    }
}

/// A tier of work as a number: those that can do more are greater.
pub(crate) const fn tier_rank(tier: Tier) -> u64 {
    match tier {
        Tier::ReadOnly => 0,
        Tier::ToolLimited => 1,
        Tier::Workspace => 2,
        Tier::Browser => 3,
        Tier::Code => 4,
    }
}

fn approval(profile: &Profile, offered: Offered<'_>, only: Option<SideEffect>) -> String {
    match (offered, only) {
        (Offered::Tool(name, tool), _) if needs_approval(profile, name, tool) => {
            APPROVED.to_owned()
        }
        (_, Some(SideEffect::Read | SideEffect::Draft)) => ALWAYS.to_owned(),
        (_, Some(_)) => format!("context.mode != \"review\" || {APPROVED}"),
        (_, None) => format!(
            "context.mode != \"review\" || {READS} || action == Casemate::Action::\"draft\" || {APPROVED}"
        ),
    }
}

/// Whether a person has to approve every call of a tool.
pub(crate) fn needs_approval(profile: &Profile, name: &str, tool: &ToolFacts) -> bool {
    tool.approval
        || profile
            .tools
            .approval_required
            .iter()
            .any(|listed| listed == name)
}

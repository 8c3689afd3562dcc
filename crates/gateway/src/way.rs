//! The way out of a call, as far as the life of the call is concerned: whether there is one, by which rules, and by which
//! variables programs find it.

mod familiar;
mod open;
mod variables;

use casemate_model::{Digest, SideEffect};
use casemate_policy::{EgressPolicy, Profile, Syntax};
use casemate_ports::{NewWay, RulesForm, TooManyPorts, WayBound, WayPorts, WayRules};

pub(crate) use self::open::WayEvent;
pub use self::{
    familiar::{Familiar, Familiarity},
    open::{Asks, ClosedWay, OpenWay, Overseen},
    variables::{is_reserved, variables},
};
use crate::Facts;

/// Whether calls under this profile have a way out.
#[must_use]
pub fn is_wanted(profile: &Profile) -> bool {
    !profile.sandbox.network.allowed_domains.is_empty()
}

/// By which rules requests of calls under `profile` are judged: nothing if it allows no destination.
#[must_use]
pub fn rules(profile: &Profile) -> Option<WayRules> {
    is_wanted(profile).then(|| WayRules {
        form: match profile.syntax() {
            Syntax::Json => RulesForm::Json,
            Syntax::Toml => RulesForm::Toml,
        },
        // What was parsed is text.
        text: String::from_utf8_lossy(profile.source()).into_owned(),
    })
}

/// The ports on which connections of programs that know of no proxy are taken: those that the rules of `profile` name.
/// Nothing if it allows no destination.
///
/// # Errors
/// When they are too many.
pub fn ports(profile: &Profile) -> Result<Option<WayPorts>, TooManyPorts> {
    if !is_wanted(profile) {
        return Ok(None);
    }
    let policy = EgressPolicy::compile(profile);
    let ports = WayPorts::new(policy.ports())?;
    Ok(Some(ports.with_platform(policy.has_credentials())))
}

/// The way out of the call of `facts`, whose programs believe `authority`.
#[must_use]
pub fn of_call(facts: &Facts, authority: &str, rules: WayRules) -> NewWay {
    NewWay {
        decision: facts.decision,
        trace: facts.trace_id.clone(),
        tool: facts.ask.tool.clone(),
        // A tool of which nothing is said only looks.
        ceiling: facts.side_effect.unwrap_or(SideEffect::Read),
        authority: Digest::of(authority.as_bytes()),
        rules,
        consults: false,
        known: Vec::new(),
        bound: bound(facts),
    }
}

/// Whose call it is, and what was decided, if anything was.
fn bound(facts: &Facts) -> Option<WayBound> {
    let terms = facts.terms.as_ref()?;
    Some(WayBound {
        tenant: facts.tenant().to_owned(),
        agent: facts.ask.agent.clone(),
        session: facts.lodging.as_ref().and_then(|lodging| lodging.session),
        route: terms.route.clone(),
        policy: terms.policy,
        action: facts.action_hash?,
        wall_ms: facts.ask.limits.wall_ms,
    })
}

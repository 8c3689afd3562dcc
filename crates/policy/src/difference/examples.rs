//! Calls that one policy lets happen and another does not, found by asking both.

use std::collections::BTreeSet;

use casemate_model::{Digest, RunMode};

use super::{Example, facts};
use crate::{
    decide::{Verdict, destination},
    engine::Engine,
    grant::needed,
    inputs::{Approval, Inputs, Token, Wish},
    profile::Profile,
    trial::everything_enforced,
};

/// When examples happen, in milliseconds since 1970.
const NOW_MS: u64 = 1_795_000_000_000;
/// The most examples that are given.
const MAX_EXAMPLES: usize = 20;

/// Calls that the new policy lets happen, and the old one did not, or not without a person.
pub(super) fn examples(old: Option<&Engine>, new: &Engine) -> Vec<Example> {
    let mut found = Vec::new();
    for route in new.routes() {
        let Some(profile) = new.profile(route) else {
            continue;
        };
        let mut shown: BTreeSet<(String, bool)> = BTreeSet::new();
        for mut inputs in probes(new, profile) {
            // One with and one without a person is enough to look at for each tool.
            let kind = (inputs.wish.name().to_owned(), inputs.approval.is_some());
            if shown.contains(&kind) {
                continue;
            }
            let after = new.judge(&inputs);
            let (before, because) = match old {
                None => (Verdict::Deny, "there was no policy".to_owned()),
                Some(old) => {
                    inputs.policy = old.digest();
                    let before = old.judge(&inputs);
                    (before.verdict, before.detail)
                }
            };
            inputs.policy = new.digest();
            if after.verdict > before {
                let after = after.verdict;
                shown.insert(kind);
                found.push(Example {
                    inputs,
                    before,
                    because,
                    after,
                });
                if found.len() == MAX_EXAMPLES {
                    return found;
                }
            }
        }
    }
    found
}

/// Calls that are worth asking about: as much as the profile gives, and each with a little less.
fn probes(engine: &Engine, profile: &Profile) -> Vec<Inputs> {
    let mut probes = Vec::new();
    let mut callers = Vec::new();
    for issuer in &profile.identity.allowed_issuers {
        for tenant in &profile.identity.allowed_tenants {
            callers.push((issuer, tenant));
        }
    }
    callers.truncate(8);
    for name in profile.tools.listed() {
        let facts = facts(engine, profile, name);
        let scopes: BTreeSet<String> = needed(profile, name, Some(&facts))
            .map(str::to_owned)
            .collect();
        let hosts = profile.sandbox.network.allowed_domains.iter().take(8);
        let hosts = hosts.map(|rule| Some(rule.as_str().replace("*.", "any.")));
        for host in std::iter::once(None).chain(hosts) {
            for (issuer, tenant) in &callers {
                for approved in [false, true] {
                    let action = Digest::of(name.as_bytes());
                    probes.push(Inputs {
                        policy: engine.digest(),
                        route: profile.route.clone(),
                        wish: Wish::Tool(name.to_owned()),
                        side_effect: facts
                            .side_effect
                            .unwrap_or(casemate_model::SideEffect::Draft),
                        tenant: (*tenant).clone(),
                        user: "user".to_owned(),
                        agent: "agent".to_owned(),
                        token: Token {
                            issuer: (*issuer).clone(),
                            subject: "user".to_owned(),
                            tenant: (*tenant).clone(),
                            audience: profile.identity.required_audience.clone(),
                            scopes: scopes.clone(),
                            expires_at_ms: NOW_MS + 1,
                            credential: String::new(),
                            behalf: Vec::new(),
                            bounds: Default::default(),
                        },
                        delegated: None,
                        mode: RunMode::Autonomous,
                        now_ms: NOW_MS,
                        idempotency_key: true,
                        action_hash: Some(action),
                        destination: host.as_deref().map(|host| destination(Some(profile), host)),
                        approval: approved.then(|| Approval {
                            action_hash: action,
                            approver: "approver".to_owned(),
                            expires_at_ms: NOW_MS + 1,
                        }),
                        labels: None,
                        budget: None,
                        isolation: Some(everything_enforced(
                            profile.sandbox.tier,
                            &profile.sandbox.require,
                        )),
                        flaw: None,
                    });
                }
            }
        }
    }
    probes
}

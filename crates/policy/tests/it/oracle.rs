//! The decision once more, without Cedar: a list of questions in plain Rust, as it was before policies were Cedar's.

use casemate_model::{DestinationClass, Reach, Reason, RunMode, SideEffect, Strength, Tier};
use casemate_policy::{
    ApprovalRule, Idempotency, Inputs, Manifest, NetworkRules, Profile, Verdict, Wish,
};

use Reason::{
    ApprovalRequired, BudgetExhausted, EgressDenied, ExpiredToken, InformationFlow,
    IsolationUnavailable, MissingIdempotencyKey, MissingScope, TenantBoundary, TierExceeded,
    UntrustedIssuer, WrongAudience,
};

type Manifests<'m> = &'m dyn Fn(&str) -> Option<&'m Manifest>;

/// What `inputs` come to under `profile`, if no policy forbids anything.
pub(crate) fn judge<'a>(
    profile: &'a Profile,
    manifests: Manifests<'a>,
    inputs: &'a Inputs,
) -> (Verdict, Reason) {
    let asked = Asked {
        profile,
        manifests,
        inputs,
    };
    match asked.first_no(asked.approved()) {
        None => (Verdict::Allow, Reason::Allowed),
        Some(InformationFlow | ApprovalRequired) if asked.first_no(true).is_none() => {
            (Verdict::Hold, ApprovalRequired)
        }
        Some(reason) => (Verdict::Deny, reason),
    }
}

struct Asked<'a> {
    profile: &'a Profile,
    manifests: Manifests<'a>,
    inputs: &'a Inputs,
}

impl Asked<'_> {
    fn first_no(&self, approved: bool) -> Option<Reason> {
        let (inputs, identity) = (self.inputs, &self.profile.identity);
        let token = &inputs.token;
        let is_call = matches!(inputs.wish, Wish::Tool(_));
        if !identity.allowed_issuers.contains(&token.issuer) {
            return Some(UntrustedIssuer);
        }
        if let Some(flaw) = &inputs.flaw {
            return Some(flaw.reason);
        }
        let reads = inputs.side_effect == SideEffect::Read;
        let for_good = matches!(
            inputs.side_effect,
            SideEffect::Write | SideEffect::ExternalSend
        );
        let common = [
            (inputs.now_ms < token.expires_at_ms, ExpiredToken),
            (token.audience == identity.required_audience, WrongAudience),
            (token.tenant == inputs.tenant, TenantBoundary),
            (
                identity.allowed_tenants.contains(&token.tenant),
                TenantBoundary,
            ),
            (self.scope(), MissingScope),
            (!is_call || self.tier(), TierExceeded),
            (inputs.mode != RunMode::ReadOnly || reads, MissingScope),
        ];
        let of_calls = [
            (
                inputs.idempotency_key || (reads && !self.always_needs_key()),
                MissingIdempotencyKey,
            ),
            (self.destination(), EgressDenied),
            (self.flow() || approved, InformationFlow),
            (
                inputs.budget.is_none_or(|budget| budget.left > 0),
                BudgetExhausted,
            ),
            (self.isolation(), IsolationUnavailable),
            (
                approved
                    || !(self.person_has_to_approve()
                        || inputs.mode == RunMode::Review && for_good),
                ApprovalRequired,
            ),
        ];
        let of_calls = of_calls.into_iter().filter(|_| is_call);
        common
            .into_iter()
            .chain(of_calls)
            .find_map(|(yes, reason)| (!yes).then_some(reason))
    }

    fn manifest(&self) -> Option<&Manifest> {
        (self.manifests)(self.inputs.wish.name())
    }

    fn approved(&self) -> bool {
        let inputs = self.inputs;
        inputs.approval.as_ref().is_some_and(|approval| {
            Some(approval.action_hash) == inputs.action_hash
                && inputs.now_ms < approval.expires_at_ms
                && approval.approver != inputs.user
        })
    }

    fn scope(&self) -> bool {
        match &self.inputs.wish {
            Wish::Tool(tool) => {
                let does = self.manifest().map(|manifest| manifest.side_effect);
                self.may_call(tool) && does.is_none_or(|does| does == self.inputs.side_effect)
            }
            Wish::Access(access) if access == "context.open" => self.may_call("python"),
            Wish::Access(_) => self.listed().iter().any(|tool| self.may_call(tool)),
        }
    }

    fn listed(&self) -> Vec<&str> {
        let tools = &self.profile.tools;
        let all = tools.allowed.iter().chain(&tools.approval_required);
        all.map(String::as_str).collect()
    }

    fn may_call(&self, tool: &str) -> bool {
        let mut needed = self.profile.identity.required_scopes.clone();
        needed.extend(self.profile.tools.scopes.get(tool).cloned());
        if let Some(manifest) = (self.manifests)(tool) {
            needed.extend(manifest.scopes.iter().cloned());
        }
        let has = |scope: &String| {
            let delegated = self.inputs.delegated.as_ref();
            self.inputs.token.scopes.contains(scope)
                && delegated.is_none_or(|scopes| scopes.contains(scope))
        };
        self.listed().contains(&tool) && !needed.is_empty() && needed.iter().all(has)
    }

    fn tier(&self) -> bool {
        let undescribed = |tool: &str| match tool {
            "python" | "shell" => Tier::Code,
            _ => Tier::ReadOnly,
        };
        let least = self.listed().iter().map(|tool| undescribed(tool)).max();
        let own = self.profile.tier.or(least).unwrap_or(Tier::ReadOnly);
        let needs = self.manifest().map_or_else(
            || undescribed(self.inputs.wish.name()),
            |manifest| manifest.tier,
        );
        needs <= own
    }

    fn always_needs_key(&self) -> bool {
        self.manifest()
            .is_some_and(|manifest| manifest.idempotency == Idempotency::Required)
    }

    fn destination(&self) -> bool {
        let Some(to) = &self.inputs.destination else {
            return true;
        };
        let NetworkRules {
            allowed_domains, ..
        } = &self.profile.sandbox.network;
        let own = self.manifest().map(|manifest| &manifest.destinations);
        to.reach == Reach::Global
            && to.class != DestinationClass::Unknown
            && allowed_domains.iter().any(|rule| rule.allows(&to.host))
            && own.is_none_or(|rules| rules.iter().any(|rule| rule.allows(&to.host)))
    }

    fn flow(&self) -> bool {
        let both = self
            .inputs
            .labels
            .is_some_and(|labels| labels.private && labels.untrusted);
        !(both && self.inputs.side_effect == SideEffect::ExternalSend)
    }

    fn isolation(&self) -> bool {
        let sandbox = &self.profile.sandbox;
        self.inputs.isolation.as_ref().is_some_and(|isolation| {
            let enforced = |control| isolation.strength(control) == Strength::Enforced;
            isolation.tier >= sandbox.tier && sandbox.require.iter().copied().all(enforced)
        })
    }

    fn person_has_to_approve(&self) -> bool {
        let tool = self.inputs.wish.name();
        let listed = &self.profile.tools.approval_required;
        listed.iter().any(|listed| listed == tool)
            || self
                .manifest()
                .is_some_and(|manifest| manifest.approval == ApprovalRule::Required)
    }
}

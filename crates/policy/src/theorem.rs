//! What must hold of every bundle, as guards in Cedar: whatever the policies allow, a guard has to allow too.

use std::fmt::Write as _;

use casemate_model::{SideEffect, Tier};

use crate::{
    cedar::{all_of, literal},
    decide::{Access, CheckName},
    engine::Engine,
    grant::{APPROVED, Offered, conditions, has_all, needed, needs_approval},
    tool::ToolFacts,
};

/// A claim about everything that an engine allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// A short name.
    pub name: &'static str,
    /// The claim in plain English.
    pub says: &'static str,
    /// The policies, in Cedar, that allow everything which may be allowed.
    pub guard: String,
}

const ANYTHING: &str = "permit (principal, action, resource);\n";

impl Engine {
    /// The claims that a bundle has to prove before it is activated.
    #[must_use]
    pub fn claims(&self) -> Vec<Claim> {
        vec![
            Claim {
                name: "approved_where_demanded",
                says: "where the profile or the manifest demands it, nothing happens without an unexpired approval \
                       of exactly this call by somebody else than who asks",
                guard: self.forbid_unless(|profile, name, facts| {
                    needs_approval(profile, name, facts).then(|| APPROVED.to_owned())
                }),
            },
            Claim {
                name: "own_tenant",
                says: "the tenant of the caller's token is the tenant whose data is touched",
                guard: "permit (principal, action, resource)\nwhen { context.token.tenant == context.tenant };\n"
                    .to_owned(),
            },
            Claim {
                name: "scopes_within_token_and_delegation",
                says: "every scope that the call needs is in the caller's token, and in what was delegated",
                guard: self.forbid_unless(|profile, name, facts| {
                    let scopes: Vec<_> = needed(profile, name, Some(facts)).collect();
                    Some(has_all(&scopes))
                }),
            },
            Claim {
                name: "read_only_changes_nothing",
                says: "a profile of the tier `read_only` and the run mode `read_only` reach no side effect",
                guard: self.read_only(),
            },
            Claim {
                name: "known_public_destinations",
                says: "private networks, metadata services and unknown destinations are never allowed",
                guard: format!(
                    "{ANYTHING}forbid (principal, action, resource)\nwhen {{ context has destination \
                     && (context.destination.class == \"unknown\" || context.destination.reach != \"global\") }};\n"
                ),
            },
            Claim {
                name: "autonomous_within_review",
                says: "what may happen autonomously is at most what may happen in review once a person approved it",
                guard: self.within_review(),
            },
        ]
    }

    /// Anything, but for each tool only if this holds.
    fn forbid_unless(
        &self,
        holds: impl Fn(&crate::profile::Profile, &str, &ToolFacts) -> Option<String>,
    ) -> String {
        let mut guard = ANYTHING.to_owned();
        self.each_tool(|profile, name, facts| {
            if let Some(holds) = holds(profile, name, facts) {
                let offer = offer(&profile.route, name);
                // Writing to a string cannot fail.
                let _ = write!(
                    guard,
                    "forbid (principal, action, resource == {offer})\nunless {{ {holds} }};\n"
                );
            }
        });
        guard
    }

    fn read_only(&self) -> String {
        let effects: Vec<_> = SideEffect::ALL
            .iter()
            .filter(|effect| **effect != SideEffect::Read)
            .map(|effect| format!("Casemate::Action::{}", literal(effect.as_str())))
            .collect();
        let effects = effects.join(", ");
        let mut guard = format!(
            "{ANYTHING}forbid (principal, action in [{effects}], resource)\nwhen {{ context.mode == \"read_only\" }};\n"
        );
        self.each_tool(|profile, name, _| {
            if profile.tier() == Tier::ReadOnly {
                let offer = offer(&profile.route, name);
                // Writing to a string cannot fail.
                let _ = writeln!(
                    guard,
                    "forbid (principal, action in [{effects}], resource == {offer});"
                );
            }
        });
        guard
    }

    fn within_review(&self) -> String {
        // Whatever is not autonomous, and what can be done with sessions, is not what is claimed.
        let mut guard =
            "permit (principal, action, resource)\nwhen { context.mode != \"autonomous\" };\n"
                .to_owned();
        for route in self.routes() {
            for access in Access::KINDS {
                let offer = offer(route, access.as_str());
                // Writing to a string cannot fail.
                let _ = writeln!(guard, "permit (principal, action, resource == {offer});");
            }
        }
        self.each_tool(|profile, name, facts| {
            let holds: Vec<_> = conditions(profile, self.tools(), Offered::Tool(name, facts), None)
                .into_iter()
                .filter(|condition| {
                    !matches!(
                        condition.check,
                        CheckName::Mode | CheckName::Flow | CheckName::Approval
                    )
                })
                .map(|condition| format!("({})", condition.text))
                .collect();
            let (offer, holds) = (offer(&profile.route, name), all_of(&holds));
            // Writing to a string cannot fail.
            let _ = write!(
                guard,
                "permit (principal, action, resource == {offer})\nwhen {{ {holds} }};\n"
            );
        });
        guard
    }
}

fn offer(route: &str, name: &str) -> String {
    format!("Casemate::Offer::{}", literal(&format!("{route}/{name}")))
}

//! What a decision has to know of a tool.

use std::collections::BTreeSet;

use casemate_model::{SideEffect, Tier};

use crate::{
    domain::DomainRule,
    manifest::{ApprovalRule, Idempotency, Manifest, Reads, Returns},
    profile::Profile,
};

/// What a decision has to know of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToolFacts {
    /// What it does to the world, if it is known before a call says so.
    pub(crate) side_effect: Option<SideEffect>,
    /// The least tier of a profile that may list it.
    pub(crate) tier: Tier,
    /// The scopes that it needs.
    pub(crate) scopes: BTreeSet<String>,
    /// Where it sends something, if it says so.
    pub(crate) destinations: Option<Vec<DomainRule>>,
    /// Whether a person has to approve every call.
    pub(crate) approval: bool,
    /// Whether every call needs an idempotency key, those that only look too.
    pub(crate) idempotency: bool,
    /// Whether it reads private data.
    pub(crate) private: bool,
    /// Whether anybody may have written what it returns.
    pub(crate) untrusted: bool,
}

/// The tools that run programs in a sandbox.
const SANDBOX_TOOLS: [&str; 2] = ["python", "shell"];

impl ToolFacts {
    /// A tool of a profile: as it is described, if it is. One of a server runs a program, whatever a manifest says.
    pub(crate) fn of(profile: &Profile, name: &str, described: Option<&Self>) -> Self {
        let mut facts = described
            .cloned()
            .unwrap_or_else(|| Self::undescribed(name));
        if profile.mcp_tool(name).is_some() {
            facts.tier = Tier::Code;
        }
        facts
    }

    /// A tool without a manifest. A profile that is used by itself lists tools that somebody else describes.
    fn undescribed(name: &str) -> Self {
        Self {
            side_effect: None,
            tier: if SANDBOX_TOOLS.contains(&name) {
                Tier::Code
            } else {
                Tier::ReadOnly
            },
            scopes: BTreeSet::new(),
            destinations: None,
            approval: false,
            idempotency: false,
            private: true,
            untrusted: true,
        }
    }
}

impl From<&Manifest> for ToolFacts {
    fn from(manifest: &Manifest) -> Self {
        Self {
            side_effect: Some(manifest.side_effect),
            tier: manifest.tier,
            scopes: manifest.scopes.iter().cloned().collect(),
            destinations: Some(manifest.destinations.clone()),
            approval: manifest.approval == ApprovalRule::Required,
            idempotency: manifest.idempotency == Idempotency::Required,
            private: manifest.labels.reads == Reads::Private,
            untrusted: manifest.labels.returns == Returns::Untrusted,
        }
    }
}

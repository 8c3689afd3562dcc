//! Everything that a decision is made from, as it is recorded: the same inputs give the same decision.

use std::collections::BTreeSet;

use casemate_model::{
    Bounds, Delegator, DestinationClass, Digest, Isolation, Reach, Reason, RunMode, SideEffect,
};
use serde::{Deserialize, Serialize};

use crate::{claims::Claims, decide::CheckName};

/// Everything that a decision is made from beside the policy.
///
/// Having inputs gives no right: a call goes on only with a decision that was made from [`Verified`](crate::Verified) claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// The policy: a bundle's digest, or a profile's.
    pub policy: Digest,
    /// The route.
    pub route: String,
    /// What is asked for.
    pub wish: Wish,
    /// What it does to the world.
    pub side_effect: SideEffect,
    /// Whose data it touches.
    pub tenant: String,
    /// On whose behalf.
    pub user: String,
    /// The agent that asks.
    pub agent: String,
    /// The caller's claims.
    pub token: Token,
    /// What was delegated for this task, if less than everything was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegated: Option<BTreeSet<String>>,
    /// How much may happen without a person.
    pub mode: RunMode,
    /// When, in milliseconds since 1970.
    pub now_ms: u64,
    /// Whether there is an idempotency key.
    pub idempotency_key: bool,
    /// The hash of the canonical call; absent for what is no call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_hash: Option<Digest>,
    /// Where something would be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Destination>,
    /// A person's consent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// What has come together in the thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// What may still be spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What the sandbox enforces, measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// What is wrong with the form of the call, if anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flaw: Option<Flaw>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// A call of this tool.
    Tool(String),
    /// Something with a session, by its word.
    Access(String),
}

impl Wish {
    /// The tool or the access.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Tool(name) | Self::Access(name) => name,
        }
    }
}

/// Claims as they are recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Who says so.
    pub issuer: String,
    /// The caller.
    pub subject: String,
    /// The caller's tenant.
    pub tenant: String,
    /// The service that they are meant for.
    pub audience: String,
    /// What the caller may do.
    pub scopes: BTreeSet<String>,
    /// When they end, in milliseconds since 1970.
    pub expires_at_ms: u64,
    /// The name of the credential that proved them: never the credential.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub credential: String,
    /// On whose behalf the caller acts, first whose authority it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub behalf: Vec<Delegator>,
    /// To what the authority is restricted further.
    #[serde(default, skip_serializing_if = "Bounds::is_open")]
    pub bounds: Bounds,
}

impl Token {
    /// Everybody whose wish the call is: the caller, and all on whose behalf it acts. None of them may approve it.
    #[must_use]
    pub fn people(&self) -> Vec<String> {
        let behalf = self.behalf.iter().map(|delegator| &delegator.subject);
        std::iter::once(&self.subject)
            .chain(behalf)
            .cloned()
            .collect()
    }
}

impl From<&Token> for Claims {
    /// Claims as they were. Nobody answers for them any more.
    fn from(token: &Token) -> Self {
        Self {
            issuer: token.issuer.clone(),
            subject: token.subject.clone(),
            tenant: token.tenant.clone(),
            audience: token.audience.clone(),
            scopes: token.scopes.clone(),
            expires_at_ms: token.expires_at_ms,
            credential: token.credential.clone(),
            behalf: token.behalf.clone(),
            bounds: token.bounds.clone(),
        }
    }
}

impl From<&Claims> for Token {
    fn from(claims: &Claims) -> Self {
        Self {
            issuer: claims.issuer.clone(),
            subject: claims.subject.clone(),
            tenant: claims.tenant.clone(),
            audience: claims.audience.clone(),
            scopes: claims.scopes.clone(),
            expires_at_ms: claims.expires_at_ms,
            credential: claims.credential.clone(),
            behalf: claims.behalf.clone(),
            bounds: claims.bounds.clone(),
        }
    }
}

/// Where something would be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// The host.
    pub host: String,
    /// Whom it belongs to, as the profile classifies it.
    pub class: DestinationClass,
    /// Which network its name is of.
    pub reach: Reach,
}

/// A person's consent to one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The hash of the call that was shown.
    pub action_hash: Digest,
    /// Who consented.
    pub approver: String,
    /// When it stops counting, in milliseconds since 1970.
    pub expires_at_ms: u64,
}

/// What has come together in a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// Something private was read.
    pub private: bool,
    /// Something was read that anybody may have written.
    pub untrusted: bool,
}

/// What may still be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// In the budget's own unit.
    pub left: u64,
}

/// What is wrong with the form of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flaw {
    /// The question that found it.
    pub check: CheckName,
    /// Why, for machines.
    pub reason: Reason,
    /// Why, for people.
    pub detail: String,
}

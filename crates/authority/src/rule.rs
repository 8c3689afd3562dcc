//! What may be spent, by whom, and why it may not.

use casemate_model::words;
use serde::{Deserialize, Serialize};

use crate::Resource;

words! {
    /// Whose spending a rule limits.
    Scope {
        /// That of each call for itself.
        Call = "call",
        /// That of a thread.
        Thread = "thread",
        /// That of an agent in a tenant, in all its threads.
        Agent = "agent",
        /// That of a tenant, by all its agents.
        Tenant = "tenant",
    }
}
words! {
    /// From when on spending counts.
    Period {
        /// From the beginning.
        Total = "total",
        /// From midnight UTC.
        Day = "day",
    }
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetRule {
    /// Whose spending.
    pub scope: Scope,
    /// In which time. It says nothing about single calls.
    pub per: Period,
    /// Of what.
    pub resource: Resource,
    /// How much at most.
    pub limit: u64,
}

/// Who spends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spender<'a> {
    /// Its tenant.
    pub tenant: &'a str,
    /// The agent.
    pub agent: &'a str,
    /// The agent's thread.
    pub thread: &'a str,
}

/// A rule that leaves no room for what was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the budget of {} {} for each {} ({}) is used up: {used} used, {reserved} reserved, {wanted} wanted",
    .rule.limit, .rule.resource, .rule.scope, .rule.per
)]
pub struct Exhausted {
    /// The rule.
    pub rule: BudgetRule,
    /// What was used of its resource. May be more than the limit, if calls used more than they reserved.
    pub used: u64,
    /// What other open reservations hold.
    pub reserved: u64,
    /// What was wanted.
    pub wanted: u64,
}

//! The keys of budgets: the same for calls, threads, agents and tenants.

use crate::{
    key::{Key, number, optional, put},
    manifest::MAX_COST,
    profile::{Profile, UNLIMITED},
};

/// The keys of one spender, who spends without limit if the profile does not say.
macro_rules! of {
    ($spender:ident, $meaning:literal) => {
        [
            optional(concat!("budgets.", stringify!($spender)), $meaning),
            of!(number, $spender, calls, "calls", "Calls that run."),
            of!(
                number,
                $spender,
                time_ms,
                "milliseconds",
                "The time that they run."
            ),
            of!(number, $spender, output_bytes, "bytes", "What they write."),
            of!(
                number,
                $spender,
                approvals,
                "calls",
                "Calls that people are asked about."
            ),
            of!(
                number,
                $spender,
                tokens,
                "tokens",
                "Tokens of models, as `budgets.cost` and the manifests of tools say."
            ),
            of!(
                number,
                $spender,
                money_micros,
                "millionths",
                "Money, as they say it."
            ),
        ]
    };
    (number, $spender:ident, $resource:ident, $unit:literal, $meaning:literal) => {
        number(
            concat!("budgets.", stringify!($spender), ".", stringify!($resource)),
            $unit,
            (0, UNLIMITED, UNLIMITED),
            |profile, number| put(&mut profile.budgets.$spender.$resource, number),
            $meaning,
        )
    };
}

pub(super) const HEAD: &[Key<Profile>] = &[optional(
    "budgets",
    "What calls may spend: set aside before they run, counted after it. 9007199254740992 (2^53) stands for no limit.",
)];

pub(super) const CALL: &[Key<Profile>] = &of!(
    call,
    "Each call for itself: one that might use more does not begin."
);

pub(super) const THREAD: &[Key<Profile>] = &of!(thread, "Those of a thread, from its beginning.");

pub(super) const AGENT_DAY: &[Key<Profile>] = &of!(agent_day, "Those of an agent, in a day (UTC).");

pub(super) const TENANT_DAY: &[Key<Profile>] =
    &of!(tenant_day, "Those of a tenant, in a day (UTC).");

pub(super) const COST_AND_FAILURES: &[Key<Profile>] = &[
    optional(
        "budgets.cost",
        "What every call costs, beside what its tool's manifest says. It counts whole once the call has run.",
    ),
    number(
        "budgets.cost.tokens",
        "tokens",
        (0, 0, MAX_COST),
        |profile, number| put(&mut profile.budgets.cost.tokens, number),
        "Tokens of models.",
    ),
    number(
        "budgets.cost.money_micros",
        "millionths",
        (0, 0, MAX_COST),
        |profile, number| put(&mut profile.budgets.cost.money_micros, number),
        "Money, in the one currency that a deployment counts in.",
    ),
    number(
        "budgets.equal_failures",
        "failures",
        (2, 3, 100),
        |profile, number| put(&mut profile.budgets.equal_failures, number),
        "How often in a row the same call may fail, or be refused, for the same reason in a thread. Whatever succeeds in the thread \
         begins the count anew.",
    ),
];

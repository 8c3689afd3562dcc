//! The keys of approvals and run modes: what a person has to do with calls.

use casemate_model::RunMode;

use super::{DAY_MS, MINUTE_MS};
use crate::{
    key::{Absent, Form, Key, each, list, number, one_word, optional, put},
    profile::Profile,
    rules::token,
};

/// The key of one run mode.
macro_rules! mode {
    ($name:ident, $standard:literal, $meaning:literal) => {
        one_word!(
            concat!("modes.", stringify!($name)),
            RunMode,
            modes.$name,
            Absent::Words(&[$standard]),
            $meaning
        )
    };
}

pub(super) const APPROVALS: &[Key<Profile>] = &[
    optional("approvals", "How calls are approved that need it."),
    number(
        "approvals.needed",
        "people",
        (1, 1, 10),
        |profile, number| put(&mut profile.approvals.needed, number),
        "Different people who have to consent.",
    ),
    list(
        "approvals.roles",
        Form::Free("role"),
        |profile, entries| each(entries, token, &mut profile.approvals.roles),
        Absent::Open("any"),
        "Each of them has to have one of these roles.",
    ),
    number(
        "approvals.wait_ms",
        "milliseconds",
        (1_000, DAY_MS, 30 * DAY_MS),
        |profile, number| put(&mut profile.approvals.wait_ms, number),
        "How long a call waits for them. Then it is over, as `approval_expired`.",
    ),
    number(
        "approvals.grant_ms",
        "milliseconds",
        (1_000, 10 * MINUTE_MS, DAY_MS),
        |profile, number| put(&mut profile.approvals.grant_ms, number),
        "How long their consent counts at most, if the call cannot run at once.",
    ),
];

pub(super) const MODES: &[Key<Profile>] = &[
    optional(
        "modes",
        "How much may happen without a person, by what made the agent act: `read_only` only reads, `review` has a person \
         approve every write, `autonomous` acts. A call can ask for less.",
    ),
    mode!(
        ceiling,
        "autonomous",
        "The most, whatever made the agent act."
    ),
    mode!(schedule, "review", "When a clock made it act."),
    mode!(
        webhook,
        "review",
        "When a message from outside made it act."
    ),
    mode!(agent, "review", "When another agent made it act."),
];

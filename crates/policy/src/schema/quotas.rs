//! The keys of quotas: the same for sessions, agents and tenants, but for how much is usual.

use crate::{
    key::{Key, number, optional, put},
    profile::Profile,
};

/// The keys of one owner. Memory, processes, CPU, calls, output and waiting calls that it has if the profile does not say, and in what
/// time its output is counted.
macro_rules! of {
    ($owner:ident, $meaning:literal, [$memory:expr, $processes:expr, $cpu:expr, $calls:expr, $output:expr, $queued:expr], $when:literal) => {
        [
            optional(concat!("quotas.", stringify!($owner)), $meaning),
            number(
                concat!("quotas.", stringify!($owner), ".memory_bytes"),
                "bytes",
                (1 << 20, $memory, 1 << 44),
                |profile, number| put(&mut profile.quotas.$owner.memory_bytes, number),
                "Memory of all processes and of all files in sandboxes.",
            ),
            number(
                concat!("quotas.", stringify!($owner), ".processes"),
                "processes",
                (1, $processes, 4_194_304),
                |profile, number| put(&mut profile.quotas.$owner.processes, number),
                "Processes and threads alive at once.",
            ),
            number(
                concat!("quotas.", stringify!($owner), ".cpu_milli"),
                "thousandths of a core",
                (1, $cpu, 1_024_000),
                |profile, number| put(&mut profile.quotas.$owner.cpu_milli, number),
                "CPU.",
            ),
            number(
                concat!("quotas.", stringify!($owner), ".calls"),
                "calls",
                (1, $calls, 65_536),
                |profile, number| put(&mut profile.quotas.$owner.calls, number),
                "Calls that run at once; more wait for their turn.",
            ),
            number(
                concat!("quotas.", stringify!($owner), ".output_bytes"),
                "bytes",
                (1, $output, 1 << 50),
                |profile, number| put(&mut profile.quotas.$owner.output_bytes, number),
                concat!(
                    "Output given back in ",
                    $when,
                    "; what is beyond is dropped."
                ),
            ),
            number(
                concat!("quotas.", stringify!($owner), ".queued"),
                "calls",
                (0, $queued, 1_048_576),
                |profile, number| put(&mut profile.quotas.$owner.queued, number),
                "Calls that wait for their turn; more are refused.",
            ),
        ]
    };
}

pub(super) const HEAD: &[Key<Profile>] = &[optional(
    "quotas",
    "What calls may use together, beside `sandbox.limits`, which is for each call.",
)];

pub(super) const SESSION: &[Key<Profile>] = &of!(
    session,
    "Those of one session.",
    [4 << 30, 1_024, 4_000, 8, 1 << 30, 256],
    "its life"
);

pub(super) const AGENT: &[Key<Profile>] = &of!(
    agent,
    "Those of all sessions of an agent.",
    [32 << 30, 8_192, 16_000, 64, 64 << 30, 4_096],
    "a day"
);

pub(super) const TENANT: &[Key<Profile>] = &of!(
    tenant,
    "Those of all sessions of a tenant.",
    [128 << 30, 32_768, 64_000, 256, 1 << 40, 16_384],
    "a day"
);

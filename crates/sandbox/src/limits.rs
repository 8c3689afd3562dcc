//! Resource limits of single processes, and what of a call's limits they can stand in for.

use casemate_model::Limits;
use rustix::process::{Resource, Rlimit, getrlimit};

use crate::cgroup::Controlled;

/// The most bytes of locked memory: what key stores of well-behaved programs use.
const LOCKED_BYTES: u64 = 8 << 20;

/// The most bytes of POSIX message queues.
const QUEUE_BYTES: u64 = 1 << 20;

/// The resource limits for every process of a sandbox.
///
/// The number of processes is counted by the kernel for the sandbox's own user namespace, so that it is a
/// limit of the whole tree. Address space is limited only where no cgroup limits memory: it is a limit of
/// each process, and some runtimes reserve far more than they use.
pub(crate) fn resource_limits(limits: &Limits, controlled: Controlled) -> Vec<(Resource, Rlimit)> {
    let mut wanted = vec![
        (Resource::Nproc, limits.processes.saturating_add(1)),
        (Resource::Nofile, limits.open_files),
        (Resource::Fsize, limits.file_bytes),
        (Resource::Core, 0),
        (Resource::Memlock, LOCKED_BYTES),
        (Resource::Msgqueue, QUEUE_BYTES),
        (Resource::Rtprio, 0),
        (Resource::Nice, 0),
        (Resource::Cpu, cpu_seconds(limits)),
    ];
    if !controlled.memory {
        wanted.push((Resource::As, limits.memory_bytes));
    }
    let lower = |(resource, value): (Resource, u64)| {
        // Without privileges a limit can only be lowered.
        let value = getrlimit(resource)
            .maximum
            .map_or(value, |maximum| maximum.min(value));
        (
            resource,
            Rlimit {
                current: Some(value),
                maximum: Some(value),
            },
        )
    };
    wanted.into_iter().map(lower).collect()
}

/// No process can use more: all its cores for all its time, and a second for rounding.
const fn cpu_seconds(limits: &Limits) -> u64 {
    let cores_milli = if limits.cpu_milli < 1000 {
        1000
    } else {
        limits.cpu_milli
    };
    limits
        .wall_ms
        .saturating_mul(cores_milli)
        .div_ceil(1_000_000)
        + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_space_is_limited_only_where_no_cgroup_limits_memory() {
        let limits = Limits {
            memory_bytes: 1 << 30,
            wall_ms: 2_500,
            cpu_milli: 500,
            ..Limits::default()
        };
        let has = |controlled, resource| {
            resource_limits(&limits, controlled)
                .into_iter()
                .find(|(found, _)| *found == resource)
                .and_then(|(_, limit)| limit.current)
        };
        let memory = Controlled {
            memory: true,
            ..Controlled::default()
        };
        assert_eq!(has(memory, Resource::As), None);
        assert_eq!(has(Controlled::default(), Resource::As), Some(1 << 30));
        assert_eq!(has(memory, Resource::Core), Some(0));
        assert_eq!(has(memory, Resource::Cpu), Some(4));
    }
}

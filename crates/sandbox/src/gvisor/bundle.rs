//! The OCI bundle: what gVisor is told of the container.

use rustix::process::{Resource, Rlimit};
use serde_json::{Value, json};

use crate::plan::{GUEST, ROOT};

/// What the guest may do before it gives up everything.
const SETUP: [&str; 3] = ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_CHOWN"];

/// The configuration of a bundle in which there are at most so many processes and threads, each with these resource limits.
pub(super) fn configuration(processes: u64, limits: &[(Resource, Rlimit)]) -> Vec<u8> {
    let writable = |path: &str| {
        json!({
            "destination": path,
            "type": "bind",
            "source": format!("{ROOT}{path}"),
            "options": ["rbind", "rw"],
        })
    };
    let configuration = json!({
        "ociVersion": "1.0.2",
        "process": {
            // Root of gVisor's kernel, with the rights of nobody: the guest becomes who programs are.
            "user": { "uid": 0, "gid": 0 },
            "args": [GUEST, "gvisor", processes.to_string()],
            "env": [],
            "cwd": "/workspace",
            // For its kernel's own limit on processes; the guest gives it up.
            "capabilities": { "bounding": SETUP, "effective": SETUP, "permitted": SETUP },
            "rlimits": rlimits(limits),
        },
        // It is a read-only mount of the host's kernel, and nothing rests on gVisor's saying so too.
        "root": { "path": ROOT, "readonly": true },
        "hostname": "sandbox",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            writable("/workspace"),
            // Else gVisor would mount files of its own there, which have no limit.
            writable("/tmp"),
            writable("/dev/shm"),
        ],
        "linux": {
            // None of the network: without one, gVisor is in that of the sandbox, or has its own by its options.
            "namespaces": [
                { "type": "pid" },
                { "type": "ipc" },
                { "type": "uts" },
                { "type": "mount" },
            ],
        },
    });
    configuration.to_string().into_bytes()
}

fn rlimits(limits: &[(Resource, Rlimit)]) -> Vec<Value> {
    let entry = |(resource, limit): &(Resource, Rlimit)| {
        let value = limit.current?;
        Some(json!({ "type": name(*resource)?, "hard": value, "soft": value }))
    };
    limits.iter().filter_map(entry).collect()
}

const fn name(resource: Resource) -> Option<&'static str> {
    Some(match resource {
        Resource::As => "RLIMIT_AS",
        Resource::Core => "RLIMIT_CORE",
        Resource::Cpu => "RLIMIT_CPU",
        Resource::Fsize => "RLIMIT_FSIZE",
        Resource::Memlock => "RLIMIT_MEMLOCK",
        Resource::Msgqueue => "RLIMIT_MSGQUEUE",
        Resource::Nice => "RLIMIT_NICE",
        Resource::Nofile => "RLIMIT_NOFILE",
        Resource::Nproc => "RLIMIT_NPROC",
        Resource::Rtprio => "RLIMIT_RTPRIO",
        _ => return None,
    })
}

//! The OCI bundle: what gVisor is told of the container.

use rustix::process::{Resource, Rlimit};
use serde_json::{Value, json};

use crate::plan::{GUEST, ROOT};

/// The configuration of a bundle whose programs have these resource limits.
pub(super) fn configuration(limits: &[(Resource, Rlimit)]) -> Vec<u8> {
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
            "args": [GUEST, "gvisor"],
            "env": [],
            "cwd": "/workspace",
            "capabilities": {},
            "rlimits": rlimits(limits),
        },
        // What is read-only in it is a read-only mount of the host's kernel.
        "root": { "path": ROOT, "readonly": false },
        "hostname": "sandbox",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            // Else gVisor would mount files of its own there, which have no limit.
            writable("/tmp"),
            writable("/dev/shm"),
        ],
        "linux": {
            "namespaces": [
                { "type": "pid" },
                { "type": "ipc" },
                { "type": "uts" },
                { "type": "mount" },
                { "type": "network" },
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

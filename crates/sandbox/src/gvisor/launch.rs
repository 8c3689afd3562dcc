//! How gVisor is started in a sandbox.

use std::{
    ffi::{CString, NulError},
    io,
    os::fd::OwnedFd,
};

use casemate_model::{Limits, SandboxId};
use rustix::process::{Resource, Rlimit};

use super::{Platform, Runsc, bundle};
use crate::{
    cgroup::Controlled,
    limits::resource_limits,
    plan::{BUNDLE, STATE},
};

/// A start of gVisor on one platform.
#[derive(Debug)]
pub(crate) struct Launch {
    /// Its executable.
    pub(crate) executable: OwnedFd,
    /// Its command line.
    pub(crate) argv: Vec<CString>,
    pub(crate) platform: Platform,
}

impl Launch {
    pub(super) fn new(
        runsc: &Runsc,
        platform: Platform,
        network: Network,
        id: SandboxId,
    ) -> io::Result<Self> {
        Ok(Self {
            executable: runsc.file().try_clone_to_owned()?,
            argv: argv(runsc, platform, network, &id.to_string())?,
            platform,
        })
    }

    /// The configuration of its bundle.
    pub(crate) fn configuration(limits: &Limits, controlled: Controlled) -> Vec<u8> {
        // The guest is one of them.
        let processes = limits.processes.saturating_add(1);
        bundle::configuration(processes, &resource_limits(limits, controlled))
    }
}

/// The network of gVisor's kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    /// Its own, of nothing but a loopback.
    Own,
    /// That of the sandbox, which has nothing but the way out.
    Way,
}

/// The command line. Nothing is mounted over, no cgroup is touched, and no socket of the sandbox can be reached by a path.
fn argv(
    runsc: &Runsc,
    platform: Platform,
    network: Network,
    id: &str,
) -> Result<Vec<CString>, NulError> {
    let network = match network {
        Network::Own => "none",
        Network::Way => "host",
    };
    let mut words = vec![
        "runsc".to_owned(),
        format!("--root={STATE}"),
        "--rootless".to_owned(),
        "--ignore-cgroups".to_owned(),
        "--overlay2=none".to_owned(),
        "--host-uds=none".to_owned(),
        // Nobody else changes these files.
        "--file-access=exclusive".to_owned(),
        "--file-access-mounts=exclusive".to_owned(),
        format!("--network={network}"),
        format!("--platform={platform}"),
    ];
    if runsc.is_new() {
        // Its kernel opens no file of the host itself.
        words.push("--directfs=false".to_owned());
    }
    words.extend([
        "run".to_owned(),
        format!("--bundle={BUNDLE}"),
        id.to_owned(),
    ]);
    words.into_iter().map(CString::new).collect()
}

/// The resource limits of gVisor's own processes. Those of programs are its kernel's to enforce: it needs far more address
/// space, files and threads than any of them.
pub(crate) fn host_limits() -> Vec<(Resource, Rlimit)> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    vec![(Resource::Core, none)]
}

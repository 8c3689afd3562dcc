//! The keeper of the `gvisor` tier.

use std::{
    cell::Cell,
    io::{self, Seek as _},
};

use casemate_model::one_line;
use casemate_ports::{InputFile, Keeper, KeeperError, SandboxSpec};

use super::{
    Platform, Runsc,
    launch::{Launch, Network},
};
use crate::{NamespaceKeeper, NamespaceSandbox, keeper::During as _, sandbox::NotBooted};

/// Makes sandboxes of namespaces with gVisor in them.
///
/// The process that uses it must have one thread while [`Keeper::create`] runs.
#[derive(Debug)]
pub struct GvisorKeeper {
    namespaces: NamespaceKeeper,
    runsc: Runsc,
    /// The platform that has worked here.
    platform: Cell<Option<Platform>>,
}

impl GvisorKeeper {
    /// The same sandboxes as those of `namespaces`, with `runsc` between their programs and the host's kernel.
    #[must_use]
    pub const fn new(namespaces: NamespaceKeeper, runsc: Runsc) -> Self {
        Self {
            namespaces,
            runsc,
            platform: Cell::new(None),
        }
    }

    /// The platform that has worked here, after the first sandbox.
    #[must_use]
    pub const fn platform(&self) -> Option<Platform> {
        self.platform.get()
    }

    async fn start(
        &self,
        spec: SandboxSpec,
        platform: Platform,
    ) -> Result<NamespaceSandbox, NotBooted> {
        let network = match &spec.way_out {
            Some(_) => Network::Way,
            None => Network::Own,
        };
        let launch = Launch::new(&self.runsc, platform, network, spec.id);
        let launch = launch.during("prepare gVisor")?;
        let mut sandbox = self.namespaces.start(spec, Some(launch))?;
        sandbox.boot().await?;
        Ok(sandbox)
    }
}

impl Keeper for GvisorKeeper {
    type Sandbox = NamespaceSandbox;

    /// Waits until gVisor has started: only then it is known whether a platform works. Another one is tried only where gVisor
    /// itself says that it does not start: whatever else fails is no fault of the platform.
    async fn create(&self, spec: SandboxSpec) -> Result<NamespaceSandbox, KeeperError> {
        let known = self.platform.get();
        let candidates = match &known {
            Some(platform) => std::slice::from_ref(platform),
            None => self.runsc.platforms(),
        };
        let mut said = Vec::new();
        for platform in candidates {
            let spec = again(&spec).during("look at the inputs")?;
            match self.start(spec, *platform).await {
                Ok(sandbox) => {
                    self.platform.set(Some(*platform));
                    return Ok(sandbox);
                }
                Err(NotBooted::Said(why)) => said.push(why),
                Err(NotBooted::Failed(error)) if said.is_empty() => return Err(error),
                Err(NotBooted::Failed(error)) => {
                    said.push(one_line(&error));
                    break;
                }
            }
        }
        Err(KeeperError::Lost(said.join("; ")))
    }
}

/// The same demand once more, its inputs at their start.
fn again(spec: &SandboxSpec) -> io::Result<SandboxSpec> {
    let input = |input: &InputFile| {
        let mut file = input.file.try_clone()?;
        file.rewind()?;
        Ok(InputFile {
            name: input.name.clone(),
            file,
        })
    };
    Ok(SandboxSpec {
        id: spec.id,
        limits: spec.limits,
        inputs: spec.inputs.iter().map(input).collect::<io::Result<_>>()?,
        way_out: spec.way_out.clone(),
        violations: spec.violations,
    })
}

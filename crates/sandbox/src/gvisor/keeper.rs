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

    /// Waits until gVisor has started: only then it is known whether a platform works.
    async fn create(&self, spec: SandboxSpec) -> Result<NamespaceSandbox, KeeperError> {
        let known = self.platform.get();
        let candidates = match &known {
            Some(platform) => std::slice::from_ref(platform),
            None => self.runsc.platforms(),
        };
        let start = async |platform| {
            let spec = again(&spec).during("look at the inputs")?;
            self.start(spec, platform).await
        };
        let (platform, sandbox) = first_to_start(candidates, start).await?;
        self.platform.set(Some(platform));
        Ok(sandbox)
    }
}

/// What starts on the first platform on which it does. Another one is tried only where gVisor itself says that it does not
/// start: whatever else fails is no fault of the platform.
async fn first_to_start<T>(
    platforms: &[Platform],
    start: impl AsyncFn(Platform) -> Result<T, NotBooted>,
) -> Result<(Platform, T), KeeperError> {
    let mut said = Vec::new();
    for &platform in platforms {
        match start(platform).await {
            Ok(started) => return Ok((platform, started)),
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

#[cfg(test)]
mod tests {
    use Platform::{Ptrace, Systrap};

    use super::*;

    /// I7: what is slower and older is taken only where gVisor says that the first does not start, and every reason is told.
    #[tokio::test]
    async fn another_platform_is_tried_where_gvisor_says_why() {
        let both = &[Systrap, Ptrace];
        let says = |platform| NotBooted::Said(format!("not {platform}"));
        let lost = || NotBooted::Failed(KeeperError::Lost("too late".into()));
        let started = first_to_start(both, async |platform| match platform {
            Systrap => Err(says(platform)),
            Ptrace => Ok(()),
        });
        assert_eq!(started.await.unwrap().0, Ptrace);
        let why = |error: KeeperError| error.to_string();
        let failed = first_to_start(both, async |platform| match platform {
            Systrap => Err(lost()),
            Ptrace => Ok(()),
        });
        assert!(why(failed.await.unwrap_err()).ends_with("too late"));
        let neither = first_to_start(both, async |platform| Err::<(), _>(says(platform)));
        assert!(why(neither.await.unwrap_err()).ends_with("not systrap; not ptrace"));
        let last = first_to_start(both, async |platform| match platform {
            Systrap => Err::<(), _>(says(platform)),
            Ptrace => Err(lost()),
        });
        let last = why(last.await.unwrap_err());
        assert!(
            last.contains("not systrap; ") && last.ends_with("too late"),
            "{last}"
        );
    }
}

//! The keeper of the `namespace` tier.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use casemate_model::Digest;
use casemate_ports::{InputFile, Keeper, KeeperError, SandboxSpec};
use casemate_sys::{Forked, Namespaces, clone_process};
use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    pipe::{PipeFlags, pipe_with},
    process::Pid,
};

use crate::{
    cgroup::{self, Ceiling, Cgroups, Layout},
    construct::Source,
    gvisor::{Launch, host_limits},
    limits::resource_limits,
    plan::{Baits, in_gvisor, plan},
    process::Process,
    sandbox::NamespaceSandbox,
    setup::{self, Blueprint, Identity, Kernel, MAX_INPUTS},
    userland::Userland,
};

/// Makes sandboxes out of Linux namespaces and the host's userland, as root or as anybody.
///
/// The process that uses it must have one thread while [`Keeper::create`] runs.
#[derive(Debug)]
pub struct NamespaceKeeper {
    root: PathBuf,
    layout: Layout,
    userland: Userland,
}

/// The first user id for sandboxes when the keeper is root: far above the ids that systems give out.
const FIRST_FRESH_ID: u32 = 0x7000_0000;

impl NamespaceKeeper {
    /// A keeper for this host. Removes what keepers that died left behind.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn new() -> Result<Self, KeeperError> {
        let read = |path: &str| {
            fs::read_to_string(path).map_err(|source| KeeperError::Build {
                step: format!("read {path}"),
                source,
            })
        };
        let layout = cgroup::discover(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
        cgroup::remove_stale(&layout);
        Ok(Self {
            root: Path::new("/").into(),
            layout,
            userland: Userland::default(),
        })
    }

    /// Shows an image out of the store at `images` in its sandboxes.
    ///
    /// # Errors
    /// When there is no such image.
    pub fn with_image(mut self, images: &Path, digest: &Digest) -> Result<Self, KeeperError> {
        self.userland = Userland::with_image(images, digest).map_err(|error| {
            KeeperError::Spec(format!("the image {digest} cannot be used: {error}"))
        })?;
        Ok(self)
    }

    /// Starts to make a sandbox, with gVisor in it if there is a `launch`.
    pub(crate) fn start(
        &self,
        spec: SandboxSpec,
        launch: Option<Launch>,
    ) -> Result<NamespaceSandbox, KeeperError> {
        check_names(&spec.inputs)?;
        let ceiling = match launch {
            Some(_) => Ceiling::of(&spec.limits).with_gvisor(),
            None => Ceiling::of(&spec.limits),
        };
        let cgroups = Cgroups::make(&self.layout, &cgroup::name(spec.id), &ceiling);
        let identity = identity_of(&spec.id.to_string());
        let sizes = input_sizes(&spec).during("look at the inputs")?;
        let names = spec.inputs.iter().map(|input| input.name.clone()).collect();
        let tree = self.userland.take_tree().during("take the image")?;
        let image = self.userland.image(tree.as_ref());
        let (limits, way_out) = (&spec.limits, spec.way_out.as_ref());
        let baits = Baits::of(spec.violations.as_ref());
        let steps = match launch {
            None => plan(&self.root, image, limits, &sizes, way_out, baits),
            Some(_) => {
                let configuration = Launch::configuration(limits, cgroups.controlled);
                let root = &self.root;
                in_gvisor(root, image, limits, &sizes, way_out, baits, configuration)
            }
        };
        let steps = steps.during("look at the host's userland")?;
        let limits = match launch {
            None => resource_limits(limits, cgroups.controlled),
            Some(_) => host_limits(),
        };
        let platform = launch.as_ref().map(|launch| launch.platform);
        let (kernel, said) = match launch {
            None => (Kernel::Host, None),
            Some(launch) => {
                let (said, said_inside) = pipe_with(PipeFlags::CLOEXEC).during("make a pipe")?;
                (Kernel::Gvisor(launch, said_inside), Some(said))
            }
        };
        let user = kernel.user();
        let source = |input: InputFile| Source {
            name: input.name,
            file: input.file,
        };
        let blueprint = Blueprint {
            steps,
            inputs: spec.inputs.into_iter().map(source).collect(),
            tree,
            limits,
            identity,
            kernel,
        };
        let (setup, setup_inside) = pair(SocketType::SEQPACKET).during("make a socket")?;
        let (control, control_inside) = pair(SocketType::STREAM).during("make a socket")?;
        let forked = clone_process(Namespaces::SANDBOX, cgroups.clone_into());
        let process = match forked.during("make namespaces")? {
            Forked::Child => {
                // With our ends open it would not see us die.
                drop((setup, control));
                setup::become_guest(&blueprint, &cgroups.tasks, &setup_inside, &control_inside)
            }
            Forked::Parent(pid, pidfd) => Process::new(pid, pidfd),
        };
        drop((setup_inside, control_inside, blueprint));
        map_ids(process.pid(), identity, user).during("map the user")?;
        setup::send_go(&setup).during("start the sandbox")?;
        let variables = self.userland.env.clone();
        NamespaceSandbox::new(
            process,
            cgroups,
            setup,
            control,
            names,
            spec.limits,
            variables,
        )
        .during("watch the sandbox")
        .map(|sandbox| sandbox.with_way_out(spec.way_out.is_some()))
        .map(|sandbox| sandbox.watched_for(spec.violations))
        .map(|sandbox| sandbox.with_gvisor(platform.zip(said)))
    }
}

impl Keeper for NamespaceKeeper {
    type Sandbox = NamespaceSandbox;

    async fn create(&self, spec: SandboxSpec) -> Result<NamespaceSandbox, KeeperError> {
        self.start(spec, None)
    }
}

/// Names the step of an error.
pub(crate) trait During<T> {
    fn during(self, step: &str) -> Result<T, KeeperError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: &str) -> Result<T, KeeperError> {
        self.map_err(|source| KeeperError::Build {
            step: step.into(),
            source: source.into(),
        })
    }
}

pub(crate) fn check_names(inputs: &[InputFile]) -> Result<(), KeeperError> {
    if inputs.len() > MAX_INPUTS {
        let count = inputs.len();
        return Err(KeeperError::Spec(format!(
            "{count} inputs are more than {MAX_INPUTS}"
        )));
    }
    for (index, input) in inputs.iter().enumerate() {
        let name = input.name.as_bytes();
        let bad = name.is_empty()
            || name.len() > 255
            || name == b"."
            || name == b".."
            || name.contains(&b'/')
            || name.contains(&0);
        if bad {
            let why = "one path component of at most 255 bytes is needed";
            return Err(KeeperError::Spec(format!(
                "`{}` is not a file name: {why}",
                input.name
            )));
        }
        if inputs
            .iter()
            .skip(index + 1)
            .any(|other| other.name == input.name)
        {
            return Err(KeeperError::Spec(format!(
                "two inputs are named `{}`",
                input.name
            )));
        }
    }
    Ok(())
}

fn input_sizes(spec: &SandboxSpec) -> io::Result<Vec<u64>> {
    spec.inputs
        .iter()
        .map(|input| Ok(input.file.metadata()?.len()))
        .collect()
}

pub(crate) fn pair(kind: SocketType) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        kind,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Root gives each sandbox a user of its own; others have only themselves to give. `name` ends in random hex digits.
pub(crate) fn identity_of(name: &str) -> Identity {
    if !rustix::process::geteuid().is_root() {
        return Identity::Own;
    }
    // The random end of the id: two sandboxes at once hardly ever share a user, and nothing rests on it.
    let random = name
        .get(name.len().saturating_sub(7)..)
        .and_then(|hex| u32::from_str_radix(hex, 16).ok());
    Identity::Fresh(FIRST_FRESH_ID + random.unwrap_or(0) % 0x0fff_0000)
}

/// user_namespaces(7): one user and one group, and nobody else.
pub(crate) fn map_ids(pid: Pid, identity: Identity, user: u32) -> io::Result<()> {
    let path = |file: &str| format!("/proc/{}/{file}", pid.as_raw_nonzero());
    let (uid, gid) = match identity {
        Identity::Own => {
            fs::write(path("setgroups"), "deny")?;
            (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            )
        }
        Identity::Fresh(id) => (id, id),
    };
    fs::write(path("uid_map"), format!("{user} {uid} 1"))?;
    fs::write(path("gid_map"), format!("{user} {gid} 1"))
}

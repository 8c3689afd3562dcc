//! What all sessions stand on: the host, its cgroups, its images.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    rc::{Rc, Weak},
    time::{Duration, Instant},
};

use casemate_model::{Digest, Entropy};
use casemate_ports::{ImageRef, KeeperError, Kind, Owner, Quota, Quotas};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::{
    cgroup::{self, Ceiling, Cgroups, Layout, Removal},
    facts::NamespaceLinks,
    honey::Lookout,
    keeper::During as _,
    userland::Userland,
};

/// How soon after the start, and how often, it is looked for what dead keepers left.
const FIRST_LOOK: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_secs(60);

/// What all sessions stand on.
#[derive(Debug)]
pub(crate) struct Grounds {
    pub(crate) host: PathBuf,
    images: PathBuf,
    layout: Layout,
    pub(crate) links: Rc<NamespaceLinks>,
    pub(crate) lookout: Rc<Lookout>,
    pub(crate) removal: Removal,
    graveyard: Rc<RefCell<Vec<PathBuf>>>,
    /// When it is looked next for what dead keepers left: what dies with one can take a moment longer than it.
    stale: Cell<Instant>,
    tenants: RefCell<HashMap<String, Weak<TenantGroup>>>,
    agents: RefCell<HashMap<Owner, Weak<OwnerGroups>>>,
    calls: Cell<u64>,
    /// How many calls at once keep the processors busy.
    crowd: u64,
    names: Cell<u64>,
}

#[derive(Debug)]
struct TenantGroup {
    cgroups: Cgroups,
    calls: Cell<u64>,
}

/// The cgroups of an agent, inside those of its tenant.
#[derive(Debug)]
pub(crate) struct OwnerGroups {
    // First, so that they are gone before the tenant's.
    agent: Cgroups,
    tenant: Rc<TenantGroup>,
    pub(crate) agent_calls: Cell<u64>,
}

impl OwnerGroups {
    /// Where the cgroups of its sandboxes are made.
    pub(crate) fn inside(&self) -> Layout {
        self.agent.inside()
    }

    pub(crate) fn tenant_calls(&self) -> &Cell<u64> {
        &self.tenant.calls
    }
}

impl Grounds {
    pub(super) fn new(images: &Path) -> Result<Self, KeeperError> {
        let read = |path: &str| fs::read_to_string(path).during(&format!("read {path}"));
        let layout = cgroup::discover(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
        cgroup::remove_stale(&layout);
        let graveyard = Rc::new(RefCell::default());
        Ok(Self {
            host: Path::new("/").into(),
            images: images.into(),
            layout,
            links: Rc::new(NamespaceLinks::of("self")),
            lookout: Lookout::new().during("watch for violations")?,
            removal: Removal::Later(Rc::clone(&graveyard)),
            graveyard,
            stale: Cell::new(Instant::now() + FIRST_LOOK),
            tenants: RefCell::default(),
            agents: RefCell::default(),
            calls: Cell::new(0),
            crowd: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64) * 2,
            names: Cell::new(0),
        })
    }

    /// Removes the cgroups of the dead; those that are busy yet stay for the next time. Whether none is left, of the living
    /// neither.
    pub(super) fn clean(&self) -> bool {
        if Instant::now() >= self.stale.get() {
            self.stale.set(Instant::now() + LOOK);
            cgroup::remove_stale(&self.layout);
        }
        let buried = self.graveyard.take();
        let busy = |directory: &PathBuf| {
            fs::remove_dir(directory).is_err_and(|error| {
                error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error())
            })
        };
        let mut graveyard = self.graveyard.borrow_mut();
        graveyard.extend(buried.into_iter().filter(busy));
        let alive = self
            .tenants
            .borrow()
            .values()
            .any(|group| group.strong_count() > 0);
        graveyard.is_empty() && !alive
    }

    /// The cgroups of an owner.
    pub(super) fn groups(&self, owner: &Owner, quotas: &Quotas) -> Rc<OwnerGroups> {
        if let Some(groups) = self.agents.borrow().get(owner).and_then(Weak::upgrade) {
            groups.agent.limit(&ceiling(&quotas.agent));
            groups.tenant.cgroups.limit(&ceiling(&quotas.tenant));
            return groups;
        }
        let tenant = self.tenant(&owner.tenant, &quotas.tenant);
        let name = format!("agent-{}", short(&owner.agent));
        let agent = Cgroups::make(&tenant.cgroups.inside(), &name, &ceiling(&quotas.agent));
        let groups = Rc::new(OwnerGroups {
            agent: agent.removed(self.removal.clone()),
            tenant,
            agent_calls: Cell::new(0),
        });
        self.agents
            .borrow_mut()
            .insert(owner.clone(), Rc::downgrade(&groups));
        groups
    }

    fn tenant(&self, name: &str, quota: &Quota) -> Rc<TenantGroup> {
        if let Some(group) = self.tenants.borrow().get(name).and_then(Weak::upgrade) {
            return group;
        }
        let directory = cgroup::name(format!("tenant-{}", short(name)));
        let cgroups = Cgroups::make(&self.layout, &directory, &ceiling(quota));
        let group = Rc::new(TenantGroup {
            cgroups: cgroups.removed(self.removal.clone()),
            calls: Cell::new(0),
        });
        self.tenants
            .borrow_mut()
            .insert(name.to_owned(), Rc::downgrade(&group));
        group
    }

    /// The userland of a kind.
    pub(crate) fn userland(&self, kind: &Kind) -> Result<Userland, KeeperError> {
        let mut userland = match kind.image {
            ImageRef::Host => Userland::host(),
            ImageRef::Stored(digest) => {
                Userland::with_image(&self.images, &digest).map_err(|error| {
                    KeeperError::Spec(format!("the image {digest} cannot be used: {error}"))
                })?
            }
        };
        if !kind.python {
            userland.python = None;
        } else if let Some(python) = userland.python.as_ref().filter(|python| !python.exists()) {
            return Err(KeeperError::Spec(format!(
                "there is no interpreter {}: install it, or use a profile without sessions in Python",
                python.display()
            )));
        }
        Ok(userland)
    }

    /// Counts calls that run.
    pub(super) fn busy(&self, by: i64) {
        self.calls.set(self.calls.get().saturating_add_signed(by));
    }

    /// Whether a call runs, which what is done ahead should not slow down.
    pub(crate) const fn is_busy(&self) -> bool {
        self.calls.get() > 0
    }

    /// Whether so many calls run that they wait for each other.
    pub(crate) const fn is_crowded(&self) -> bool {
        self.calls.get() > self.crowd
    }

    /// A name that this keeper has not used.
    pub(crate) fn unique(&self) -> String {
        let number = self.names.get();
        self.names.set(number + 1);
        format!("sandbox-{number}")
    }

    pub(crate) fn entropy(&self) -> Result<Entropy, KeeperError> {
        let mut entropy = Entropy::default();
        getrandom(&mut entropy, GetRandomFlags::empty()).during("name the nursery")?;
        Ok(entropy)
    }

    /// Notes what went wrong where nobody waits for an answer.
    pub(crate) fn note(&self, error: &KeeperError) {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        // Where the keeper logs; whoever waits for the sandbox gets the error itself.
        drop(writeln!(std::io::stderr(), "casemate: the pool: {text}"));
    }
}

const fn ceiling(quota: &Quota) -> Ceiling {
    Ceiling {
        memory_bytes: quota.memory_bytes,
        processes: quota.processes,
        cpu_milli: quota.cpu_milli,
    }
}

/// A name as a directory: whatever it is, and whoever chose it.
fn short(name: &str) -> String {
    let digest = Digest::of(name.as_bytes()).to_string();
    let hex = digest.rsplit(':').next().unwrap_or_default();
    hex.chars().take(16).collect()
}

//! Where cgroups can be made.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The directories in which a sandbox's cgroups are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) v2: Option<PathBuf>,
    pub(crate) v1_memory: Option<PathBuf>,
    pub(crate) v1_pids: Option<PathBuf>,
    pub(crate) v1_cpu: Option<PathBuf>,
}

impl Layout {
    /// Every directory, once.
    pub(crate) fn parents(&self) -> impl Iterator<Item = &Path> {
        [&self.v2, &self.v1_memory, &self.v1_pids, &self.v1_cpu]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
    }
}

/// The name under which root keeps all sandboxes on v2.
const V2_PARENT: &str = "casemate";

/// Finds the layout from the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`.
pub(crate) fn discover(mountinfo: &str, own: &str) -> Layout {
    let mut layout = Layout::default();
    for mount in mountinfo.lines().filter_map(Mount::parse) {
        let path = |controller: &str| {
            let own = own_path(own, controller)?;
            let below = Path::new(own).strip_prefix(&mount.root).ok()?;
            Some(mount.point.join(below))
        };
        if mount.kind == "cgroup2" {
            layout.v2 = path("").and_then(|own| v2_parent(&mount.point, &own));
            continue;
        }
        for (controller, slot) in [
            ("memory", &mut layout.v1_memory),
            ("pids", &mut layout.v1_pids),
            ("cpu", &mut layout.v1_cpu),
        ] {
            if mount.options.split(',').any(|option| option == controller) {
                *slot = path(controller);
            }
        }
    }
    layout
}

/// A cgroup whose children may have memory and process limits.
///
/// A cgroup with processes of its own can have no such children, but for the root of the hierarchy: root
/// makes a cgroup there; others can only use one that was delegated to them and is set up already.
fn v2_parent(mount: &Path, own: &Path) -> Option<PathBuf> {
    let enabled = |directory: &Path| {
        fs::read_to_string(directory.join("cgroup.subtree_control")).is_ok_and(|text| {
            let mut words = text.split_whitespace();
            words.clone().any(|word| word == "memory") && words.any(|word| word == "pids")
        })
    };
    let controllers = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    if !controllers.split_whitespace().any(|word| word == "memory") {
        // A hybrid host: its controllers are on v1.
        return None;
    }
    let shared = mount.join(V2_PARENT);
    if enabled(&shared) {
        return Some(shared);
    }
    let _ = fs::create_dir(&shared);
    for directory in [mount, shared.as_path()] {
        for controller in ["+memory", "+pids", "+cpu"] {
            let _ = fs::write(directory.join("cgroup.subtree_control"), controller);
        }
    }
    if enabled(&shared) {
        return Some(shared);
    }
    let _ = fs::remove_dir(&shared);
    enabled(own).then(|| own.to_owned())
}

struct Mount<'a> {
    root: PathBuf,
    point: PathBuf,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// proc_pid_mountinfo(5): `36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/root rw,…`
    fn parse(line: &'a str) -> Option<Self> {
        let (fields, filesystem) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let mut filesystem = filesystem.split(' ');
        let kind = filesystem
            .next()
            .filter(|kind| kind.starts_with("cgroup"))?;
        Some(Self {
            root: root.into(),
            point: point.into(),
            kind,
            options: filesystem.nth(1)?,
        })
    }
}

/// The path of this process in the hierarchy of `controller`; v2's is empty.
fn own_path<'a>(own: &'a str, controller: &str) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers
            .split(',')
            .any(|name| name == controller)
            .then_some(path)
    })
}

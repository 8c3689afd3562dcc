//! A sandbox with a kernel of its own in it: the root that programs see is a directory in one that only gVisor sees.
//!
//! Programs meet files through gVisor's kernel, which has them from its server of files, which has this root and nothing
//! else. So all that is said of mounts elsewhere holds for both.

use std::{io, path::Path};

use casemate_model::Limits;
use casemate_ports::WayOut;

use super::{Baits, Image, STAGE, Step, authority, c, honey, programs, show_image, storage, tmpfs};

/// Where the root of programs is.
pub(crate) const ROOT: &str = "/rootfs";

/// The OCI bundle.
pub(crate) const BUNDLE: &str = "/bundle";

/// Where gVisor keeps what it knows of the container.
pub(crate) const STATE: &str = "/state";

/// The guest, as programs see it.
pub(crate) const GUEST: &str = "/run/guest/casemate-guest";

/// More than a container's state needs.
const STATE_BYTES: u64 = 1 << 20;
const STATE_FILES: u64 = 64;

/// More than the guest needs.
const GUEST_BYTES: u64 = 8 << 20;

/// As [`super::plan`], for a sandbox in which gVisor runs the bundle with this configuration.
///
/// The process table hides nothing: gVisor has one of its own, and programs get neither.
pub(crate) fn in_gvisor(
    root: &Path,
    image: Image<'_>,
    limits: &Limits,
    inputs: &[u64],
    way_out: Option<&WayOut>,
    baits: Baits,
    configuration: Vec<u8>,
) -> io::Result<Vec<Step>> {
    let mut steps = vec![
        Step::StartNetwork,
        Step::DetachMounts,
        Step::EnterRoot(c(STAGE)?),
        Step::Directory(c("rootfs")?, 0o755),
        Step::EnterRoot(c("rootfs")?),
    ];
    programs(&mut steps, root)?;
    if let Some(way_out) = way_out {
        authority(&mut steps, way_out)?;
    }
    show_image(&mut steps, image)?;
    storage(&mut steps, limits, inputs)?;
    if baits == Baits::Laid {
        honey::names(&mut steps)?;
        honey::files(&mut steps)?;
    }
    guest(&mut steps)?;
    steps.extend([Step::ReadOnly(c(".")?), Step::LeaveRoot]);
    around(&mut steps, configuration)?;
    steps.extend([Step::HostName("sandbox"), Step::EnterNetwork]);
    if let Some(way_out) = way_out {
        steps.push(Step::OpenWay(way_out.ports));
    }
    steps.push(Step::SealRoot);
    Ok(steps)
}

fn guest(steps: &mut Vec<Step>) -> io::Result<()> {
    let (path, directory) = (GUEST.trim_start_matches('/'), "run/guest");
    steps.extend([
        Step::Directory(c(directory)?, 0o755),
        Step::Tmpfs(c(directory)?, tmpfs(GUEST_BYTES, 2, "0755")?),
        Step::Guest(c(path)?),
        Step::ReadOnly(c(directory)?),
    ]);
    Ok(())
}

/// What gVisor sees beside the root of programs.
fn around(steps: &mut Vec<Step>, configuration: Vec<u8>) -> io::Result<()> {
    // gVisor's kernel is locked into an empty directory that it mounts at `/tmp`.
    for path in ["proc", "tmp", "bundle", "state"] {
        steps.push(Step::Directory(c(path)?, 0o755));
    }
    // The keeper finds what it looks for where it is in every sandbox.
    for name in ["dev", "workspace", "root"] {
        steps.push(Step::Link(c(format!("rootfs/{name}"))?, c(name)?));
    }
    steps.extend([
        Step::Processes(c("proc")?),
        Step::File(c("bundle/config.json")?, configuration.into()),
        Step::Tmpfs(c("state")?, tmpfs(STATE_BYTES, STATE_FILES, "0700")?),
    ]);
    Ok(())
}

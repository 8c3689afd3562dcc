//! How a sandbox's file system is made, as data: a list of steps, each done by `construct`.
//!
//! Paths are relative to the new root; the working directory is there from [`Step::EnterRoot`] on.

mod gvisor;
mod trust;

use std::{
    borrow::Cow,
    ffi::{CString, NulError},
    fmt, io,
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use casemate_confine::{HIDDEN_DIRECTORIES, HIDDEN_FILES, RESOLV_CONF};
use casemate_model::{Limits, Responses};
use casemate_ports::{WAY_OUT_AUTHORITY, WAY_OUT_KEYSTORE, WayOut, WayPorts};
use casemate_sys::MountAttributes;

pub(crate) use self::gvisor::{BUNDLE, GUEST, ROOT, STATE, in_gvisor};
use crate::{
    honey,
    host::{self, Shown},
    keystore::keystore,
};

/// The user that programs are, and its group.
pub(crate) const SANDBOX_ID: u32 = 1000;

/// Where the new root is mounted until it is one: a directory that every system has.
const STAGE: &str = "/tmp";

const MAX_TMP_BYTES: u64 = 64 << 20;
const MAX_TMP_FILES: u64 = 16_384;

/// One step. Its [`fmt::Display`] is what an error says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// No mount made here is seen elsewhere, nor the other way round.
    DetachMounts,
    /// Mounts an empty root and goes there.
    EnterRoot(CString),
    /// Goes back to the root above the one that was entered last.
    LeaveRoot,
    /// Makes a directory with these permissions.
    Directory(CString, u32),
    /// Makes a file with this content, readable by all.
    File(CString, Cow<'static, [u8]>),
    /// Makes the file of the guest.
    Guest(CString),
    /// Makes an empty file, for something to be mounted on.
    MountPoint(CString),
    /// Makes a symbolic link: target, path.
    Link(CString, CString),
    /// Shows a file or tree of the host: source, path, attributes.
    Bind(CString, CString, MountAttributes),
    /// Shows the image's tree here, which was taken before: the directories above it are its owner's alone.
    AttachImage(CString),
    /// Mounts an empty, writable tmpfs with these options.
    Tmpfs(CString, CString),
    /// Mounts the process table of the new pid namespace.
    Processes(CString),
    /// Hides a file, if it is there, behind `/dev/null`.
    HideFile(CString),
    /// Hides a directory, if it is there, behind an empty one.
    HideDirectory(CString),
    /// Copies the inputs into this directory, which is a mount of its own, and makes it read-only.
    Inputs(CString),
    /// Makes this mount read-only, and nothing in it executable.
    Seal(CString),
    /// Makes this mount read-only.
    ReadOnly(CString),
    /// Makes the root read-only and forgets the old one.
    SealRoot,
    /// Starts to make a network namespace with nothing but its own loopback.
    StartNetwork,
    /// Enters it.
    EnterNetwork,
    /// Makes the network of a way out, for the keeper: with listeners for these ports of destinations.
    OpenWay(WayPorts),
    /// Sets the host name.
    HostName(&'static str),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DetachMounts => write!(f, "detach from the host's mounts"),
            Self::EnterRoot(_) => write!(f, "mount an empty root"),
            Self::LeaveRoot => write!(f, "leave the root"),
            Self::Guest(_) => write!(f, "copy the guest"),
            Self::Directory(path, _) => write!(f, "make the directory {path:?}"),
            Self::File(path, _) | Self::MountPoint(path) => write!(f, "make the file {path:?}"),
            Self::Link(_, path) => write!(f, "make the link {path:?}"),
            Self::AttachImage(_) => write!(f, "show the image"),
            Self::Bind(source, ..) => write!(f, "show {source:?} of the host"),
            Self::Tmpfs(path, _) => write!(f, "mount {path:?}"),
            Self::Processes(path) => write!(f, "mount the process table {path:?}"),
            Self::HideFile(path) | Self::HideDirectory(path) => write!(f, "hide {path:?}"),
            Self::Inputs(_) => write!(f, "copy the inputs"),
            Self::Seal(path) | Self::ReadOnly(path) => {
                write!(f, "make {path:?} read-only")
            }
            Self::SealRoot => write!(f, "make the root read-only"),
            Self::StartNetwork | Self::EnterNetwork => write!(f, "make a network namespace"),
            Self::OpenWay(_) => write!(f, "open the way out"),
            Self::HostName(_) => write!(f, "set the host name"),
        }
    }
}

const PASSWD: &str = "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n\
                      user:x:1000:1000:user:/home/user:/bin/bash\n\
                      nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1 localhost sandbox\n::1 localhost\n";
// Passwords are asked of who has none: Perl and others look one up with each user, and `/etc/shadow` is a decoy.
const NSSWITCH: &str = "passwd: files\ngroup: files\nshadow: dns\ngshadow: dns\nhosts: files dns\nservices: files\nprotocols: files\n";

const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom"];

pub(crate) const SHOWN: MountAttributes = MountAttributes {
    read_only: true,
    no_exec: false,
    no_devices: true,
};
const DEVICE: MountAttributes = MountAttributes {
    read_only: false,
    no_exec: true,
    no_devices: false,
};

/// The steps for a sandbox with `limits` and inputs of `input_bytes` in all, on the host at `root`.
pub(crate) fn plan(
    root: &Path,
    image: Image<'_>,
    limits: &Limits,
    inputs: &[u64],
    way_out: Option<&WayOut>,
    baits: Baits,
) -> io::Result<Vec<Step>> {
    let mut steps = vec![Step::StartNetwork];
    userland(&mut steps, root)?;
    if let Some(way_out) = way_out {
        authority(&mut steps, way_out)?;
    }
    show_image(&mut steps, image)?;
    steps.push(Step::Processes(c("proc")?));
    for name in HIDDEN_FILES {
        steps.push(Step::HideFile(c(format!("proc/{name}"))?));
    }
    for name in HIDDEN_DIRECTORIES {
        steps.push(Step::HideDirectory(c(format!("proc/{name}"))?));
    }
    storage(&mut steps, limits, inputs)?;
    if baits == Baits::Laid {
        honey::names(&mut steps)?;
        honey::files(&mut steps)?;
    }
    steps.extend([Step::HostName("sandbox"), Step::EnterNetwork]);
    if let Some(way_out) = way_out {
        steps.push(Step::OpenWay(way_out.ports));
    }
    steps.push(Step::SealRoot);
    Ok(steps)
}

/// What a way out is trusted by, and where programs look for names.
fn authority(steps: &mut Vec<Step>, way_out: &WayOut) -> io::Result<()> {
    let relative = |path: &'static str| c(path.trim_start_matches('/'));
    let authority = relative(WAY_OUT_AUTHORITY)?;
    let keystore = relative(WAY_OUT_KEYSTORE)?;
    steps.push(Step::Directory(c("etc/casemate")?, 0o755));
    steps.push(Step::File(
        authority,
        way_out.authority.clone().into_bytes().into(),
    ));
    steps.push(Step::File(
        keystore,
        self::keystore(&way_out.authority).into(),
    ));
    trust::stores(steps)?;
    steps.push(Step::File(
        c("etc/resolv.conf")?,
        RESOLV_CONF.as_bytes().into(),
    ));
    Ok(())
}

/// Whether there is an image beside the host's userland.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Image<'a> {
    /// None.
    None,
    /// One whose tree this user can reach, shown at `/opt/image`.
    At(&'a Path),
    /// One whose tree was taken out of the host's mounts beforehand.
    Taken,
}

/// Whether there are honey files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Baits {
    /// There are none.
    None,
    /// There are, and whoever makes the sandbox watches them.
    Laid,
}

impl Baits {
    /// Those of sandboxes in which this follows violations.
    pub(crate) const fn of(violations: Option<&Responses>) -> Self {
        match violations {
            Some(_) => Self::Laid,
            None => Self::None,
        }
    }
}

/// The steps for the root that sandboxes of one kind share: nothing in it can be written.
///
/// Its process table hides nothing: sandboxes could not have their own below one that does.
pub(crate) fn shared_root(
    root: &Path,
    image: Image<'_>,
    has_ways: bool,
    baits: Baits,
) -> io::Result<Vec<Step>> {
    let mut steps = Vec::new();
    userland(&mut steps, root)?;
    for path in ["dev/pts", "run/egress"] {
        steps.push(Step::Directory(c(path)?, 0o755));
    }
    steps.push(Step::Link(c("pts/ptmx")?, c("dev/ptmx")?));
    if baits == Baits::Laid {
        honey::names(&mut steps)?;
    }
    if has_ways {
        // Each call has an authority of its own there.
        steps.push(Step::Directory(c("etc/casemate")?, 0o755));
        trust::stores(&mut steps)?;
        steps.push(Step::File(
            c("etc/resolv.conf")?,
            RESOLV_CONF.as_bytes().into(),
        ));
    }
    show_image(&mut steps, image)?;
    steps.push(Step::Processes(c("proc")?));
    // For the template interpreter alone; each sandbox has its own.
    steps.push(Step::Tmpfs(
        c("tmp")?,
        tmpfs(MAX_TMP_BYTES, MAX_TMP_FILES, "1777")?,
    ));
    steps.extend([Step::HostName("sandbox"), Step::SealRoot]);
    Ok(steps)
}

/// The steps for a sandbox of its own in a shared root.
pub(crate) fn own_storage(limits: &Limits, baits: Baits) -> io::Result<Vec<Step>> {
    let mut steps = vec![Step::Processes(c("proc")?)];
    let (tmp, workspace) = (tmp_options(limits)?, workspace_options(limits)?);
    steps.push(Step::Tmpfs(c("tmp")?, tmp));
    steps.push(Step::Tmpfs(c("workspace")?, workspace));
    steps.push(Step::Directory(c("workspace/out")?, 0o755));
    if baits == Baits::Laid {
        honey::files(&mut steps)?;
    }
    steps.push(Step::HostName("sandbox"));
    Ok(steps)
}

fn show_image(steps: &mut Vec<Step>, image: Image<'_>) -> io::Result<()> {
    if image == Image::None {
        return Ok(());
    }
    for path in ["opt", "opt/image"] {
        steps.push(Step::Directory(c(path)?, 0o755));
    }
    steps.push(match image {
        Image::At(tree) => Step::Bind(c(tree.as_os_str().as_bytes())?, c("opt/image")?, SHOWN),
        _ => Step::AttachImage(c("opt/image")?),
    });
    Ok(())
}

/// The host's programs, in an empty root.
fn userland(steps: &mut Vec<Step>, root: &Path) -> io::Result<()> {
    steps.extend([Step::DetachMounts, Step::EnterRoot(c(STAGE)?)]);
    programs(steps, root)
}

/// The same, in the root that was entered.
fn programs(steps: &mut Vec<Step>, root: &Path) -> io::Result<()> {
    directories(steps)?;
    files(steps)?;
    for shown in host::userland(root)? {
        show(steps, root, shown)?;
    }
    devices(steps)
}

fn directories(steps: &mut Vec<Step>) -> io::Result<()> {
    for path in [
        "dev",
        "dev/shm",
        "etc",
        "home",
        "mnt",
        "proc",
        "run",
        "tmp",
        "usr",
        "var",
        "workspace",
    ] {
        steps.push(Step::Directory(c(path)?, 0o755));
    }
    steps.push(Step::Directory(c("run/empty")?, 0o555));
    // Debian has no `python`; where the host or the image has one, it comes first in `PATH`.
    steps.push(Step::Directory(c("run/bin")?, 0o755));
    // Where existing clients look for the workspace.
    for (target, path) in [
        ("/workspace", "home/user"),
        ("/workspace", "mnt/data"),
        ("/tmp", "var/tmp"),
        ("/run", "var/run"),
        ("/proc/self/fd", "dev/fd"),
        ("/proc/self/fd/0", "dev/stdin"),
        ("/proc/self/fd/1", "dev/stdout"),
        ("/proc/self/fd/2", "dev/stderr"),
        ("/proc/self/mounts", "etc/mtab"),
        ("/usr/bin/python3", "run/bin/python"),
    ] {
        steps.push(Step::Link(c(target)?, c(path)?));
    }
    Ok(())
}

fn files(steps: &mut Vec<Step>) -> io::Result<()> {
    for (path, content) in [
        ("etc/passwd", PASSWD),
        ("etc/group", GROUP),
        ("etc/hosts", HOSTS),
        ("etc/hostname", "sandbox\n"),
        ("etc/nsswitch.conf", NSSWITCH),
    ] {
        steps.push(Step::File(c(path)?, content.as_bytes().into()));
    }
    Ok(())
}

fn show(steps: &mut Vec<Step>, root: &Path, shown: Shown) -> io::Result<()> {
    match shown {
        Shown::Link(path, target) => {
            steps.push(Step::Link(
                c(target.as_os_str().as_bytes())?,
                c(path.as_os_str().as_bytes())?,
            ));
        }
        Shown::Directory(path) => {
            let target = c(path.as_os_str().as_bytes())?;
            if path != Path::new("usr") {
                steps.push(Step::Directory(target.clone(), 0o755));
            }
            steps.push(Step::Bind(
                c(root.join(path).as_os_str().as_bytes())?,
                target,
                SHOWN,
            ));
        }
        Shown::File(path) => {
            let target = c(path.as_os_str().as_bytes())?;
            steps.push(Step::MountPoint(target.clone()));
            steps.push(Step::Bind(
                c(root.join(path).as_os_str().as_bytes())?,
                target,
                SHOWN,
            ));
        }
    }
    Ok(())
}

fn devices(steps: &mut Vec<Step>) -> io::Result<()> {
    for name in DEVICES {
        let target = c(format!("dev/{name}"))?;
        steps.push(Step::MountPoint(target.clone()));
        steps.push(Step::Bind(c(format!("/dev/{name}"))?, target, DEVICE));
    }
    Ok(())
}

/// The writable places and the inputs. All of them are memory, and count as such.
fn storage(steps: &mut Vec<Step>, limits: &Limits, inputs: &[u64]) -> io::Result<()> {
    steps.push(Step::Tmpfs(c("tmp")?, tmp_options(limits)?));
    steps.push(Step::Tmpfs(c("dev/shm")?, tmp_options(limits)?));
    steps.push(Step::Tmpfs(c("workspace")?, workspace_options(limits)?));
    steps.push(Step::Directory(c("workspace/in")?, 0o755));
    steps.push(Step::Directory(c("workspace/out")?, 0o755));
    const PAGE: u64 = 4096;
    let pages = |bytes: &u64| bytes.div_ceil(PAGE).saturating_mul(PAGE);
    let bytes = inputs.iter().map(pages).fold(PAGE, u64::saturating_add);
    let files = inputs.len() as u64 + 2;
    steps.push(Step::Tmpfs(
        c("workspace/in")?,
        tmpfs(bytes, files, "0755")?,
    ));
    steps.push(Step::Inputs(c("workspace/in")?));
    Ok(())
}

fn tmp_options(limits: &Limits) -> Result<CString, NulError> {
    let bytes = limits.disk_bytes.min(MAX_TMP_BYTES);
    tmpfs(bytes, limits.disk_files.min(MAX_TMP_FILES), "1777")
}

fn workspace_options(limits: &Limits) -> Result<CString, NulError> {
    // The directories that are there from the start do not count.
    let files = limits.disk_files.saturating_add(3);
    tmpfs(limits.disk_bytes.max(4096), files, "0755")
}

fn tmpfs(bytes: u64, files: u64, mode: &str) -> Result<CString, NulError> {
    c(format!("size={bytes},nr_inodes={files},mode={mode}"))
}

fn c(bytes: impl Into<Vec<u8>>) -> Result<CString, NulError> {
    CString::new(bytes)
}

#[cfg(test)]
mod tests;

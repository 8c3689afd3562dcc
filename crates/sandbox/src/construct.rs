//! Doing the steps of a plan, in the first process of a sandbox, before anything untrusted runs there.

use std::{
    ffi::CStr,
    fs::File,
    io::{self, Read, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use casemate_confine::open_way;
use casemate_model::{Digest, Hasher, Text};
use casemate_sys::{MountAttributes, PendingNetwork, set_mount_attributes};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags},
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
        mount_change, move_mount, open_tree, unmount,
    },
};

use crate::{image, plan::Step};

/// An input on its way in.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: Text,
    pub(crate) file: File,
}

/// An input that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    pub(crate) bytes: u64,
    pub(crate) sha256: Digest,
}

/// A place in the making.
#[derive(Debug)]
pub(crate) struct Construction<'a> {
    inputs: &'a [Source],
    copied: Vec<Copied>,
    tree: Option<&'a OwnedFd>,
    network: Option<PendingNetwork>,
    way: Vec<OwnedFd>,
}

impl<'a> Construction<'a> {
    /// One with these inputs and, for [`Step::AttachImage`], this tree.
    pub(crate) const fn new(inputs: &'a [Source], tree: Option<&'a OwnedFd>) -> Self {
        Self {
            inputs,
            tree,
            copied: Vec::new(),
            network: None,
            way: Vec::new(),
        }
    }

    /// The inputs, as they arrived, and the sockets of [`Step::OpenWay`].
    pub(crate) fn finish(self) -> (Vec<Copied>, Vec<OwnedFd>) {
        (self.copied, self.way)
    }

    /// Does one step.
    pub(crate) fn perform(&mut self, step: &Step) -> io::Result<()> {
        match step {
            Step::DetachMounts => Ok(mount_change(
                "/",
                MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
            )?),
            Step::EnterRoot(stage) => {
                mount_tmpfs(stage, c"size=1m,nr_inodes=1k,mode=0755")?;
                Ok(rustix::process::chdir(stage.as_c_str())?)
            }
            Step::LeaveRoot => Ok(rustix::process::chdir("..")?),
            Step::Directory(path, mode) => Ok(rustix::fs::mkdir(
                path.as_c_str(),
                Mode::from_raw_mode(*mode),
            )?),
            Step::File(path, content) => create(path)?.write_all(content),
            Step::Guest(path) => guest(path),
            Step::MountPoint(path) => create(path).map(|_| ()),
            Step::Link(target, path) => {
                Ok(rustix::fs::symlink(target.as_c_str(), path.as_c_str())?)
            }
            Step::Bind(source, path, attributes) => bind(source, path, *attributes),
            Step::AttachImage(path) => {
                let tree = self.tree.ok_or(io::ErrorKind::NotFound)?;
                attach(tree, path)
            }
            Step::Tmpfs(path, options) => mount_tmpfs(path, options),
            Step::Processes(path) => Ok(mount(
                c"proc",
                path.as_c_str(),
                c"proc",
                MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
                None,
            )?),
            Step::HideFile(path) => hide(c"dev/null", path),
            Step::HideDirectory(path) => hide(c"run/empty", path),
            Step::Inputs(path) => copy_inputs(path, self.inputs, &mut self.copied),
            Step::Seal(path) => seal(path),
            Step::ReadOnly(path) => read_only(path),
            Step::SealRoot => seal_root(),
            Step::StartNetwork => {
                self.network = Some(PendingNetwork::start()?);
                Ok(())
            }
            Step::EnterNetwork => match self.network.take() {
                Some(network) => network.enter(),
                None => Err(io::ErrorKind::NotFound.into()),
            },
            Step::OpenWay(ports) => {
                self.way = open_way(&ports.iter().collect::<Vec<_>>(), ports.has_platform())?;
                Ok(())
            }
            Step::HostName(name) => Ok(rustix::system::sethostname(name.as_bytes())?),
        }
    }
}

fn mount_tmpfs(path: &CStr, options: &CStr) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    Ok(mount(c"tmpfs", path, c"tmpfs", flags, options)?)
}

fn create(path: &CStr) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::from_raw_mode(0o644))?.into())
}

/// Takes a tree of the host out of its mounts, with these attributes; only root can.
pub(crate) fn take(source: &Path, attributes: MountAttributes) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, source, flags)?;
    set_mount_attributes(tree.as_fd(), attributes)?;
    Ok(tree)
}

fn bind(source: &CStr, path: &CStr, attributes: MountAttributes) -> io::Result<()> {
    // With everything below it: a user namespace may not show what a mount of the host covers.
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, source, flags)?;
    set_mount_attributes(tree.as_fd(), attributes)?;
    attach(&tree, path)
}

fn attach(tree: &OwnedFd, path: &CStr) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(tree.as_fd(), c"", CWD, path, flags)?)
}

fn hide(cover: &CStr, path: &CStr) -> io::Result<()> {
    if rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).is_err() {
        return Ok(());
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, cover, flags)?;
    attach(&tree, path)
}

fn copy_inputs(directory: &CStr, inputs: &[Source], copied: &mut Vec<Copied>) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::open(directory, flags, Mode::empty())?;
    for input in inputs {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let file = rustix::fs::openat(&target, input.name.as_os_str(), flags, mode)?;
        copied.push(copy(&input.file, File::from(file))?);
    }
    let read_only = MountAttributes {
        read_only: true,
        no_exec: false,
        no_devices: true,
    };
    // The directory was opened on the mount, so this is the mount itself.
    set_mount_attributes(target.as_fd(), read_only)
}

/// Copies and hashes in one pass: the digest is of what the sandbox holds, not of what a name meant.
fn copy(mut from: &File, mut to: File) -> io::Result<Copied> {
    let mut hasher = Hasher::default();
    let mut bytes = 0;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let count = from.read(&mut buffer)?;
        let piece = buffer.get(..count).unwrap_or_default();
        if piece.is_empty() {
            return Ok(Copied {
                bytes,
                sha256: hasher.finish(),
            });
        }
        hasher.update(piece);
        to.write_all(piece)?;
        bytes += piece.len() as u64;
    }
}

fn guest(path: &CStr) -> io::Result<()> {
    let file = create(path)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o755))?;
    (&file).write_all(image::GUEST)
}

fn seal(path: &CStr) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mount = rustix::fs::open(path, flags, Mode::empty())?;
    let sealed = MountAttributes {
        read_only: true,
        no_exec: true,
        no_devices: true,
    };
    set_mount_attributes(mount.as_fd(), sealed)
}

/// Only this mount: those below it stay as they are.
fn read_only(path: &CStr) -> io::Result<()> {
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    Ok(rustix::mount::mount_remount(path, flags, c"")?)
}

fn seal_root() -> io::Result<()> {
    read_only(c".")?;
    // The old root is stacked on the new one, and falls off it.
    rustix::process::pivot_root(c".", c".")?;
    unmount(c".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir(c"/workspace")?)
}

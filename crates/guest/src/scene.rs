//! What a call sees of the file system, beside what its session has: its own process table, its own shared memory, its
//! own terminals, its own inputs, its own way out.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use casemate_confine::{HIDDEN_DIRECTORIES, HIDDEN_FILES};
use casemate_sys::{MountAttributes, set_mount_attributes};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags},
    mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount, move_mount, open_tree},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
};

/// Where the way out is.
const EGRESS: &CStr = c"/run/egress";
const EGRESS_SOCKET: &CStr = c"/run/egress/proxy.sock";
/// Where the authority of the way out is.
const AUTHORITY: &CStr = c"/etc/casemate";
/// As text, and as Java reads it.
const AUTHORITY_FILES: [&CStr; 2] = [c"authority.pem", c"authority.jks"];
const INPUTS: &CStr = c"/workspace/in";

/// How many connections may wait at the way out.
const BACKLOG: i32 = 64;

const READ_ONLY: MountAttributes = MountAttributes {
    read_only: true,
    no_exec: false,
    no_devices: true,
};

/// Makes what every call has of its own.
pub(crate) fn set() -> io::Result<OwnedFd> {
    let plain = MountFlags::NOSUID | MountFlags::NODEV;
    mount(c"proc", c"/proc", c"proc", plain | MountFlags::NOEXEC, None)?;
    for name in HIDDEN_FILES {
        hide(c"/dev/null", name)?;
    }
    for name in HIDDEN_DIRECTORIES {
        hide(c"/run/empty", name)?;
    }
    mount(
        c"tmpfs",
        c"/dev/shm",
        c"tmpfs",
        plain,
        &*shared_memory_options()?,
    )?;
    let terminals = c"newinstance,ptmxmode=0666,mode=0620,max=64";
    mount(
        c"devpts",
        c"/dev/pts",
        c"devpts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        terminals,
    )?;
    way_out()
}

/// As large as the session's `/tmp`, which programs can fill but not change.
fn shared_memory_options() -> io::Result<CString> {
    let tmp = rustix::fs::statvfs(c"/tmp")?;
    let bytes = tmp.f_blocks.saturating_mul(tmp.f_frsize);
    let files = tmp.f_files;
    Ok(CString::new(format!(
        "size={bytes},nr_inodes={files},mode=1777"
    ))?)
}

/// A socket of this call alone: whoever connects to it is one of its processes.
fn way_out() -> io::Result<OwnedFd> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(
        c"tmpfs",
        EGRESS,
        c"tmpfs",
        flags,
        c"size=4k,nr_inodes=4,mode=0755",
    )?;
    let listener = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    bind(&listener, &SocketAddrUnix::new(EGRESS_SOCKET)?)?;
    listen(&listener, BACKLOG)?;
    seal(EGRESS)?;
    Ok(listener)
}

/// The files of the call's authority, empty yet: what comes back is for writing them, which nobody in here can.
pub(crate) fn authority() -> io::Result<[OwnedFd; 2]> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // Room for a page of each, wherever pages have up to 64 KiB.
    let options = c"size=128k,nr_inodes=3,mode=0755";
    mount(c"tmpfs", AUTHORITY, c"tmpfs", flags, options)?;
    // Another mount of the same files, which is nowhere: who writes through this one does not hold the other open.
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let aside = open_tree(CWD, AUTHORITY, flags)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o644);
    let [text, keystore] =
        AUTHORITY_FILES.map(|name| rustix::fs::openat(&aside, name, flags, mode));
    seal(AUTHORITY)?;
    Ok([text?, keystore?])
}

fn seal(point: &CStr) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(point, flags, Mode::empty())?;
    set_mount_attributes(directory.as_fd(), READ_ONLY)
}

fn hide(cover: &CStr, name: &str) -> io::Result<()> {
    let path = CString::new(format!("/proc/{name}"))?;
    if rustix::fs::statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW).is_err() {
        return Ok(());
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, cover, flags)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(tree.as_fd(), c"", CWD, &path, flags)?)
}

/// A place for inputs: a mount of its own over `/workspace/in`, which programs of the session may have changed.
pub(crate) struct Inputs(OwnedFd);

impl Inputs {
    /// Makes an empty one.
    pub(crate) fn new() -> io::Result<Self> {
        match rustix::fs::mkdir(INPUTS, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // A link there would lead the mount elsewhere.
        let directory = rustix::fs::open(INPUTS, flags, Mode::empty())?;
        let path = CString::new(format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(&directory)
        ))?;
        let plain = MountFlags::NOSUID | MountFlags::NODEV;
        mount(c"tmpfs", &path, c"tmpfs", plain, c"mode=0755")?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(INPUTS, flags, Mode::empty())?))
    }

    /// Makes a file in it.
    pub(crate) fn create(&self, name: &[u8]) -> io::Result<OwnedFd> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = CString::new(name)?;
        Ok(rustix::fs::openat(
            &self.0,
            &name,
            flags,
            Mode::from_raw_mode(0o644),
        )?)
    }

    /// Makes it read-only.
    pub(crate) fn seal(self) -> io::Result<()> {
        set_mount_attributes(self.0.as_fd(), READ_ONLY)
    }
}

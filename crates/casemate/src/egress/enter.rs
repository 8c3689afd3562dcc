//! Leaving this host but for its network: namespaces, an empty root, another user.

use std::{fs, io, os::fd::OwnedFd};

use casemate_sys::{Forked, Namespaces, clone_process, set_no_dump};
use rustix::{
    fs::{Gid, Mode, OFlags, Uid},
    mount::{
        MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_remount,
        unmount,
    },
    process::{Resource, Rlimit, Signal, chdir, getrlimit, pivot_root, setrlimit, setsid, umask},
    thread::{CapabilitySet, CapabilitySets, set_capabilities, set_keep_capabilities},
};

/// The user and group of processes of egress where there is a root to give them one: above all real ones, below those of sandboxes.
const EGRESS_ID: u32 = 0x6fff_0001;

/// Where the empty root is put together; any directory that every host has.
const STAGE: &std::ffi::CStr = c"/tmp";

/// The most bytes of a file that it writes, which is its log: a process that writes more is ended by the kernel.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {0}")]
pub(super) struct EnterError(&'static str, #[source] io::Error);

fn during<E: Into<io::Error>>(step: &'static str) -> impl Fn(E) -> EnterError {
    move |error| EnterError(step, error.into())
}

/// Keeps nothing of whoever started this process, and bounds what it may use.
pub(super) fn settle() -> Result<(), EnterError> {
    // A shell that started it has made it the leader of a group already, and then this changes nothing.
    let _ = setsid();
    chdir("/").map_err(during("leave the directory"))?;
    umask(Mode::RWXG | Mode::RWXO);
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).map_err(during("turn core dumps off"))?;
    let most = Rlimit {
        current: Some(MAX_FILE_BYTES),
        maximum: Some(MAX_FILE_BYTES),
    };
    setrlimit(Resource::Fsize, most).map_err(during("bound its log"))?;
    // Each connection takes two descriptors.
    let files = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: files.maximum,
        ..files
    };
    setrlimit(Resource::Nofile, most).map_err(during("allow more open files"))
}

/// Copies this process into namespaces of its own, with the host's network.
pub(super) fn copy() -> Result<Forked, EnterError> {
    let namespaces = match rustix::process::geteuid().is_root() {
        true => Namespaces::ALONE,
        false => Namespaces::ALONE_WITH_USERS,
    };
    clone_process(namespaces, None).map_err(during("make namespaces"))
}

/// Gives up every file of the host and every other process, and becomes another user if `user` is root. In the copy, which
/// dies with the process that it is a copy of.
pub(super) fn leave(user: u32, group: u32) -> Result<(), EnterError> {
    if user != 0 {
        map_users(user, group).map_err(during("map the user"))?;
    }
    empty_root().map_err(during("enter an empty root"))?;
    if user == 0 {
        become_user().map_err(during("become another user"))?;
    }
    // Not before: a change of user undoes both.
    set_no_dump().map_err(during("refuse to be looked into"))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(during("die with its parent"))
}

/// user_namespaces(7): oneself, and nobody else.
fn map_users(user: u32, group: u32) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

fn empty_root() -> rustix::io::Result<()> {
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(
        c"tmpfs",
        STAGE,
        c"tmpfs",
        flags,
        c"size=4k,nr_inodes=1,mode=0111",
    )?;
    chdir(STAGE)?;
    mount_remount(c".", MountFlags::BIND | MountFlags::RDONLY | flags, c"")?;
    // The old root is stacked on the new one, and falls off it.
    pivot_root(c".", c".")?;
    unmount(c".", UnmountFlags::DETACH)?;
    chdir("/")
}

/// Keeps the capabilities that it takes to give all of them up for good.
fn become_user() -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(EGRESS_ID), Gid::from_raw(EGRESS_ID));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    set_keep_capabilities(true)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    let kept = CapabilitySet::SETPCAP;
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets)
}

/// Standard input and output that lead nowhere. Errors go where they went.
pub(super) fn mute(null: &OwnedFd) -> Result<(), EnterError> {
    rustix::stdio::dup2_stdin(null).map_err(during("close standard input"))?;
    rustix::stdio::dup2_stdout(null).map_err(during("close standard output"))
}

/// Nothing to read and nowhere to write.
pub(super) fn null() -> Result<OwnedFd, EnterError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open("/dev/null", flags, Mode::empty()).map_err(during("open /dev/null"))
}

//! The first process under gVisor: there the kernel is a program of the sandbox's own, which the keeper started, and
//! nobody outside can take anything away from a process. So this one does it itself, before it says its first word.

use std::{env, fs, io, os::unix::fs::MetadataExt as _, path::Path};

use casemate_confine::restrict_unheard;
use casemate_sys::enter_user_namespace;
use rustix::{
    fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, chownat, openat},
    mount::{MountFlags, UnmountFlags, mount, unmount},
};

use crate::relay;

/// The user and the group that programs are, as in every sandbox.
const USER: u32 = 1000;

/// Becomes a user without privileges, gives up everything that can be given up, and serves as it does alone. Until then it
/// says on standard error what it cannot do.
pub(crate) fn serve() -> io::Result<()> {
    if let Err((step, error)) = prepare() {
        let text = format!("cannot {step}: {error}");
        let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
        return Err(error);
    }
    relay::serve()
}

fn prepare() -> Result<(), (&'static str, io::Error)> {
    let during = |step| move |error: io::Error| (step, error);
    limit_processes().map_err(during("limit processes"))?;
    disown_devices().map_err(during("give away /dev"))?;
    become_user().map_err(during("become a user"))?;
    restrict_unheard().map_err(|error| (error.step, error.source))?;
    check().map_err(during("be restricted"))?;
    silence().map_err(during("open /dev/null"))
}

/// gVisor's kernel counts processes in cgroups of its own, and nowhere else.
fn limit_processes() -> io::Result<()> {
    let most = env::args().nth(2).ok_or(io::ErrorKind::InvalidInput)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("none", CGROUP, "cgroup", flags, Some(c"pids"))?;
    let call = format!("{CGROUP}/call");
    rustix::fs::mkdir(&call, Mode::RWXU)?;
    write(&format!("{call}/pids.max"), &most)?;
    write(&format!("{call}/cgroup.procs"), "1")?;
    Ok(unmount(CGROUP, UnmountFlags::DETACH)?)
}

/// An empty directory, on which they are mounted for a moment.
const CGROUP: &str = "/run/empty";

/// gVisor's `/dev` is a file system in its own memory that has no limit, and it belongs to the user whom programs are:
/// nobody makes files in directories that belong to nobody.
fn disown_devices() -> io::Result<()> {
    let devices = Path::new(DEVICES);
    disown(devices)?;
    let file_system = fs::symlink_metadata(devices)?.dev();
    for entry in fs::read_dir(devices)? {
        let entry = entry?;
        let found = entry.metadata()?;
        // Whatever is mounted there is another one.
        if found.is_dir() && found.dev() == file_system {
            disown(&entry.path())?;
        }
    }
    Ok(())
}

const DEVICES: &str = "/dev";

fn disown(path: &Path) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(chownat(CWD, path, Some(user), Some(group), flags)?)
}

/// The user and the group that nobody is.
const NOBODY: u32 = 65_534;

/// Whether gVisor's kernel holds this process as it was told to: the keeper takes its first word for it.
fn check() -> io::Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| {
        let mut lines = status.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
    };
    let none = |name| field(name).is_some_and(|set| set.bytes().all(|digit| digit == b'0'));
    let restricted = ["CapInh", "CapPrm", "CapEff", "CapBnd"]
        .into_iter()
        .all(none)
        && field("Seccomp") == Some("2")
        && rustix::thread::no_new_privs()?
        && rustix::process::getuid().as_raw() == USER;
    if restricted {
        Ok(())
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

fn silence() -> io::Result<()> {
    let null = openat(
        CWD,
        "/dev/null",
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// The files of the sandbox belong to the user as whom gVisor runs, who is root to it. In a user namespace of gVisor's that
/// user is [`USER`], and has no privileges once they are given up.
fn become_user() -> io::Result<()> {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    enter_user_namespace()?;
    // Nobody can change groups who has no privilege in this namespace; builds that ask have the file.
    match write("/proc/self/setgroups", "deny") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        denied => denied?,
    }
    write("/proc/self/uid_map", &format!("{USER} {} 1", uid.as_raw()))?;
    write("/proc/self/gid_map", &format!("{USER} {} 1", gid.as_raw()))
}

fn write(path: &str, text: &str) -> io::Result<()> {
    let file = openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes())?;
    Ok(())
}

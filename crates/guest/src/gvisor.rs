//! The first process under gVisor: there the kernel is a program of the sandbox's own, which the keeper started, and
//! nobody outside can take anything away from a process. So this one does it itself, before it says its first word.

use std::io;

use casemate_confine::restrict_unheard;
use casemate_sys::enter_user_namespace;
use rustix::fs::{CWD, Mode, OFlags, openat};

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
    become_user().map_err(during("become a user"))?;
    restrict_unheard().map_err(|error| (error.step, error.source))?;
    silence().map_err(during("open /dev/null"))
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

//! What a process of ours keeps of whoever started it: nothing.

use anyhow::Context as _;
use casemate_sys::close_on_exec_from;
use rustix::{
    fs::Mode,
    process::{Resource, Rlimit, chdir, getrlimit, setrlimit, setsid, umask},
};

/// Leaves the session, the directory and the limits of whoever started this process; it dumps no core.
pub(crate) fn detach() -> anyhow::Result<()> {
    // A shell that started it has made it the leader of a group already, and then this changes nothing.
    let _ = setsid();
    chdir("/").context("cannot leave the directory")?;
    umask(Mode::RWXG | Mode::RWXO);
    // One byte and not none: the kernel takes none for as much as it likes when a program takes the dump.
    let one = Rlimit {
        current: Some(1),
        maximum: Some(1),
    };
    setrlimit(Resource::Core, one).context("cannot turn core dumps off")?;
    // A sandbox takes several descriptors, and there may be a thousand; what runs in one gets its own limit.
    let files = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: files.maximum,
        ..files
    };
    setrlimit(Resource::Nofile, most).context("cannot allow more open files")?;
    close_on_exec_from(3).context("cannot keep descriptors out of sandboxes")?;
    Ok(())
}

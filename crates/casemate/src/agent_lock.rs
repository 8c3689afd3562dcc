//! Who has something of agents open, so that none is deleted under anybody's feet.
//!
//! A gateway has the whole state directory. Whoever works beside it takes a lock of the kernel, which ends with its process: of all
//! agents to look through their databases, of one for its calls.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::hold::run_dir;

/// How often it is tried, and the pause between: ten seconds.
const POLLS: u32 = 500;
const PAUSE: Duration = Duration::from_millis(20);

/// Of which agents.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Agents<'a> {
    /// Any.
    All,
    /// This one. Taken with that of all held, which who deletes has alone: what it removed is not what another waits for.
    One(&'a str),
}

/// With whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum With {
    /// Others that use them.
    Others,
    /// Nobody.
    Nobody,
}

fn path(root: &Path, agents: Agents<'_>) -> PathBuf {
    let run = root.join("run");
    match agents {
        Agents::All => run.join("agents.lock"),
        Agents::One(name) => run.join(format!("agent-{name}.lock")),
    }
}

/// Takes the lock, unless another has it.
///
/// # Errors
/// When there is no such file.
pub(crate) fn try_lock(
    root: &Path,
    agents: Agents<'_>,
    with: With,
) -> anyhow::Result<Option<File>> {
    run_dir(root).map_err(|failure| anyhow::anyhow!("{failure}"))?;
    let path = path(root, agents);
    let cannot = || format!("cannot lock `{}`", path.display());
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path)
        .with_context(cannot)?;
    let locked = match with {
        With::Others => file.try_lock_shared(),
        With::Nobody => file.try_lock(),
    };
    match locked {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).with_context(cannot),
    }
}

/// Takes the lock, and waits for a while for whoever has it.
///
/// # Errors
/// When another has it for longer, and as [`try_lock`].
pub(crate) fn lock(root: &Path, agents: Agents<'_>, with: With) -> anyhow::Result<File> {
    for _ in 0..POLLS {
        if let Some(file) = try_lock(root, agents, with)? {
            return Ok(file);
        }
        sleep(PAUSE);
    }
    match with {
        With::Others => bail!("an agent is being deleted: try again"),
        With::Nobody => {
            bail!("the databases of agents are in use: a backup is made, or a call begins")
        }
    }
}

/// Removes the lock of an agent that is no more. Call it with both held alone.
pub(crate) fn remove(root: &Path, agent: &str) -> io::Result<()> {
    fs::remove_file(path(root, Agents::One(agent)))
}

//! As whom a keeper runs.

use std::{
    env,
    fs::{self, Permissions},
    io,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::PathBuf,
    process::Command,
};

use rustix::process::geteuid;
use tempfile::TempDir;

/// The name of the user who is nobody in particular.
pub(crate) const ORDINARY: &str = "as_a_user";

/// Any number: no account is needed.
const ORDINARY_ID: u32 = 60_001;

/// A user, and this executable in a place that the user can reach.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: &'static str,
    executable: PathBuf,
    become_id: Option<u32>,
}

impl User {
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        if let Some(id) = self.become_id {
            command.uid(id).gid(id);
        }
        command
    }
}

/// Every user that can be had here. The directory holds a copy of this executable, which must be complete
/// before anything is started: else the kernel finds it busy.
pub(crate) fn all() -> io::Result<(Vec<User>, TempDir)> {
    let directory = tempfile::tempdir()?;
    let own = env::current_exe()?;
    if !geteuid().is_root() {
        let ordinary = user(ORDINARY, own, None);
        return Ok((vec![ordinary], directory));
    }
    let copy = directory.path().join("escape");
    // A link is as good, where one can be made.
    fs::hard_link(&own, &copy).or_else(|_| fs::copy(&own, &copy).map(drop))?;
    for path in [directory.path(), &copy] {
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
    }
    let users = vec![
        user("as_root", own, None),
        user(ORDINARY, copy, Some(ORDINARY_ID)),
    ];
    Ok((users, directory))
}

const fn user(name: &'static str, executable: PathBuf, become_id: Option<u32>) -> User {
    User {
        name,
        executable,
        become_id,
    }
}

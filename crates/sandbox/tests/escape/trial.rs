//! One trial: this executable again, as some user, with a hard end.

use std::{
    env,
    fmt::Write as _,
    io::Read as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use libtest_mimic::Failed;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
    rand::{GetRandomFlags, getrandom},
};

use crate::{child, user::User};

/// After this the attempt has hung its keeper.
const MAX_TIME: Duration = Duration::from_secs(60);

/// Where an attempt runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a sandbox that is used once.
    Once,
    /// In such a sandbox with gVisor in it.
    InGvisor,
    /// In sessions, in every way that it can.
    InSessions,
}

impl Place {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::InGvisor => "in_gvisor",
            Self::InSessions => "in_sessions",
        }
    }
}

/// The attempt must be held.
pub(crate) fn held(name: &str, place: Place, user: &User) -> Result<(), Failed> {
    let mut command = user.command();
    match place {
        Place::Once => {}
        Place::InGvisor => {
            command.env(child::IN_GVISOR, "1");
        }
        Place::InSessions => {
            command.env(child::IN_SESSIONS, "1");
        }
    }
    match finish(command, name)? {
        (Some(child::HELD), _) => Ok(()),
        (Some(child::SKIPPED), why) => {
            let place = place.name();
            println!("{}::{place}::{name} skipped: {}", user.name, why.trim());
            Ok(())
        }
        (code, text) => Err(format!("the verdict was {code:?}: {text}").into()),
    }
}

/// The attempt, which does no harm, must get through where there is no sandbox.
pub(crate) fn got_through(name: &str, weakness: &str) -> Result<(), Failed> {
    let mut command = Command::new(env::current_exe()?);
    command.env(weakness, "1");
    match finish(command, name)? {
        (Some(child::GOT_THROUGH), _) => Ok(()),
        (code, text) => Err(format!("the verdict was {code:?}: {text}").into()),
    }
}

fn finish(mut command: Command, name: &str) -> Result<(Option<u8>, String), Failed> {
    let mut child = command
        .env(child::ATTEMPT, name)
        .env(child::SECRET, random_text()?)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    let in_time = ends_in_time(&child)?;
    if !in_time {
        child.kill()?;
    }
    let code = child.wait()?.code();
    let mut text = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut text)?;
    }
    if !in_time {
        write!(
            text,
            "its keeper still ran after {MAX_TIME:?} and was killed"
        )?;
    }
    Ok((code.and_then(|code| u8::try_from(code).ok()), text))
}

fn ends_in_time(child: &Child) -> Result<bool, Failed> {
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let most = Timespec::try_from(MAX_TIME)?;
    let ready = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&most))?;
    Ok(ready == 1)
}

fn random_text() -> Result<String, Failed> {
    let mut bytes = [0; 16];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

//! Keeper and identity, which live on when a gateway dies, and not when the server is stopped.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use tokio::time::{sleep, timeout};

use crate::{
    report,
    serve::{identity_socket, keeper_socket, who_listens},
};

/// How long one has: the keeper lets calls end for five seconds, and then ends every sandbox.
const END_TIMEOUT: Duration = Duration::from_secs(15);
const END_CHECK: Duration = Duration::from_millis(5);
/// More of them at one socket than there ever are.
const MOST: usize = 4;

fn sockets(root: &Path) -> [(&'static str, PathBuf); 2] {
    [
        ("keeper", keeper_socket(root)),
        ("identity", identity_socket(root)),
    ]
}

/// Those of the state directory at `root` that are there.
pub(super) fn found(root: &Path) -> Vec<Pid> {
    let found = sockets(root).into_iter();
    found
        .filter_map(|(name, socket)| listener(name, &socket))
        .collect()
}

/// Who listens there. Where that cannot be told, it is reported.
fn listener(name: &str, socket: &Path) -> Option<Pid> {
    match who_listens(socket) {
        Ok(pid) => pid.and_then(Pid::from_raw),
        Err(error) => {
            report::line(&format!("cannot tell whether the {name} is there: {error}"));
            None
        }
    }
}

/// Ends those of the state directory at `root` that are not spared, and waits for that.
pub(super) async fn end(root: &Path, spared: &[Pid]) {
    for (name, socket) in sockets(root) {
        for _ in 0..MOST {
            match listener(name, &socket) {
                Some(pid) if spared.contains(&pid) => break,
                Some(pid) => end_one(name, pid, &socket).await,
                None => break,
            }
        }
    }
}

async fn end_one(name: &str, pid: Pid, socket: &Path) {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    // Still the same: its number was not given to another before we had hold of it.
    if listener(name, socket) != Some(pid) {
        return;
    }
    // One that has ended meanwhile is as good.
    let _ = pidfd_send_signal(&process, Signal::TERM);
    if timeout(END_TIMEOUT, end_of(&process)).await.is_err() {
        report::line(&format!("the {name} does not end and is killed"));
        let _ = pidfd_send_signal(&process, Signal::KILL);
        drop(timeout(END_TIMEOUT, end_of(&process)).await);
    }
}

/// Waits for the end of a process that is nobody's child here.
async fn end_of(process: &OwnedFd) {
    let now = Timespec::default();
    while poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now)) == Ok(0) {
        sleep(END_CHECK).await;
    }
}

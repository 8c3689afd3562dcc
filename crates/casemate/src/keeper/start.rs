//! The gateway's side: finds the keeper of this user, and starts it when there is none.

use std::{
    fs::DirBuilder,
    io,
    os::unix::{fs::DirBuilderExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use anyhow::Context as _;
use casemate_transport::{RemoteKeeper, Start};

use crate::log_file::open_log;

/// The keeper of the state directory `state`: the one that is alive, or a new one. When it dies, the next request
/// starts another.
///
/// # Errors
/// When there is none and none can be started, or when whoever listens there is not this user.
pub(crate) async fn connect_or_start(state: &Path) -> anyhow::Result<RemoteKeeper> {
    let state = std::path::absolute(state).context("cannot find the state directory")?;
    let run = state.join("run");
    // Somebody else may have made it meanwhile; whose it is is checked when the socket is used.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&run);
    made.with_context(|| format!("cannot make `{}`", run.display()))?;
    let socket = run.join("keeper.sock");
    let starter = Starter {
        socket: socket.clone(),
        images: state.join("images"),
        log: run.join("keeper.log"),
        child: Mutex::new(None),
    };
    Ok(RemoteKeeper::connect_or_start(&socket, starter).await?)
}

/// Starts keepers, as processes that live on when this one ends.
#[derive(Debug)]
struct Starter {
    socket: PathBuf,
    images: PathBuf,
    log: PathBuf,
    /// The last one that was started here, so that the system can forget it when it ends.
    child: Mutex<Option<Child>>,
}

impl Start for Starter {
    fn start(&self) -> io::Result<()> {
        let mut last = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(child) = last.as_mut() {
            child.try_wait()?;
        }
        let log = open_log(&self.log)?;
        let child = Command::new("/proc/self/exe")
            .arg0("casemate")
            .args(["keeper", "--socket"])
            .arg(&self.socket)
            .arg("--images")
            .arg(&self.images)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        *last = Some(child);
        Ok(())
    }
}

//! Finding identity, and starting it where there is none.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use casemate_identity::Side;
use casemate_transport::{OursError, connect_ours};
use tokio::{
    net::UnixStream,
    time::{Instant, sleep},
};

use crate::log_file::open_log;

/// How often it is looked whether identity listens.
const START_POLL: Duration = Duration::from_millis(5);
/// How long it has to listen.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(10);

fn socket_in(state: &Path) -> anyhow::Result<PathBuf> {
    let state = std::path::absolute(state).context("cannot find the state directory")?;
    Ok(state.join("run").join("identity.sock"))
}

/// A connection to the identity of the state directory at `state`, for one side; where nobody listens, one is started.
///
/// # Errors
/// When none can be started, none listens in time, or somebody listens who is not this user.
pub(crate) async fn connect_or_start(state: &Path, side: Side) -> anyhow::Result<UnixStream> {
    let socket = socket_in(state)?;
    let run = socket.parent().unwrap_or(state);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(run);
    made.with_context(|| format!("cannot make `{}`", run.display()))?;
    let (began, mut started) = (Instant::now(), false);
    loop {
        match connect_ours(&socket).await {
            Ok(mut stream) => {
                let announced = side.announce(&mut stream).await;
                announced.context("identity does not listen")?;
                return Ok(stream);
            }
            Err(error @ OursError::Socket(_)) if began.elapsed() < START_TIMEOUT => {
                if !started {
                    start(state, &socket).context("cannot start identity")?;
                }
                started = true;
                drop(error);
                sleep(START_POLL).await;
            }
            Err(error @ OursError::Socket(_)) => {
                return Err(error).context(
                    "identity was started and does not listen; `run/identity.log` says why",
                );
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Starts one, and does not wait for it to listen. When several are started, one of them lives.
fn start(state: &Path, socket: &Path) -> anyhow::Result<()> {
    let state = std::path::absolute(state)?;
    let log = open_log(&socket.with_extension("log"))?;
    let mut child = Command::new("/proc/self/exe")
        .arg0("casemate")
        .args(["identity", "--socket"])
        .arg(socket)
        .arg("--state")
        .arg(state)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    // Whoever started it may go on for longer, and buries it.
    let waits = thread::Builder::new().name("identity".into());
    waits.spawn(move || drop(child.wait()))?;
    Ok(())
}

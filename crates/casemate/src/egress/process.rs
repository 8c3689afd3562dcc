//! One process of egress, for who started it.

use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream as StdUnixStream, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use casemate_model::one_line;
use casemate_ports::EgressError;
use casemate_transport::{
    RemoteEgress,
    lending::{self, Lender},
};
use tokio::{io::AsyncReadExt as _, net::UnixStream, time::timeout};

use super::Enforced;
use crate::{killed::Killed, log_file::open_log};

/// How long a process has from its start until it says what is in force.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of what it says.
const MAX_SAID_BYTES: usize = 16 * 1024;

/// A process of egress that lives, and is kept from what it must be. Dropped, it dies.
#[derive(Debug)]
pub(super) struct Process {
    child: Killed,
    pub(super) remote: RemoteEgress,
    /// By which connections to identity go to it.
    pub(super) lender: Arc<Lender>,
    pub(super) enforced: Enforced,
    pub(super) handover: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        // The next one has another name.
        let _ = fs::remove_file(&self.handover);
    }
}

impl Process {
    /// Starts one that takes sockets at `handover`, believes the authorities in `roots`, and writes its errors to `log`. Needs a
    /// tokio runtime, which attends to its ways out.
    ///
    /// # Errors
    /// When it cannot be started, does not begin in time, or is not kept from everything that it must be.
    pub(super) async fn start(
        handover: PathBuf,
        roots: &Path,
        log: &Path,
    ) -> Result<Self, EgressError> {
        let spawned = spawn(&handover, roots, log).map_err(|error| unavailable(&error))?;
        let (child, ours, lender) = spawned;
        let begun = timeout(START_TIMEOUT, begin(ours)).await;
        let begun = begun.map_err(|_| EgressError::Late("start".to_owned()))?;
        let (stream, enforced) = begun.map_err(|error| {
            EgressError::Unavailable(format!(
                "it did not start; its log says why: {}",
                one_line(&error)
            ))
        })?;
        if !enforced.is_whole() {
            return Err(EgressError::Refused(format!(
                "its process can do what it must not: {}",
                enforced.gaps()
            )));
        }
        Ok(Self {
            child,
            remote: RemoteEgress::connect(stream).await?,
            lender: Arc::new(lender),
            enforced,
            handover,
        })
    }

    /// One that serves at `remote`, for a test.
    #[cfg(test)]
    pub(super) fn of(child: std::process::Child, remote: RemoteEgress, handover: PathBuf) -> Self {
        let enforced = Enforced {
            user: 0,
            landlock: String::new(),
            tried: Vec::new(),
        };
        Self {
            child: Killed(child),
            remote,
            lender: Arc::new(lending::pair().unwrap().0),
            enforced,
            handover,
        }
    }

    /// Its number.
    pub(super) fn pid(&self) -> i32 {
        self.child.0.id().cast_signed()
    }

    /// Whether it ended because nobody needed it; nothing while it lives.
    pub(super) fn ended(&mut self) -> Option<bool> {
        match self.child.0.try_wait() {
            Ok(Some(status)) => Some(status.success()),
            Ok(None) if !self.remote.is_gone() => None,
            Ok(None) | Err(_) => Some(false),
        }
    }
}

fn unavailable(error: &io::Error) -> EgressError {
    EgressError::Unavailable(format!("it cannot be started: {}", one_line(error)))
}

fn spawn(handover: &Path, roots: &Path, log: &Path) -> io::Result<(Killed, StdUnixStream, Lender)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    let (lender, borrower) = lending::pair()?;
    let child = Command::new("/proc/self/exe")
        .arg0("casemate")
        .args(["egress", "--handover"])
        .arg(handover)
        .arg("--roots")
        .arg(roots)
        .env_clear()
        .current_dir("/")
        .stdin(OwnedFd::from(theirs))
        // Nothing is written there: by it connections come.
        .stdout(borrower)
        .stderr(open_log(log)?)
        .spawn()?;
    ours.set_nonblocking(true)?;
    Ok((Killed(child), ours, lender))
}

async fn begin(ours: StdUnixStream) -> io::Result<(UnixStream, Enforced)> {
    let mut stream = UnixStream::from_std(ours)?;
    let length = stream.read_u32().await?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_SAID_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut json = vec![0; length];
    stream.read_exact(&mut json).await?;
    Ok((stream, serde_json::from_slice(&json)?))
}

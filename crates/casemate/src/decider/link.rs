//! The connection to a decider: made when somebody asks, and made again, after a pause, when it was lost.

use std::{
    fs::DirBuilder,
    io,
    os::{
        fd::OwnedFd,
        unix::{
            fs::DirBuilderExt as _, net::UnixStream as StdUnixStream, process::CommandExt as _,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use casemate_decider::{ANSWER_MS, Decider, DeciderError};
use casemate_model::one_line;
use tokio::{
    net::UnixStream,
    sync::Mutex,
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::Reached;
use crate::{log_file::open_log, report};

/// How long it is not tried again after it could not be reached; twice as long after each further time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// But never longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Where programs are found that a decider starts.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    /// It cannot be started.
    #[error("the decider cannot be started")]
    Start(#[source] io::Error),
    /// Its socket cannot be connected to.
    #[error("the decider cannot be reached")]
    Connect(#[source] io::Error),
    /// Somebody else listens there.
    #[error("the socket of the decider is that of the user {0}, who is neither this one nor root")]
    Stranger(u32),
    /// It does not speak as it must.
    #[error("the decider does not begin")]
    Hello(#[from] DeciderError),
}

/// A connection that is there when it is needed, or is not.
#[derive(Debug)]
pub(super) struct Link {
    reached: Reached,
    run: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    live: Option<Live>,
    /// How often it failed in a row.
    failures: u32,
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Live {
    decider: Decider,
    driving: JoinHandle<()>,
    /// It dies with the connection.
    _program: Option<Killed>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

/// A child that dies with this value.
#[derive(Debug)]
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // One that has ended is only to be forgotten by the system.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Link {
    /// To `reached`, of the state directory at `root`.
    pub(super) fn new(reached: Reached, root: &Path) -> Self {
        Self {
            reached,
            run: root.join("run"),
            state: Mutex::default(),
        }
    }

    /// A connection, if there is one or can be one in time. Needs a tokio runtime, which attends to it.
    pub(super) async fn get(&self) -> Option<Decider> {
        let most = Duration::from_millis(ANSWER_MS);
        timeout(most, self.connected()).await.ok().flatten()
    }

    async fn connected(&self) -> Option<Decider> {
        let mut state = self.state.lock().await;
        if let Some(live) = state.live.take_if(|live| live.driving.is_finished()) {
            drop(live);
        } else if let Some(decider) = state.live.as_ref().map(|live| live.decider.clone()) {
            // It did not break at once.
            state.failures = 0;
            return Some(decider);
        }
        if state.not_before.is_some_and(|then| Instant::now() < then) {
            return None;
        }
        // Before it is tried: whoever waits for it may give up.
        let pause = FIRST_PAUSE.saturating_mul(1 << state.failures.min(10));
        state.not_before = Some(Instant::now() + pause.min(LONGEST_PAUSE));
        state.failures = state.failures.saturating_add(1);
        match self.connect().await {
            Ok(live) => {
                let decider = live.decider.clone();
                state.live = Some(live);
                Some(decider)
            }
            Err(error) => {
                report::line(&one_line(&error));
                None
            }
        }
    }

    async fn connect(&self) -> Result<Live, LinkError> {
        let (stream, program) = match &self.reached {
            Reached::Socket(path) => (connect(path).await?, None),
            Reached::Command(program, words) => {
                let (stream, program) = self.start(program, words).map_err(LinkError::Start)?;
                let stream = UnixStream::from_std(stream).map_err(LinkError::Start)?;
                (stream, Some(program))
            }
        };
        let (reader, writer) = stream.into_split();
        let (decider, driver) = Decider::connect(reader, writer).await?;
        let driving = tokio::spawn(async move {
            let ended = driver.run().await;
            report::line(&format!("the decider is lost: {}", one_line(&ended)));
        });
        Ok(Live {
            decider,
            driving,
            _program: program,
        })
    }

    fn start(&self, program: &Path, words: &[String]) -> io::Result<(StdUnixStream, Killed)> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.run)?;
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let child = Command::new(program)
            .args(words)
            .env_clear()
            .env("PATH", PATH)
            .current_dir("/")
            .stdin(OwnedFd::from(theirs.try_clone()?))
            .stdout(OwnedFd::from(theirs))
            .stderr(open_log(&self.run.join("decider.log"))?)
            // A signal to us is not one to it.
            .process_group(0)
            .spawn()?;
        Ok((ours, Killed(child)))
    }
}

async fn connect(path: &Path) -> Result<UnixStream, LinkError> {
    let stream = UnixStream::connect(path).await;
    let stream = stream.map_err(LinkError::Connect)?;
    let user = stream.peer_cred().map_err(LinkError::Connect)?.uid();
    match user == 0 || user == rustix::process::geteuid().as_raw() {
        true => Ok(stream),
        false => Err(LinkError::Stranger(user)),
    }
}

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
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use casemate_decider::{ANSWER_MS, Decider, DeciderError};
use casemate_model::one_line;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    sync::Mutex,
    task::{AbortHandle, JoinHandle},
    time::{Instant, timeout},
};

use super::Reached;
use crate::{killed::Killed, log_file::open_log, report};

/// How long it is not tried again after it could not be reached; twice as long after each further time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// But never longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// So often in a row it may not answer in time; then it is replaced.
const MAX_SILENT: u32 = 3;
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
    silent: Arc<AtomicU32>,
    driving: JoinHandle<()>,
    /// It dies with the connection.
    _program: Option<Killed>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

/// A connection, for one question.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) decider: Decider,
    /// How often in a row it did not answer in time.
    silent: Arc<AtomicU32>,
    driving: AbortHandle,
}

impl Linked {
    /// It has answered.
    pub(super) fn heard(&self) {
        self.silent.store(0, Ordering::Relaxed);
    }

    /// It has not answered in time. One that hangs is lost, and another is made for the next question.
    pub(super) fn unheard(&self) {
        if self.silent.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_SILENT {
            self.driving.abort();
        }
    }
}

impl Live {
    fn linked(&self) -> Linked {
        Linked {
            decider: self.decider.clone(),
            silent: Arc::clone(&self.silent),
            driving: self.driving.abort_handle(),
        }
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
    pub(super) async fn get(&self) -> Option<Linked> {
        let most = Duration::from_millis(ANSWER_MS);
        timeout(most, self.connected()).await.ok().flatten()
    }

    async fn connected(&self) -> Option<Linked> {
        let mut state = self.state.lock().await;
        if let Some(live) = state.live.take_if(|live| live.driving.is_finished()) {
            drop(live);
        } else if let Some(linked) = state.live.as_ref().map(Live::linked) {
            // It did not break at once.
            state.failures = 0;
            return Some(linked);
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
                let linked = live.linked();
                state.live = Some(live);
                Some(linked)
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
        begin(reader, writer, program).await
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

/// A connection on which both say hello.
async fn begin(
    reader: impl AsyncRead + Send + Unpin + 'static,
    writer: impl AsyncWrite + Send + Unpin + 'static,
    program: Option<Killed>,
) -> Result<Live, LinkError> {
    let (decider, driver) = Decider::connect(reader, writer).await?;
    let driving = tokio::spawn(async move {
        let ended = driver.run().await;
        report::line(&format!("the decider is lost: {}", one_line(&ended)));
    });
    Ok(Live {
        decider,
        silent: Arc::default(),
        driving,
        _program: program,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use casemate_model::DecisionId;
    use casemate_ports::{Advice, AdviceCode, ConsultedBody, ConsultedRequest, Decider as _};
    use serde_json::{Value, json};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split},
        time::sleep,
    };

    use super::*;
    use crate::decider::LinkedDecider;

    async fn read(end: &mut DuplexStream) -> Value {
        let bytes = end.read_u32().await.unwrap();
        let mut message = vec![0; bytes as usize];
        end.read_exact(&mut message).await.unwrap();
        serde_json::from_slice(&message).unwrap()
    }

    async fn say(end: &mut DuplexStream, message: Value) {
        let message = message.to_string();
        let length = u32::try_from(message.len()).unwrap();
        end.write_u32(length).await.unwrap();
        end.write_all(message.as_bytes()).await.unwrap();
    }

    /// A decider that has said hello, and its end. Another one cannot be reached.
    async fn world() -> (LinkedDecider, DuplexStream) {
        let (ours, mut theirs) = duplex(1 << 16);
        let (reader, writer) = split(ours);
        let hello = async {
            read(&mut theirs).await;
            let hello = json!({ "t": "hello", "proto": 1, "allowedDomains": ["a.example"], "deniedDomains": [] });
            say(&mut theirs, hello).await;
        };
        let (live, ()) = tokio::join!(begin(reader, writer, None), hello);
        let link = Link::new(
            Reached::Socket("/nowhere/dlp".into()),
            Path::new("/nowhere"),
        );
        link.state.lock().await.live = Some(live.unwrap());
        let name = "dlp".to_owned();
        (LinkedDecider { name, link }, theirs)
    }

    async fn ask(decider: &LinkedDecider) -> Result<(), AdviceCode> {
        let request = ConsultedRequest {
            decision: DecisionId::new(0, [1; 10]),
            method: "POST".to_owned(),
            host: "a.example".to_owned(),
            port: 443,
            server_name: None,
            path: "/".to_owned(),
            query: None,
            fields: Vec::new(),
            body: ConsultedBody::Whole(b"a".to_vec().into()),
        };
        match decider.consult(request).await.advice {
            Advice::Pass { .. } => Ok(()),
            Advice::Deny { code, .. } => Err(code),
        }
    }

    /// One that hangs is not asked for ever: whatever takes its place is. One that answers now and then stays.
    #[tokio::test(start_paused = true)]
    async fn a_decider_that_hangs_is_replaced() {
        let (decider, mut end) = world().await;
        let silent = Err(AdviceCode::TimedOut);
        for _ in 1..MAX_SILENT {
            assert_eq!(ask(&decider).await, silent);
            read(&mut end).await;
        }
        let answers = async {
            let id = read(&mut end).await["id"].clone();
            say(
                &mut end,
                json!({ "t": "verdict", "id": id, "action": "allow" }),
            )
            .await;
        };
        assert_eq!(tokio::join!(ask(&decider), answers).0, Ok(()));
        for _ in 0..MAX_SILENT {
            assert_eq!(ask(&decider).await, silent);
        }
        tokio::task::yield_now().await;
        assert_eq!(ask(&decider).await, Err(AdviceCode::Unavailable));
    }

    /// It has one time for its whole answer, whatever it asks for in between.
    #[tokio::test(start_paused = true)]
    async fn asking_for_the_body_takes_no_more_time() {
        let (decider, mut end) = world().await;
        let slow = Duration::from_millis(ANSWER_MS / 5 * 4);
        let answers = async {
            let id = read(&mut end).await["id"].clone();
            sleep(slow).await;
            say(
                &mut end,
                json!({ "t": "verdict", "id": id, "action": "need_body", "max": 9 }),
            )
            .await;
            read(&mut end).await;
            sleep(slow).await;
            say(
                &mut end,
                json!({ "t": "verdict", "id": id, "action": "allow" }),
            )
            .await;
        };
        let (said, ()) = tokio::join!(ask(&decider), answers);
        assert_eq!(said, Err(AdviceCode::TimedOut));
    }
}

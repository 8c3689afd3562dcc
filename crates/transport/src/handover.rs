//! Sockets of ways out, handed over once for each call: from the keeper, which made them, to whoever serves them.
//!
//! One connection is one handover: one message with the decision and the descriptors, and one byte back when they are
//! served. The receiver takes only what it was told to expect, and that once; whoever waits for the byte and does not get
//! it in time starts nothing.

mod receive;
mod wire;

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::net::UnixListener as StdUnixListener,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use casemate_model::DecisionId;
use casemate_ports::{BadSocket, HandsOver, NotServed, Way, WaySockets};
use tokio::{
    io::{AsyncReadExt as _, Interest},
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::{sleep, timeout},
};

pub use self::receive::{HandedOver, Served};
use crate::{
    limits::{ACCEPT_PAUSE, HANDOVER_TIMEOUT, MAX_EXPECTED, MAX_HANDOVERS, SERVED_TIMEOUT},
    peer::{PeerError, check_directory, check_peer, check_user},
};

/// Why sockets were not handed over, or not served.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nobody is there.
    #[error("cannot connect to `{path}`")]
    Connect {
        /// Where.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Somebody else is there, or others can be.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The message cannot be sent.
    #[error("cannot hand the sockets of a way out over")]
    Send(#[source] io::Error),
    /// They were refused, or whoever took them is gone.
    #[error("nobody serves the way out of {0}")]
    Refused(DecisionId),
    /// No answer in time.
    #[error("nobody served the way out of {0} in time")]
    Timeout(DecisionId),
}

/// Why nothing was handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// No connection can be accepted now.
    #[error("cannot accept a handover")]
    Accept(#[source] io::Error),
    /// It is somebody else.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The message cannot be read.
    #[error("cannot read a handover")]
    Read(#[source] io::Error),
    /// It is cut off, too long, or of another version.
    #[error("what was handed over is no whole message")]
    Message,
    /// What came along are not the sockets of a way out.
    #[error(transparent)]
    Sockets(#[from] BadSocket),
    /// It took too long.
    #[error("a handover was not there in time")]
    Timeout,
    /// Nobody expects it, or it was there before.
    #[error("nobody waits for the sockets of {0}")]
    Unexpected(DecisionId),
}

/// Hands `sockets` over at `path` and waits until they are served. They stay open here: whoever started to make them closes them.
///
/// # Errors
/// When nobody of this user is there, or does not serve them in time.
pub async fn send(
    path: &Path,
    decision: DecisionId,
    sockets: &WaySockets,
) -> Result<(), SendError> {
    check_directory(path)?;
    let handed = async {
        let connected = UnixStream::connect(path).await;
        let mut stream = connected.map_err(|source| SendError::Connect {
            path: path.to_owned(),
            source,
        })?;
        check_peer(&stream)?;
        let send = || wire::send(&stream, decision, &sockets.descriptors());
        let sent = stream.async_io(Interest::WRITABLE, send).await;
        sent.map_err(SendError::Send)?;
        let mut answer = [0];
        match stream.read_exact(&mut answer).await {
            Ok(_) if answer == wire::SERVED => Ok(()),
            _ => Err(SendError::Refused(decision)),
        }
    };
    let handed = timeout(SERVED_TIMEOUT, handed).await;
    handed.unwrap_or(Err(SendError::Timeout(decision)))
}

/// Hands over at the path that each call names.
#[derive(Clone, Copy, Debug)]
pub struct ToNamedSocket;

impl HandsOver for ToNamedSocket {
    fn hand_over<'a>(
        &'a self,
        way: &'a Way,
        sockets: &'a WaySockets,
    ) -> Pin<Box<dyn Future<Output = Result<(), NotServed>> + 'a>> {
        Box::pin(async move {
            let sent = send(&way.handover, way.decision, sockets).await;
            sent.map_err(|error| NotServed(error.into()))
        })
    }
}

/// Listens for handovers on `path`, in a directory of this user's with mode 0700. Whoever listened there before is taken for dead.
///
/// # Errors
/// When the directory is open to others, or the socket cannot be made.
pub fn listen(path: &Path) -> Result<StdUnixListener, crate::BindError> {
    check_directory(path)?;
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(crate::BindError::Remove {
                path: path.to_owned(),
                source,
            });
        }
        _ => {}
    }
    let listened = StdUnixListener::bind(path);
    listened.map_err(|source| crate::BindError::Listen {
        path: path.to_owned(),
        source,
    })
}

/// Where sockets of ways out arrive.
#[derive(Debug)]
pub struct Handover {
    listener: UnixListener,
    /// Whose keeper it is that is heard.
    user: u32,
    arriving: JoinSet<Result<HandedOver, HandoverError>>,
    expected: Expected,
}

/// The calls whose sockets may come. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Expected(Arc<Mutex<BTreeSet<DecisionId>>>);

/// More calls than can be expected at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_EXPECTED} calls wait for their ways out: no more can")]
pub struct TooManyExpected;

impl Expected {
    /// From now on the sockets of this call may come, once.
    ///
    /// # Errors
    /// When too many are waited for.
    pub fn expect(&self, decision: DecisionId) -> Result<(), TooManyExpected> {
        let mut all = self.all();
        if all.len() >= MAX_EXPECTED && !all.contains(&decision) {
            return Err(TooManyExpected);
        }
        all.insert(decision);
        Ok(())
    }

    /// They may not, whether they have come or not.
    pub fn forget(&self, decision: DecisionId) {
        self.take(decision);
    }

    fn take(&self, decision: DecisionId) -> bool {
        self.all().remove(&decision)
    }

    fn all(&self) -> MutexGuard<'_, BTreeSet<DecisionId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handover {
    /// Takes handovers of `user` from `listener`. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn new(listener: StdUnixListener, user: u32) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            user,
            arriving: JoinSet::new(),
            expected: Expected::default(),
        })
    }

    /// The calls whose sockets may come; none at first.
    #[must_use]
    pub fn expected(&self) -> Expected {
        self.expected.clone()
    }

    /// The next sockets. After an error there may be others: whoever sent what was refused is told by a closed connection.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// What was wrong with the next one.
    pub async fn next(&mut self) -> Result<HandedOver, HandoverError> {
        loop {
            let has_room = self.arriving.len() < MAX_HANDOVERS;
            tokio::select! {
                Some(arrived) = self.arriving.join_next() => {
                    let handed = match arrived {
                        Ok(arrived) => arrived?,
                        Err(_) => return Err(HandoverError::Message),
                    };
                    return match self.expected.take(handed.decision) {
                        true => Ok(handed),
                        false => Err(HandoverError::Unexpected(handed.decision)),
                    };
                }
                accepted = self.listener.accept(), if has_room => match accepted {
                    Ok((stream, _)) => {
                        let user = self.user;
                        self.arriving.spawn(async move {
                            check_user(&stream, user)?;
                            let received = timeout(HANDOVER_TIMEOUT, receive::receive(stream));
                            received.await.unwrap_or(Err(HandoverError::Timeout))
                        });
                    }
                    Err(error) => {
                        // There may be no descriptor left: not to be asked again at once.
                        sleep(ACCEPT_PAUSE).await;
                        return Err(HandoverError::Accept(error));
                    }
                },
            }
        }
    }
}

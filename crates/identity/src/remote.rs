//! The other end: identity in another process.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request as HttpRequest};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use crate::{
    ActionToken, Binding, Handle, LeaseId, Order, Rendered, Request, Tested,
    limits::{MAX_FIELD_BYTES, MAX_REPLY_BYTES, PROMPT_TIMEOUT, REPLY_TIMEOUT},
    wire::{Code, PATH, Question, Reply},
};

/// A token for one call.
#[derive(Debug)]
pub struct Issued {
    /// It.
    pub token: ActionToken,
    /// Whether the call may use a credential that is presented when a connection is made: that takes a connection for signatures.
    pub presents: bool,
}

/// A lease.
#[derive(Debug)]
pub struct Redeemed {
    /// Its name.
    pub lease: LeaseId,
    /// Its credentials that are presented when a connection is made.
    pub presents: Vec<Handle>,
}

/// Identity at the other end of a connection. Leases are this connection's, and end with it.
#[derive(Clone, Debug)]
pub struct RemoteIdentity {
    sender: SendRequest<Full<Bytes>>,
}

/// Why identity did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The connection broke, or is none.
    #[error("identity does not answer")]
    Http(#[from] hyper::Error),
    /// Nothing came in time.
    #[error("identity does not answer in time")]
    TimedOut,
    /// What came back is no answer.
    #[error("identity answers with something that is no answer")]
    Answer,
    /// The question cannot be written.
    #[error("identity cannot be asked")]
    Encode(#[from] serde_json::Error),
    /// The credential is not for this request.
    #[error("{0}")]
    Scope(String),
    /// The token is not good.
    #[error("{0}")]
    Token(String),
    /// The credential cannot be had.
    #[error("{0}")]
    Unavailable(String),
}

impl RemoteIdentity {
    /// Speaks over `stream`, whose other end was proven, and told which side this is. Needs a tokio runtime with time.
    ///
    /// # Errors
    /// When it does not speak HTTP/2.
    pub async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Self, RemoteError> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(MAX_FIELD_BYTES)
            .handshake(TokioIo::new(stream))
            .await?;
        // Why it broke is told to every question that was on it.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// Whether the connection is over.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.sender.is_closed()
    }

    /// Asks for a token for one call.
    ///
    /// # Errors
    /// When none is issued.
    pub async fn issue(&self, order: Order) -> Result<Issued, RemoteError> {
        match self.ask(&Question::Issue { order }).await? {
            Reply::Issued { token, presents } => Ok(Issued { token, presents }),
            other => Err(wrong(other)),
        }
    }

    /// Says that a person approved exactly this request of the call for which a token was asked here.
    ///
    /// # Errors
    /// When that is not noted: then it gets no credential.
    pub async fn approve(&self, request: Request) -> Result<(), RemoteError> {
        match self.ask(&Question::Approve { request }).await? {
            Reply::Done {} => Ok(()),
            other => Err(wrong(other)),
        }
    }

    /// Says that the agent of the call for which a token was asked here has been at a destination.
    ///
    /// # Errors
    /// When that is not noted: then it is a new one.
    pub async fn learn(&self, host: String, port: u16) -> Result<(), RemoteError> {
        match self.ask(&Question::Learn { host, port }).await? {
            Reply::Done {} => Ok(()),
            other => Err(wrong(other)),
        }
    }

    /// Redeems a token.
    ///
    /// # Errors
    /// When it is not good (any more).
    pub async fn redeem(
        &self,
        token: ActionToken,
        binding: Binding,
    ) -> Result<Redeemed, RemoteError> {
        match self.ask(&Question::Redeem { token, binding }).await? {
            Reply::Redeemed { lease, presents } => Ok(Redeemed { lease, presents }),
            other => Err(wrong(other)),
        }
    }

    /// Asks for what goes into one request.
    ///
    /// # Errors
    /// When there is nothing for it.
    pub async fn grant(&self, lease: LeaseId, request: Request) -> Result<Rendered, RemoteError> {
        match self.ask(&Question::Grant { lease, request }).await? {
            Reply::Granted { rendered } => Ok(rendered),
            other => Err(wrong(other)),
        }
    }

    /// The credentials of a lease that were taken back since it was given; nothing if the lease itself is over.
    ///
    /// # Errors
    /// When identity does not say: then all of them are.
    pub async fn lost(&self, lease: LeaseId) -> Result<Option<Vec<Handle>>, RemoteError> {
        match self.ask(&Question::Standing { lease }).await? {
            Reply::Standing { lost } => Ok(lost),
            other => Err(wrong(other)),
        }
    }

    /// Ends a lease.
    ///
    /// # Errors
    /// When identity does not answer; the end of the connection ends it, too.
    pub async fn end(&self, lease: LeaseId) -> Result<(), RemoteError> {
        match self.ask(&Question::End { lease }).await? {
            Reply::Done {} => Ok(()),
            other => Err(wrong(other)),
        }
    }

    /// Says that the secret of a credential was seen in an answer.
    ///
    /// # Errors
    /// When that is not noted.
    pub async fn reflected(&self, handle: Handle) -> Result<(), RemoteError> {
        match self.ask(&Question::Reflected { handle }).await? {
            Reply::Done {} => Ok(()),
            other => Err(wrong(other)),
        }
    }

    /// Asks whether a credential can be used.
    ///
    /// # Errors
    /// Why not.
    pub async fn test(&self, handle: Handle) -> Result<Tested, RemoteError> {
        match self.ask(&Question::Test { handle }).await? {
            Reply::Tested { tested } => Ok(tested),
            other => Err(wrong(other)),
        }
    }

    async fn ask(&self, question: &Question) -> Result<Reply, RemoteError> {
        let asked = timeout(patience(question), self.exchange(question)).await;
        asked.map_err(|_| RemoteError::TimedOut)?
    }

    async fn exchange(&self, question: &Question) -> Result<Reply, RemoteError> {
        let body = Full::new(Bytes::from(serde_json::to_vec(question)?));
        let mut request = HttpRequest::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = format!("http://identity{PATH}")
            .parse()
            .map_err(|_| RemoteError::Answer)?;
        let mut sender = self.sender.clone();
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let body = Limited::new(response.into_body(), MAX_REPLY_BYTES)
            .collect()
            .await;
        let body = body.map_err(|_| RemoteError::Answer)?.to_bytes();
        serde_json::from_slice(&body).map_err(|_| RemoteError::Answer)
    }
}

/// How long an answer may take.
const fn patience(question: &Question) -> Duration {
    match question {
        Question::Grant { .. } | Question::Test { .. } => REPLY_TIMEOUT,
        // This one waits for the lock of the store.
        Question::Reflected { .. } => REPLY_TIMEOUT,
        Question::Issue { .. }
        | Question::Approve { .. }
        | Question::Learn { .. }
        | Question::Redeem { .. }
        | Question::Standing { .. }
        | Question::End { .. } => PROMPT_TIMEOUT,
    }
}

fn wrong(reply: Reply) -> RemoteError {
    match reply {
        Reply::Refused {
            code: Code::Scope,
            why,
        } => RemoteError::Scope(why),
        Reply::Refused {
            code: Code::Token,
            why,
        } => RemoteError::Token(why),
        Reply::Refused {
            code: Code::Unavailable | Code::Question,
            why,
        } => RemoteError::Unavailable(why),
        _ => RemoteError::Answer,
    }
}

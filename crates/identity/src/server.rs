//! Identity's end of a connection.

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use casemate_model::one_line;
use http::{Method, Request as HttpRequest, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Mutex as Turns, OwnedMutexGuard, Semaphore},
    task::spawn_blocking,
    time::timeout,
};
use zeroize::Zeroizing;

use crate::{
    GrantError, Handle, Holder, Identity, Side,
    limits::{MAX_FIELD_BYTES, MAX_LOGINS, MAX_QUESTION_BYTES, MAX_STREAMS, QUESTION_TIMEOUT},
    signing,
    wire::{Code, PATH, Question, Reply},
};

/// Serves identity over streams of bytes, whose other ends were proven before. A clone is the same server.
#[derive(Clone)]
pub struct Server {
    identity: Arc<Identity>,
    connections: Arc<AtomicUsize>,
    next: Arc<AtomicU64>,
    /// Who waits for the token of a credential: one has a thread for that, and the others wait without one.
    waiting: Arc<Mutex<HashMap<Handle, Arc<Turns<()>>>>>,
    /// Places for logins that are being answered.
    logins: Arc<Semaphore>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

/// A connection. What it holds ends with it, however it ends.
struct Held {
    server: Server,
    holder: Holder,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.server.identity.leave(self.holder);
        self.server.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Server {
    /// A server of `identity`.
    #[must_use]
    pub fn new(identity: Arc<Identity>) -> Self {
        Self {
            identity,
            connections: Arc::default(),
            next: Arc::default(),
            waiting: Arc::default(),
            logins: Arc::new(Semaphore::new(MAX_LOGINS)),
        }
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Fetches the tokens that are due.
    pub async fn refresh_due(&self) {
        let identity = Arc::clone(&self.identity);
        // What cannot be fetched is said to whoever asks for it.
        let _ = spawn_blocking(move || identity.refresh_due()).await;
    }

    /// Serves one connection until it ends.
    pub async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let held = Held {
            server: self.clone(),
            holder: Holder(self.next.fetch_add(1, Ordering::SeqCst)),
        };
        let holder = held.holder;
        let Ok(Ok(side)) = timeout(QUESTION_TIMEOUT, Side::heard(&mut stream)).await else {
            return;
        };
        if side == Side::Signs {
            signing::serve(&self.identity, &mut stream).await;
            return;
        }
        let service = service_fn(|request: HttpRequest<Incoming>| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(holder, side, request).await) }
        });
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_FIELD_BYTES)
            .auto_date_header(false);
        // Why it broke is its other end's to say.
        let _ = builder
            .serve_connection(TokioIo::new(stream), service)
            .await;
        drop(held);
    }

    async fn answer(
        &self,
        holder: Holder,
        side: Side,
        request: HttpRequest<Incoming>,
    ) -> Response<Full<Bytes>> {
        let reply = match question(request).await {
            Ok(question) if !side.may_ask(&question) => refused(
                Code::Question,
                "this connection is not for such questions".to_owned(),
            ),
            Ok(question) => self.reply(holder, question).await,
            Err(why) => refused(Code::Question, why),
        };
        let mut bytes = Zeroizing::new(Vec::with_capacity(reply.room()));
        match serde_json::to_writer(&mut *bytes, &reply) {
            Ok(()) => Response::new(Full::new(Bytes::copy_from_slice(&bytes))),
            Err(_) => {
                let mut response = Response::default();
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                response
            }
        }
    }

    async fn reply(&self, holder: Holder, question: Question) -> Reply {
        let identity = Arc::clone(&self.identity);
        match question {
            Question::Issue { order } => {
                let mut handles = order.usages.iter().map(|usage| &usage.handle);
                let presents = handles.any(|handle| identity.is_presented(handle));
                match identity.issue(order, holder) {
                    Ok(token) => Reply::Issued { token, presents },
                    Err(error) => refused(Code::Unavailable, one_line(&error)),
                }
            }
            Question::Approve { request } => match identity.approve(request, holder) {
                Ok(()) => Reply::Done {},
                Err(error) => refused(Code::Scope, one_line(&error)),
            },
            Question::Learn { host, port } => {
                identity.learn(&host, port, holder);
                Reply::Done {}
            }
            Question::Redeem { token, binding } => {
                match identity.redeem(&token, &binding, holder) {
                    Ok(lease) => Reply::Redeemed {
                        presents: identity.presents(&lease, holder),
                        lease,
                    },
                    Err(error) => refused(Code::Token, one_line(&error)),
                }
            }
            Question::Grant { lease, request } => {
                let turn = self.turn(&request.handle).await;
                // Whoever had the turn before may have fetched it.
                // To answer a challenge takes time, too: as much as its destination says.
                let is_prompt = request.login.is_none() && identity.is_ready(&request.handle);
                let granted = if is_prompt {
                    Ok(identity.grant(&lease, holder, &request))
                } else {
                    let place = match request.login {
                        Some(_) => Arc::clone(&self.logins).acquire_owned().await.ok(),
                        None => None,
                    };
                    let grant = move || {
                        let _held = (turn, place);
                        identity.grant(&lease, holder, &request)
                    };
                    spawn_blocking(grant).await
                };
                match granted {
                    Ok(Ok(rendered)) => Reply::Granted { rendered },
                    Ok(Err(error @ GrantError::Scope(_))) => refused(Code::Scope, one_line(&error)),
                    Ok(Err(error)) => refused(Code::Unavailable, one_line(&error)),
                    Err(_) => refused(Code::Unavailable, "identity failed".into()),
                }
            }
            Question::Standing { lease } => Reply::Standing {
                lost: identity.lost(&lease, holder),
            },
            Question::End { lease } => {
                identity.end(&lease, holder);
                Reply::Done {}
            }
            Question::Reflected { handle } if !identity.had(holder, &handle) => {
                let why = "no lease of this connection had the credential".to_owned();
                refused(Code::Scope, why)
            }
            Question::Reflected { handle } => {
                // It waits for the lock of the store.
                match spawn_blocking(move || identity.reflected(&handle)).await {
                    Ok(Ok(())) => Reply::Done {},
                    Ok(Err(error)) => refused(Code::Unavailable, one_line(&error)),
                    Err(_) => refused(Code::Unavailable, "identity failed".into()),
                }
            }
            Question::Test { handle } => {
                let turn = self.turn(&handle).await;
                let test = move || {
                    let _turn = turn;
                    identity.test(&handle)
                };
                match spawn_blocking(test).await {
                    Ok(Ok(tested)) => Reply::Tested { tested },
                    Ok(Err(error)) => refused(Code::Unavailable, one_line(&error)),
                    Err(_) => refused(Code::Unavailable, "identity failed".into()),
                }
            }
        }
    }

    /// The turn to wait for the token of a credential, if there is none that can be used meanwhile.
    async fn turn(&self, handle: &Handle) -> Option<OwnedMutexGuard<()>> {
        if !self.identity.waits(handle) {
            return None;
        }
        let turns = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.retain(|_, turns| Arc::strong_count(turns) > 1);
            Arc::clone(waiting.entry(handle.clone()).or_default())
        };
        Some(turns.lock_owned().await)
    }
}

fn refused(code: Code, why: String) -> Reply {
    Reply::Refused { code, why }
}

async fn question(request: HttpRequest<Incoming>) -> Result<Question, String> {
    if request.method() != Method::POST || request.uri().path() != PATH {
        return Err(format!("identity is asked by POST {PATH} only"));
    }
    let body = Limited::new(request.into_body(), MAX_QUESTION_BYTES);
    let body = timeout(QUESTION_TIMEOUT, body.collect())
        .await
        .map_err(|_| "the question did not come in time".to_owned())?;
    let body = body.map_err(|_| {
        format!("the question has more than {MAX_QUESTION_BYTES} bytes, or was cut off")
    })?;
    // What is wrong with it is not repeated: it may hold a token.
    serde_json::from_slice(&body.to_bytes()).map_err(|_| "the question cannot be read".to_owned())
}

//! The half of the process that serves ways out.

use std::{collections::HashMap, convert::Infallible, sync::Arc};

use bytes::Bytes;
use casemate_ports::{
    Advice, AdviceCode, ConsultedRequest, Crossing, Egress, EgressError, HeldRequest, NotConsented,
    NotRecorded, Owner, Pending, ServedWay, WayRules, Witness,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use super::{
    AUTHORITY, Broken, MAX_ASKED_BYTES, MAX_CONSULTED, MAX_HELD, MAX_PENDING, MAX_WAITING, OPEN,
    QUESTION_TIMEOUT,
    frames::{Asked, Consulted, FromEgress, Head, Numbered, Said, ToEgress},
};
use crate::{
    body::{OutBody, Outbox, OutboxError},
    inbox::Inbox,
    limits::{PING_INTERVAL, PING_TIMEOUT},
    speak::answering,
};

/// The question for an authority.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfRules {
    pub(super) owner: Owner,
    pub(super) rules: WayRules,
}

/// Serves `egress` on `stream`, until that ends. Every way out that was opened by it ends then.
pub async fn serve_egress(
    egress: Arc<dyn Egress>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let egress = Arc::clone(&egress);
        async move { Ok::<_, Infallible>(answer(egress, request).await) }
    });
    let connection = answering(TokioExecutor::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // Why it broke is its other end's to say.
    let _ = connection.await;
}

async fn answer(egress: Arc<dyn Egress>, request: Request<Incoming>) -> Response<OutBody> {
    if request.method() != Method::POST {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    match request.uri().path() {
        AUTHORITY => {
            let Some(asked) = question::<OfRules>(request).await else {
                return status(StatusCode::BAD_REQUEST);
            };
            value(&egress.authority(&asked.owner, &asked.rules).await)
        }
        OPEN => {
            let (outbox, body) = OutBody::frames();
            let inbox = Inbox::new(request.into_body());
            tokio::spawn(async move {
                // Whoever does not hear why knows that it broke.
                let _ = live(egress, inbox, outbox).await;
            });
            Response::new(body)
        }
        _ => status(StatusCode::NOT_FOUND),
    }
}

fn status(status: StatusCode) -> Response<OutBody> {
    let mut response = Response::new(OutBody::whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn value<T: Serialize>(value: &T) -> Response<OutBody> {
    match serde_json::to_vec(value) {
        Ok(bytes) => Response::new(OutBody::whole(bytes.into())),
        Err(_) => status(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

async fn question<T: DeserializeOwned>(request: Request<Incoming>) -> Option<T> {
    let whole = Limited::new(request.into_body(), MAX_ASKED_BYTES).collect();
    let bytes = timeout(QUESTION_TIMEOUT, whole)
        .await
        .ok()?
        .ok()?
        .to_bytes();
    serde_json::from_slice(&bytes).ok()
}

/// What the other process is asked, and who waits for the answer.
#[derive(Debug)]
enum Question {
    Record(Box<Crossing>, oneshot::Sender<Said>),
    Consent(Box<HeldRequest>, oneshot::Sender<Said>),
    Consult(Box<ConsultedRequest>, oneshot::Sender<Advice>),
}

/// Who waits for an answer.
#[derive(Debug)]
enum Waiting {
    Said(oneshot::Sender<Said>),
    Advice(oneshot::Sender<Advice>),
}

/// Has records written by the other process.
#[derive(Debug)]
struct Remote {
    asked: mpsc::Sender<Question>,
    /// Room for those that wait for people.
    held: Semaphore,
    /// Room for those about which a program of the operator's is asked.
    consulted: Semaphore,
}

impl Remote {
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.asked.send(question(answer)).await.ok()?;
        answered.await.ok()
    }
}

impl Witness for Remote {
    fn record(&self, crossing: Crossing) -> Pending<'_, Result<(), NotRecorded>> {
        Box::pin(async move {
            let record = |answer| Question::Record(Box::new(crossing), answer);
            match self.ask(record).await {
                Some(Said::Yes) => Ok(()),
                Some(Said::No | Said::Unnoted) | None => Err(NotRecorded),
            }
        })
    }

    fn consent(&self, request: HeldRequest) -> Pending<'_, Result<(), NotConsented>> {
        Box::pin(async move {
            let _room = self.held.try_acquire().map_err(|_| NotConsented::Refused)?;
            let consent = |answer| Question::Consent(Box::new(request), answer);
            match self.ask(consent).await {
                Some(Said::Yes) => Ok(()),
                Some(Said::No) | None => Err(NotConsented::Refused),
                Some(Said::Unnoted) => Err(NotConsented::Unnoted),
            }
        })
    }

    fn consult(&self, request: ConsultedRequest) -> Pending<'_, Advice> {
        Box::pin(async move {
            // Never closed.
            let _room = self.consulted.acquire().await.ok();
            let consult = |answer| Question::Consult(Box::new(request), answer);
            self.ask(consult).await.unwrap_or(Advice::Deny {
                code: AdviceCode::Unavailable,
                status: None,
            })
        })
    }
}

/// The whole life of a way out.
async fn live(
    egress: Arc<dyn Egress>,
    mut inbox: Inbox<ToEgress>,
    outbox: Outbox,
) -> Result<(), Broken> {
    let first = timeout(QUESTION_TIMEOUT, inbox.next()).await;
    let Ok(Some(ToEgress::Head(head))) = first.map_err(|_| late())? else {
        return Err(unexpected());
    };
    let Head { owner, way } = *head;
    let (ask, asked) = mpsc::channel(MAX_PENDING);
    let witness = Remote {
        asked: ask,
        held: Semaphore::new(MAX_HELD),
        consulted: Semaphore::new(MAX_CONSULTED),
    };
    match egress.open(&owner, way, None, Arc::new(witness)).await {
        Ok(way) => {
            outbox.send(&FromEgress::Opened).await?;
            let closed = attend(way, asked, &mut inbox, &outbox).await?;
            outbox.send_last(&FromEgress::Closed(closed)).await?;
        }
        Err(error) => outbox.send_last(&FromEgress::Closed(Err(error))).await?,
    }
    Ok(())
}

/// Passes records on and orders in, until it is closed.
async fn attend(
    way: Box<dyn ServedWay>,
    mut asked: mpsc::Receiver<Question>,
    inbox: &mut Inbox<ToEgress>,
    outbox: &Outbox,
) -> Result<Result<(), EgressError>, Broken> {
    let mut way = Some(way);
    let mut closing: Option<Pending<'static, Result<(), EgressError>>> = None;
    // Lost, or revoked: whoever wanted its end need not be told of it.
    let mut is_over = false;
    let mut waiting = HashMap::new();
    let mut number = 0_u64;
    loop {
        tokio::select! {
            Some(question) = asked.recv(), if waiting.len() < MAX_WAITING => {
                number += 1;
                let (frame, answer) = numbered(number, question);
                match outbox.send(&frame).await {
                    Ok(()) => {
                        waiting.insert(number, answer);
                    }
                    // Nobody can be shown it: whoever waits hears that nobody answers.
                    Err(OutboxError::Frame(_)) if !matches!(frame, FromEgress::Record(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            frame = inbox.next() => match frame? {
                Some(ToEgress::Answer(given)) => {
                    let Some(Waiting::Said(answer)) = waiting.remove(&given.number) else {
                        return Err(unexpected());
                    };
                    // Whoever asked may not wait for it any more.
                    let _ = answer.send(given.said);
                }
                Some(ToEgress::Advised(advised)) => {
                    let Some(Waiting::Advice(answer)) = waiting.remove(&advised.number) else {
                        return Err(unexpected());
                    };
                    let _ = answer.send(advised.advice);
                }
                Some(ToEgress::Revoke) => {
                    is_over = true;
                    way.iter().for_each(|way| way.revoke());
                }
                Some(ToEgress::Close) => {
                    if let Some(way) = way.take() {
                        closing = Some(way.close());
                    }
                }
                Some(ToEgress::Head(_)) => return Err(unexpected()),
                None => return Err(Broken("the other end went away".to_owned())),
            },
            error = lost(&mut way), if !is_over => {
                is_over = true;
                outbox.send(&FromEgress::Lost(error)).await?;
            }
            closed = closed(&mut closing) => return Ok(closed),
        }
    }
}

fn numbered(number: u64, question: Question) -> (FromEgress, Waiting) {
    match question {
        Question::Record(crossing, answer) => {
            let crossing = *crossing;
            let record = FromEgress::Record(Box::new(Numbered { number, crossing }));
            (record, Waiting::Said(answer))
        }
        Question::Consent(request, answer) => {
            let ask = FromEgress::Ask(Box::new(Asked::new(number, *request)));
            (ask, Waiting::Said(answer))
        }
        Question::Consult(request, answer) => {
            let request = *request;
            let consult = FromEgress::Consult(Box::new(Consulted { number, request }));
            (consult, Waiting::Advice(answer))
        }
    }
}

async fn lost(way: &mut Option<Box<dyn ServedWay>>) -> EgressError {
    match way {
        Some(way) => way.lost().await,
        None => std::future::pending().await,
    }
}

async fn closed(
    closing: &mut Option<Pending<'static, Result<(), EgressError>>>,
) -> Result<(), EgressError> {
    match closing {
        Some(closing) => closing.await,
        None => std::future::pending().await,
    }
}

fn late() -> Broken {
    Broken("it did not say in time what is to be opened".to_owned())
}

fn unexpected() -> Broken {
    Broken("it sent a frame that nobody waits for".to_owned())
}

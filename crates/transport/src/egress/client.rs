//! The gateway's half.

use std::{
    future::{poll_fn, ready},
    sync::Arc,
    task::Poll,
};

use casemate_ports::{
    Advice, AdviceCode, Egress, EgressError, NewWay, Owner, Pending, ServedWay, WayAuthority,
    WayRules, WaySockets, Witness,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use super::{
    AUTHORITY, Broken, MAX_CONSULTED, MAX_HELD, MAX_PENDING, MAX_TOLD_BYTES, OPEN,
    frames::{Advised, Answer, Consulted, FromEgress, Head, Said, ToEgress},
    server::OfRules,
};
use crate::{
    body::{OutBody, Outbox},
    client::chain,
    inbox::Inbox,
    speak::{Sender, ask_over},
};

/// Orders that wait until the stream takes them: there are two.
const ORDERS: usize = 4;

/// Egress of another process. A clone shares its connection, which is not made anew: a process that is gone is gone with
/// everything in it.
#[derive(Clone, Debug)]
pub struct RemoteEgress {
    sender: Sender,
    /// Where ways out are attended to.
    runtime: Handle,
}

/// What is wanted of a way out.
#[derive(Clone, Copy, Debug)]
enum Order {
    Revoke,
    Close,
}

/// A way out that another process serves.
#[derive(Debug)]
struct RemoteWay {
    orders: mpsc::Sender<Order>,
    lost: watch::Receiver<Option<EgressError>>,
    closed: oneshot::Receiver<Result<(), EgressError>>,
}

impl RemoteEgress {
    /// That at the other end of `stream`. Needs a tokio runtime with time, which attends to its ways out.
    ///
    /// # Errors
    /// When the other end does not speak HTTP/2.
    pub async fn connect(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Self, EgressError> {
        let sender = ask_over(stream)
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(Self {
            sender,
            runtime: Handle::current(),
        })
    }

    /// Whether the other end is gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.sender.is_closed()
    }

    async fn send(&self, path: &str, body: OutBody) -> Result<Response<Incoming>, EgressError> {
        let uri = http::Uri::builder()
            .scheme("http")
            .authority("egress")
            .path_and_query(path);
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.build().map_err(|error| unavailable(&error))?;
        let mut sender = self.sender.clone();
        sender.ready().await.map_err(|error| unavailable(&error))?;
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| unavailable(&error))?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => Err(EgressError::Unavailable(format!(
                "it answered with the status {status}"
            ))),
        }
    }

    async fn ask(&self, asked: &OfRules) -> Result<WayAuthority, EgressError> {
        let asked = serde_json::to_vec(asked).map_err(|error| unavailable(&error))?;
        let response = self.send(AUTHORITY, OutBody::whole(asked.into())).await?;
        let whole = Limited::new(response.into_body(), MAX_TOLD_BYTES).collect();
        let bytes = whole.await.map_err(|error| unavailable(error.as_ref()))?;
        let told: Result<WayAuthority, EgressError> =
            serde_json::from_slice(&bytes.to_bytes()).map_err(|error| unavailable(&error))?;
        told
    }

    async fn begin(&self, head: Head, witness: Arc<dyn Witness>) -> Result<RemoteWay, EgressError> {
        let (outbox, body) = OutBody::frames();
        let head = ToEgress::Head(Box::new(head));
        let (response, sent) = tokio::join!(self.send(OPEN, body), outbox.send(&head));
        let mut inbox = Inbox::new(response?.into_body());
        sent.map_err(Broken::from)?;
        match inbox.next().await.map_err(Broken::from)? {
            Some(FromEgress::Opened) => {}
            Some(FromEgress::Closed(Err(error))) => return Err(error),
            _ => return Err(unexpected().into()),
        }
        let (orders, ordered) = mpsc::channel(ORDERS);
        let (lose, lost) = watch::channel(None);
        let (close, closed) = oneshot::channel();
        self.runtime.spawn(async move {
            let mut writing = JoinSet::new();
            let ended = attend(&witness, ordered, inbox, outbox, &lose, &mut writing).await;
            let ended = ended.unwrap_or_else(|broken| Err(broken.into()));
            if let Err(error) = &ended {
                lose.send_if_modified(|lost| lost.replace(error.clone()).is_none());
            }
            // Whatever egress was told or not: what is being written is written when this says how it ended.
            while writing.join_next().await.is_some() {}
            // Whoever dropped it does not wait.
            let _ = close.send(ended);
        });
        Ok(RemoteWay {
            orders,
            lost,
            closed,
        })
    }
}

impl Egress for RemoteEgress {
    fn authority<'a>(
        &'a self,
        owner: &'a Owner,
        rules: &'a WayRules,
    ) -> Pending<'a, Result<WayAuthority, EgressError>> {
        Box::pin(async move {
            let asked = OfRules {
                owner: owner.clone(),
                rules: rules.clone(),
            };
            self.ask(&asked).await
        })
    }

    fn open<'a>(
        &'a self,
        owner: &'a Owner,
        way: NewWay,
        sockets: Option<WaySockets>,
        witness: Arc<dyn Witness>,
    ) -> Pending<'a, Result<Box<dyn ServedWay>, EgressError>> {
        Box::pin(async move {
            if sockets.is_some() {
                let why = "sockets go to another process by a handover";
                return Err(EgressError::Refused(why.to_owned()));
            }
            let owner = owner.clone();
            let way = self.begin(Head { owner, way }, witness).await?;
            Ok(Box::new(way) as Box<dyn ServedWay>)
        })
    }
}

impl ServedWay for RemoteWay {
    fn lost(&mut self) -> Pending<'_, EgressError> {
        Box::pin(async move {
            match self.lost.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(error)) => error.clone(),
                _ => EgressError::Unavailable("nobody attends to it".to_owned()),
            }
        })
    }

    fn revoke(&self) {
        // When there is no room, it has been ordered already; when nobody takes it, it is over.
        let _ = self.orders.try_send(Order::Revoke);
    }

    fn close(self: Box<Self>) -> Pending<'static, Result<(), EgressError>> {
        Box::pin(async move {
            // If nobody takes it, it is over, and this says why.
            let _ = self.orders.send(Order::Close).await;
            let closed = self.closed.await;
            closed.unwrap_or_else(|_| {
                Err(EgressError::Unavailable("nobody attends to it".to_owned()))
            })
        })
    }
}

/// Has records written, and passes orders on, until it is closed.
async fn attend(
    witness: &Arc<dyn Witness>,
    mut orders: mpsc::Receiver<Order>,
    mut inbox: Inbox<FromEgress>,
    outbox: Outbox,
    lose: &watch::Sender<Option<EgressError>>,
    writing: &mut JoinSet<Answer>,
) -> Result<Result<(), EgressError>, Broken> {
    // Nobody consents any more when this ends.
    let mut asking = JoinSet::new();
    let mut consulting = JoinSet::new();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Revoke) => outbox.send(&ToEgress::Revoke).await?,
                Some(Order::Close) => outbox.send(&ToEgress::Close).await?,
                // Dropped: the stream is cut off, and with it the way out.
                None => return Err(Broken("it was dropped".to_owned())),
            },
            Some(written) = writing.join_next() => {
                let written = written.map_err(|_| Broken("a record was not written".to_owned()))?;
                outbox.send(&ToEgress::Answer(written)).await?;
            }
            Some(answered) = asking.join_next() => {
                let answered = answered.map_err(|_| Broken("nobody was asked".to_owned()))?;
                outbox.send(&ToEgress::Answer(answered)).await?;
            }
            Some(advised) = consulting.join_next() => {
                let advised = advised.map_err(|_| Broken("nobody was asked".to_owned()))?;
                outbox.send(&ToEgress::Advised(Box::new(advised))).await?;
            }
            frame = inbox.next(), if writing.len() < MAX_PENDING => match frame? {
                Some(FromEgress::Record(record)) => {
                    let witness = Arc::clone(witness);
                    let written = async move {
                        let written = witness.record(record.crossing).await;
                        Answer {
                            number: record.number,
                            said: written.into(),
                        }
                    };
                    begin(written, writing).await;
                }
                Some(FromEgress::Ask(asked)) => {
                    if asking.len() >= MAX_HELD {
                        // Whoever gave up waiting has not been forgotten here yet: it is no more than too many at once.
                        let refused = Answer {
                            number: asked.number,
                            said: Said::No,
                        };
                        outbox.send(&ToEgress::Answer(refused)).await?;
                        continue;
                    }
                    let number = asked.number;
                    let request = asked.request().ok_or_else(unexpected)?;
                    let witness = Arc::clone(witness);
                    asking.spawn(async move {
                        let consented = witness.consent(request).await;
                        Answer {
                            number,
                            said: consented.into(),
                        }
                    });
                }
                Some(FromEgress::Consult(consulted)) => {
                    let Consulted { number, request } = *consulted;
                    if consulting.len() >= MAX_CONSULTED {
                        let code = AdviceCode::Unavailable;
                        let advice = Advice::Deny { code, status: None };
                        let advised = Box::new(Advised { number, advice });
                        outbox.send(&ToEgress::Advised(advised)).await?;
                        continue;
                    }
                    let witness = Arc::clone(witness);
                    consulting.spawn(async move {
                        let advice = witness.consult(request).await;
                        Advised { number, advice }
                    });
                }
                Some(FromEgress::Lost(error)) => {
                    lose.send_if_modified(|lost| lost.replace(error).is_none());
                }
                Some(FromEgress::Closed(closed)) => return Ok(closed),
                Some(FromEgress::Opened) => return Err(unexpected()),
                None => return Err(Broken("it went away".to_owned())),
            },
        }
    }
}

/// Has one written. It is begun here: the end of a request comes after what says that it is sent, whatever task runs first.
async fn begin(
    written: impl Future<Output = Answer> + Send + 'static,
    writing: &mut JoinSet<Answer>,
) {
    let mut written = Box::pin(written);
    match poll_fn(|context| Poll::Ready(written.as_mut().poll(context))).await {
        Poll::Ready(answer) => writing.spawn(ready(answer)),
        Poll::Pending => writing.spawn(written),
    };
}

fn unexpected() -> Broken {
    Broken("it sent a frame that nobody waits for".to_owned())
}

fn unavailable(error: &dyn std::error::Error) -> EgressError {
    EgressError::Unavailable(chain(error))
}

//! The proxy: how connections come in, and what all of them share.

mod draft;
mod exchange;
mod flow;
mod http1;
mod http2;
mod incoming;
mod links;
mod opened;
mod platform;
mod postgres;
mod presenting;
mod reply;
mod splice;
mod stream;
mod tunnel;
mod upstream;
mod websocket;

use std::{fmt, future::Future, net::SocketAddr, pin::Pin, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

use self::{draft::Draft, exchange::Leg, stream::Io};
use crate::{
    Authority, Clock, Code, Denial, Entropy, Entry, Filters, Host, Injector, Judge, Origin, Pins,
    Placeholders, Recorder, Resolver, Route, Trust, TrustError, Vetting,
    authority::Leaves,
    dns::{Answer, Question},
    limits::{
        MAX_CALL_CONNECTIONS, MAX_CALL_HELD_BYTES, MAX_CALL_REQUESTS, MAX_CONNECTIONS,
        MAX_HELD_BODY_BYTES, MAX_REQUESTS,
    },
    trust::Dial,
};

/// What a proxy is made of.
#[derive(Debug)]
pub struct Parts {
    /// Who decides.
    pub judge: Arc<dyn Judge>,
    /// Who knows addresses.
    pub resolver: Arc<dyn Resolver>,
    /// Who has credentials.
    pub injector: Arc<dyn Injector>,
    /// Who gives placeholders for credentials, if anybody does.
    pub placeholders: Option<Arc<dyn Placeholders>>,
    /// What looks at answers.
    pub filters: Arc<dyn Filters>,
    /// Who keeps records.
    pub recorder: Arc<dyn Recorder>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where unpredictable bytes come from.
    pub entropy: Arc<dyn Entropy>,
    /// How addresses are judged.
    pub vetting: Vetting,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Whose certificates the sandbox believes.
    pub authority: Arc<Authority>,
    /// Paths of the proxy that stand for destinations.
    pub routes: Vec<Route>,
    /// The addresses that are made up for names.
    pub pins: Pins,
    /// What the proxies of one agent have together.
    pub room: Room,
}

/// Room for connections, for requests, and for bodies that are held to be judged, in bytes: what the proxies of one agent have
/// together. A clone is the same room.
#[derive(Clone, Debug)]
pub struct Room {
    connections: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    held: Arc<Semaphore>,
}

impl Default for Room {
    fn default() -> Self {
        Self::of(MAX_CONNECTIONS, MAX_REQUESTS, MAX_HELD_BODY_BYTES)
    }
}

impl Room {
    fn of(connections: usize, requests: usize, held: usize) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(connections)),
            requests: Arc::new(Semaphore::new(requests)),
            held: Arc::new(Semaphore::new(held)),
        }
    }

    /// What one call may have of it.
    fn share() -> Self {
        Self::of(MAX_CALL_CONNECTIONS, MAX_CALL_REQUESTS, MAX_CALL_HELD_BYTES)
    }
}

/// A place in the share of a call, and in the room of its agent.
pub(crate) struct Place {
    _share: OwnedSemaphorePermit,
    _room: OwnedSemaphorePermit,
}

impl Place {
    fn take(share: &Arc<Semaphore>, room: &Arc<Semaphore>) -> Option<Self> {
        Some(Self {
            _share: Arc::clone(share).try_acquire_owned().ok()?,
            _room: Arc::clone(room).try_acquire_owned().ok()?,
        })
    }

    /// The same, and waits for the share of the call.
    async fn wait(share: &Arc<Semaphore>, room: &Arc<Semaphore>) -> Option<Self> {
        Some(Self {
            _share: Arc::clone(share).acquire_owned().await.ok()?,
            _room: Arc::clone(room).try_acquire_owned().ok()?,
        })
    }
}

/// A proxy of one call. A clone is the same proxy.
#[derive(Clone)]
pub struct Proxy(Arc<Inner>);

pub(crate) struct Inner {
    judge: Arc<dyn Judge>,
    resolver: Arc<dyn Resolver>,
    injector: Arc<dyn Injector>,
    placeholders: Option<Arc<dyn Placeholders>>,
    filters: Arc<dyn Filters>,
    recorder: Arc<dyn Recorder>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    vetting: Vetting,
    dial: Dial,
    leaves: Leaves,
    routes: Vec<Route>,
    pins: Pins,
    reviews: watch::Sender<()>,
    /// What the call has for itself of the room of its agent.
    share: Room,
    room: Room,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

impl Proxy {
    /// A proxy of these parts.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(parts: Parts) -> Result<Self, TrustError> {
        Ok(Self(Arc::new(Inner {
            dial: parts.trust.dial(&parts.clock)?,
            leaves: Leaves::new(parts.authority, Arc::clone(&parts.clock))
                .map_err(TrustError::Setup)?,
            judge: parts.judge,
            resolver: parts.resolver,
            injector: parts.injector,
            placeholders: parts.placeholders,
            filters: parts.filters,
            recorder: parts.recorder,
            clock: parts.clock,
            entropy: parts.entropy,
            vetting: parts.vetting,
            routes: parts.routes,
            pins: parts.pins,
            reviews: watch::Sender::new(()),
            share: Room::share(),
            room: parts.room,
        })))
    }

    /// Serves a client that knows it speaks to a proxy: `CONNECT`, absolute URLs, base URLs. It ends with the
    /// connection, and the connection ends when this is dropped.
    pub async fn serve_proxy<S>(&self, stream: S, origin: Origin)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(_room) = self.enter(&origin, Entry::Connect).await else {
            return;
        };
        let leg = Leg::proxy(Arc::clone(&self.0), origin);
        Box::pin(http1::serve(Io::new(stream), Arc::new(leg))).await;
    }

    /// Serves a client that believes to be connected to `original`, an address that was made up for a name.
    pub async fn serve_transparent<S>(&self, stream: S, original: SocketAddr, origin: Origin)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(_room) = self.enter(&origin, Entry::Transparent).await else {
            return;
        };
        let host = match self.0.pins.name(original.ip()) {
            Some(name) => Host::Name(name),
            None => Host::Address(original.ip().to_canonical()),
        };
        let inner = Arc::clone(&self.0);
        Box::pin(tunnel::transparent(
            inner,
            Io::new(stream),
            host,
            original.port(),
            origin,
        ))
        .await;
    }

    /// Answers a DNS message: an address that leads here for a name that is allowed, no such name for any other. `None`
    /// for what is no question.
    pub async fn answer_dns(&self, message: &[u8], origin: &Origin) -> Option<Vec<u8>> {
        let question = Question::parse(message)?;
        let mut placeholders = self.0.placeholders.iter();
        if question.name.as_ref().is_ok_and(platform::is_named)
            && placeholders.any(|placeholders| placeholders.has_platform())
        {
            return Some(question.answer(Answer::Address(platform::ADDRESS)));
        }
        let admitted = question
            .name
            .clone()
            .map_err(Denial::from)
            .and_then(|name| {
                self.0.judge.resolves(&name, origin)?;
                Ok(name)
            });
        let (answer, denial) = match admitted {
            Ok(name) => match self.0.pins.pin(&name) {
                Some(address) => (Answer::Address(address), None),
                None => (Answer::Failure, Some(Code::TooMany.into())),
            },
            Err(denial) => (Answer::NoName, Some(denial)),
        };
        if let Some(denial) = denial
            && let Some(mut draft) = Draft::open(&self.0, origin.clone(), Entry::Dns)
        {
            // What is asked for may be meant to tell something: it is sealed, as a server name is.
            draft.record.server_name = question.name.as_ref().ok().map(ToString::to_string);
            draft.deny(&denial).await;
        }
        Some(question.answer(answer))
    }

    /// Asks about everything that is open whether it may go on, and closes what may not. To be called after rules
    /// changed.
    pub fn review(&self) {
        self.0.reviews.send_replace(());
    }

    /// The certificate that the sandbox must trust.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        self.0.leaves.authority()
    }

    /// How many connections there are, those of others in the same room too.
    #[must_use]
    pub fn connections(&self) -> usize {
        MAX_CONNECTIONS - self.0.room.connections.available_permits()
    }

    /// A place for one more connection, or a record that there was none.
    async fn enter(&self, origin: &Origin, entry: Entry) -> Option<Place> {
        let (share, room) = (&self.0.share, &self.0.room);
        if let Some(place) = Place::take(&share.connections, &room.connections) {
            return Some(place);
        }
        let mut draft = Draft::open(&self.0, origin.clone(), entry)?;
        draft.deny(&Code::TooMany.into()).await;
        None
    }
}

/// Ends when the right to something was taken back.
pub(crate) type Cut = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Inner {
    /// Ends when `rule` no longer stands; never, as long as it does.
    fn cut(&self, rule: String) -> Cut {
        let (judge, mut reviews) = (Arc::clone(&self.judge), self.reviews.subscribe());
        Box::pin(async move {
            while judge.stands(&rule) {
                if reviews.changed().await.is_err() {
                    return;
                }
            }
        })
    }
}

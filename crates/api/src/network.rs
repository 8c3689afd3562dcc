//! The interface over a network: TCP, with TLS wherever somebody else could listen.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr, TcpListener as StdTcpListener},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, body::Body};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    credential::Peer,
    limits::{
        HANDSHAKE_TIMEOUT_MS, HEAD_TIMEOUT_MS, MAX_CONNECTIONS_OF_ADDRESS, MAX_HEAD_BYTES,
        MAX_NETWORK_CONNECTIONS,
    },
    placed::Placed,
    refusals::Refused,
    routes::{Keeps, Remembers},
    state::Api,
};

/// How long to wait when the system has no descriptor for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why nobody is heard over a network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Credentials would be readable on the way.
    #[error("`{0}` can be reached from other hosts, and there is no TLS")]
    Readable(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// What was handed over is no socket on which somebody listens.
    #[error("what was handed over is no TCP socket that listens")]
    Given(#[source] io::Error),
}

/// Whether credentials would be readable on the way.
fn readable(address: SocketAddr, has_tls: bool) -> Result<(), NetworkError> {
    match has_tls || address.ip().is_loopback() {
        true => Ok(()),
        false => Err(NetworkError::Readable(address)),
    }
}

/// A port on which the gateway listens.
pub struct Network {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    room: Arc<Semaphore>,
    most: usize,
    addresses: Arc<Addresses>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

impl Network {
    /// Listens on `address`.
    ///
    /// # Errors
    /// When other hosts could reach it and there is no TLS, and when the system refuses.
    pub async fn bind(
        address: SocketAddr,
        tls: Option<rustls::ServerConfig>,
    ) -> Result<Self, NetworkError> {
        readable(address, tls.is_some())?;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| NetworkError::Listen { address, source })?;
        Ok(Self::on(listener, tls))
    }

    /// On a socket that somebody else listens on.
    ///
    /// # Errors
    /// When it is no such socket, and when other hosts could reach it and there is no TLS.
    pub fn given(socket: OwnedFd, tls: Option<rustls::ServerConfig>) -> Result<Self, NetworkError> {
        let listener = StdTcpListener::from(socket);
        let address = listener.local_addr().map_err(NetworkError::Given)?;
        readable(address, tls.is_some())?;
        let set = listener.set_nonblocking(true);
        let listener = set.and_then(|()| TcpListener::from_std(listener));
        Ok(Self::on(listener.map_err(NetworkError::Given)?, tls))
    }

    fn on(listener: TcpListener, tls: Option<rustls::ServerConfig>) -> Self {
        Self {
            listener,
            tls: tls.map(|config| TlsAcceptor::from(Arc::new(config))),
            room: Arc::new(Semaphore::new(MAX_NETWORK_CONNECTIONS)),
            most: MAX_NETWORK_CONNECTIONS,
            addresses: Arc::new(Addresses::of_at_most(MAX_CONNECTIONS_OF_ADDRESS)),
        }
    }

    /// The same, for at most so many connections at one time, and so many of one address.
    #[must_use]
    pub fn of_at_most(self, connections: usize, of_address: usize) -> Self {
        Self {
            room: Arc::new(Semaphore::new(connections)),
            most: connections,
            addresses: Arc::new(Addresses::of_at_most(of_address)),
            ..self
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves `router` until `stop` says so; then connections end when their requests have, those that were
    /// upgraded when their sockets do, and this with the last of them.
    pub async fn serve<K: Keeps, P: Remembers>(
        self,
        api: Arc<Api<K, P>>,
        router: Router,
        mut stop: watch::Receiver<()>,
    ) {
        loop {
            let room = Arc::clone(&self.room).acquire_owned();
            let accepted = async {
                let room = room.await;
                (room, self.listener.accept().await)
            };
            let (room, accepted) = tokio::select! {
                accepted = accepted => accepted,
                _ = stop.changed() => break,
            };
            let (Ok(room), Ok((stream, address))) = (room, accepted) else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // One address does not keep out the others.
            let Some(place) = Place::take(&self.addresses, address.ip(), room) else {
                continue;
            };
            let connection = Connection {
                api: Arc::clone(&api),
                router: router.clone(),
                address,
                stop: stop.clone(),
            };
            // Nobody waits for a handshake but its own connection.
            tokio::spawn(connection.run(stream, place, self.tls.clone()));
        }
        // Until every connection has given its place back.
        let all = u32::try_from(self.most).unwrap_or(u32::MAX);
        drop(self.room.acquire_many(all).await);
    }
}

/// How many connections each address has.
#[derive(Debug)]
struct Addresses {
    counts: Mutex<HashMap<IpAddr, usize>>,
    most: usize,
}

impl Addresses {
    fn of_at_most(most: usize) -> Self {
        Self {
            counts: Mutex::default(),
            most,
        }
    }
}

/// A connection's place among those that there may be.
struct Place {
    addresses: Arc<Addresses>,
    ip: IpAddr,
    _room: OwnedSemaphorePermit,
}

impl Place {
    fn take(addresses: &Arc<Addresses>, ip: IpAddr, room: OwnedSemaphorePermit) -> Option<Self> {
        let counts = addresses.counts.lock();
        let mut counts = counts.unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(ip).or_default();
        if *count >= addresses.most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Self {
            addresses: Arc::clone(addresses),
            ip,
            _room: room,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self
            .addresses
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.ip);
            }
        }
    }
}

/// One connection.
struct Connection<K: Keeps, P: Remembers> {
    api: Arc<Api<K, P>>,
    router: Router,
    address: SocketAddr,
    stop: watch::Receiver<()>,
}

impl<K: Keeps, P: Remembers> Connection<K, P> {
    async fn run(self, stream: TcpStream, place: Place, tls: Option<TlsAcceptor>) {
        // Small answers are not held back. A connection that is gone already says so when it is read.
        drop(stream.set_nodelay(true));
        // An upgraded connection is served no more from here, and has its place all the same.
        let stream = Placed::new(stream, place);
        let Some(tls) = tls else {
            return self.answer(stream, false, None).await;
        };
        let handshake = timeout(
            Duration::from_millis(HANDSHAKE_TIMEOUT_MS),
            tls.accept(stream),
        );
        match handshake.await {
            Ok(Ok(stream)) => {
                let chain = stream.get_ref().1.peer_certificates();
                let certificate = chain.and_then(|chain| chain.first());
                let certificate = certificate.map(|der| Arc::from(der.as_ref()));
                self.answer(stream, true, certificate).await;
            }
            Ok(Err(error)) => self.note(&error).await,
            Err(_) => {}
        }
    }

    /// Records a certificate that was not accepted. Whatever else goes wrong in a handshake is nobody who calls.
    async fn note(&self, error: &io::Error) {
        let error = error
            .get_ref()
            .and_then(|error| error.downcast_ref::<rustls::Error>());
        if let Some(error @ rustls::Error::InvalidCertificate(_)) = error {
            let peer = self.address.ip().to_string();
            self.api
                .note_refusal(Refused::certificate(&peer, error.to_string()))
                .await;
        }
    }

    async fn answer<S>(mut self, stream: S, tls: bool, certificate: Option<Arc<[u8]>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = Peer {
            address: self.address,
            tls,
            certificate,
        };
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            // Whatever a client sends, it cannot write here.
            request.extensions_mut().insert(peer.clone());
            router.call(request.map(Body::new))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_millis(HEAD_TIMEOUT_MS))
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            // How a connection broke is of no use to anybody here.
            _ = connection.as_mut() => {}
            _ = self.stop.changed() => {
                connection.as_mut().graceful_shutdown();
                drop(connection.await);
            }
        }
    }
}

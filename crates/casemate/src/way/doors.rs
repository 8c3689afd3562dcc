//! The sockets of one call, and whoever comes to them.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdTcpListener},
    sync::Arc,
    time::Duration,
};

use casemate_egress::{Origin, Proxy, limits::MAX_DNS_BYTES};
use casemate_ports::{EgressError, WaySockets};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};

/// How long nothing is accepted when this process has no more descriptors.
const BREATH: Duration = Duration::from_millis(50);
/// Connections that were accepted and wait for their turn.
const WAITING: usize = 16;
/// Questions for addresses over TCP at once, and how long each connection has for its next one.
const MAX_ASKERS: usize = 16;
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// How somebody came.
enum Arrival {
    /// To the proxy, knowing it.
    Proxy(TcpStream),
    /// Believing to be connected to this address.
    Transparent(TcpStream, SocketAddr),
    /// With questions for addresses.
    Questions(TcpStream),
}

/// The sockets of one call.
#[derive(Debug)]
pub(super) struct Doors {
    proxy: TcpListener,
    transparent: Vec<TcpListener>,
    questions: TcpListener,
    datagrams: UdpSocket,
}

impl Doors {
    /// Needs a tokio runtime.
    ///
    /// # Errors
    /// When a socket is not one that can be waited for.
    pub(super) fn open(sockets: WaySockets) -> io::Result<Self> {
        let listener = |listener: StdTcpListener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        sockets.dns.set_nonblocking(true)?;
        Ok(Self {
            proxy: listener(sockets.proxy)?,
            transparent: sockets
                .transparent
                .into_iter()
                .map(listener)
                .collect::<io::Result<_>>()?,
            questions: listener(sockets.dns_tcp)?,
            datagrams: UdpSocket::from_std(sockets.dns)?,
        })
    }

    /// Serves whoever comes, for ever. What is served goes on in `connections`.
    pub(super) async fn serve(
        self,
        proxy: &Proxy,
        origin: &Origin,
        connections: &mut JoinSet<()>,
    ) -> Result<(), EgressError> {
        let (arrive, mut arrivals) = mpsc::channel(WAITING);
        let mut porters = JoinSet::new();
        porters.spawn(admit(self.proxy, arrive.clone(), |stream| {
            Some(Arrival::Proxy(stream))
        }));
        for listener in self.transparent {
            porters.spawn(admit(listener, arrive.clone(), |stream| {
                let meant = stream.local_addr().ok()?;
                Some(Arrival::Transparent(stream, meant))
            }));
        }
        porters.spawn(admit(self.questions, arrive, |stream| {
            Some(Arrival::Questions(stream))
        }));
        porters.spawn(datagrams(self.datagrams, proxy.clone(), origin.clone()));
        let askers = Arc::new(Semaphore::new(MAX_ASKERS));
        loop {
            tokio::select! {
                Some(_) = connections.join_next() => {}
                arrival = arrivals.recv() => {
                    let (proxy, origin) = (proxy.clone(), origin.clone());
                    match arrival {
                        Some(Arrival::Proxy(stream)) => {
                            connections.spawn(async move { proxy.serve_proxy(stream, origin).await });
                        }
                        Some(Arrival::Transparent(stream, meant)) => {
                            connections.spawn(async move {
                                proxy.serve_transparent(stream, meant, origin).await;
                            });
                        }
                        Some(Arrival::Questions(stream)) => {
                            if let Ok(room) = Arc::clone(&askers).try_acquire_owned() {
                                connections.spawn(async move {
                                    let _room = room;
                                    // Whoever asks wrongly is hung up on.
                                    let _ = answers(stream, &proxy, &origin).await;
                                });
                            }
                        }
                        None => return Err(EgressError::Unavailable("its listeners broke".to_owned())),
                    }
                }
            }
        }
    }
}

/// Accepts connections, for ever.
async fn admit(
    listener: TcpListener,
    arrive: mpsc::Sender<Arrival>,
    as_what: impl Fn(TcpStream) -> Option<Arrival>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Some(arrival) = as_what(stream)
                    && arrive.send(arrival).await.is_err()
                {
                    return;
                }
            }
            Err(_) => tokio::time::sleep(BREATH).await,
        }
    }
}

/// Answers questions that come as datagrams, one after the other, for ever.
async fn datagrams(socket: UdpSocket, proxy: Proxy, origin: Origin) {
    let mut buffer = [0; MAX_DNS_BYTES];
    loop {
        let Ok((length, asker)) = socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        let message = buffer.get(..length).unwrap_or_default();
        if let Some(answer) = proxy.answer_dns(message, &origin).await {
            // Whoever does not take it asks again.
            let _ = socket.send_to(&answer, asker).await;
        }
    }
}

/// Answers the questions of one connection, each with its length in front of it.
async fn answers(mut stream: TcpStream, proxy: &Proxy, origin: &Origin) -> io::Result<()> {
    let mut buffer = [0; MAX_DNS_BYTES];
    loop {
        let length = timeout(ASK_TIMEOUT, stream.read_u16()).await??;
        let message = buffer
            .get_mut(..usize::from(length))
            .ok_or(io::ErrorKind::InvalidData)?;
        timeout(ASK_TIMEOUT, stream.read_exact(message)).await??;
        let answer = proxy.answer_dns(message, origin).await;
        let answer = answer.ok_or(io::ErrorKind::InvalidData)?;
        let length = u16::try_from(answer.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        timeout(ASK_TIMEOUT, async {
            stream.write_u16(length).await?;
            stream.write_all(&answer).await
        })
        .await??;
    }
}

//! The sockets of a way out, served: who comes to which is another kind of client.

use std::{io, pin::pin, sync::Arc, time::Duration};

use casemate_egress::{Origin, Proxy, limits::MAX_DNS_BYTES};
use casemate_ports::WaySockets;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};

/// How long nothing is accepted when this process has no more descriptors.
const BREATH: Duration = Duration::from_millis(50);
/// The most clients that ask for names over TCP at once; more are closed.
const MAX_ASKING: usize = 16;
/// How long such a client may take for its next question, or to take an answer.
const ASKING_TIMEOUT: Duration = Duration::from_secs(5);

/// The sockets of one way out.
#[derive(Debug)]
pub(super) struct Doors {
    proxy: TcpListener,
    transparent: Vec<TcpListener>,
    dns: UdpSocket,
    dns_tcp: TcpListener,
}

impl Doors {
    /// These, in the runtime of whoever calls.
    ///
    /// # Errors
    /// When one cannot be used.
    pub(super) fn new(sockets: WaySockets) -> io::Result<Self> {
        let transparent = sockets.transparent.into_iter().map(TcpListener::from_std);
        Ok(Self {
            proxy: TcpListener::from_std(sockets.proxy)?,
            transparent: transparent.collect::<Result<_, _>>()?,
            dns: UdpSocket::from_std(sockets.dns)?,
            dns_tcp: TcpListener::from_std(sockets.dns_tcp)?,
        })
    }

    /// Serves whoever comes, as clients of `origin`, until `stopped`. What is still open then is in `connections`.
    pub(super) async fn serve(
        self,
        proxy: &Proxy,
        origin: &Origin,
        connections: &mut JoinSet<()>,
        stopped: impl Future<Output = ()>,
    ) {
        let (client, mut clients) = mpsc::channel(1);
        let mut doors = JoinSet::new();
        doors.spawn(accept(self.proxy, client.clone(), Client::Knowing));
        for listener in self.transparent {
            doors.spawn(accept(listener, client.clone(), Client::Unknowing));
        }
        let asking = Arc::new(Semaphore::new(MAX_ASKING));
        doors.spawn(answer(self.dns, proxy.clone(), origin.clone()));
        doors.spawn(accept(self.dns_tcp, client, Client::Asking));
        let mut stopped = pin!(stopped);
        loop {
            tokio::select! {
                biased;
                () = &mut stopped => break,
                Some(_) = connections.join_next() => {}
                Some(client) = clients.recv() => {
                    connections.spawn(client.serve(proxy.clone(), origin.clone(), Arc::clone(&asking)));
                }
            }
        }
        // Nobody else comes in.
        doors.shutdown().await;
    }
}

/// Somebody who came.
enum Client {
    /// Somebody who knows of the proxy.
    Knowing(TcpStream),
    /// Somebody who believes to be connected to a destination.
    Unknowing(TcpStream),
    /// Somebody who asks for names.
    Asking(TcpStream),
}

async fn accept(
    listener: TcpListener,
    clients: mpsc::Sender<Client>,
    client: fn(TcpStream) -> Client,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if clients.send(client(stream)).await.is_err() {
                    return;
                }
            }
            Err(_) => sleep(BREATH).await,
        }
    }
}

impl Client {
    async fn serve(self, proxy: Proxy, origin: Origin, asking: Arc<Semaphore>) {
        match self {
            Self::Knowing(stream) => proxy.serve_proxy(stream, origin).await,
            Self::Unknowing(stream) => {
                // Every address is this network's own: this is the one that was connected to.
                if let Ok(original) = stream.local_addr() {
                    proxy.serve_transparent(stream, original, origin).await;
                }
            }
            Self::Asking(stream) => {
                // Whoever finds no room is closed: it is one program's own doing.
                if let Ok(_room) = asking.try_acquire_owned() {
                    drop(answer_stream(stream, &proxy, &origin).await);
                }
            }
        }
    }
}

/// Answers one question after the other. What is none has no answer.
async fn answer(socket: UdpSocket, proxy: Proxy, origin: Origin) {
    // A byte more than there may be shows what is too long.
    let mut question = [0; MAX_DNS_BYTES + 1];
    loop {
        let Ok((count, from)) = socket.recv_from(&mut question).await else {
            // Such as an answer that nobody took.
            sleep(BREATH).await;
            continue;
        };
        let question = question.get(..count).unwrap_or_default();
        if let Some(answer) = proxy.answer_dns(question, &origin).await {
            // Whoever has gone asks again, or does not.
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// The same over TCP: each message with its length in front.
async fn answer_stream(mut stream: TcpStream, proxy: &Proxy, origin: &Origin) -> io::Result<()> {
    loop {
        let mut question = [0; MAX_DNS_BYTES];
        let read = async {
            let count = usize::from(stream.read_u16().await?);
            let room = question
                .get_mut(..count)
                .ok_or(io::ErrorKind::InvalidData)?;
            stream.read_exact(room).await
        };
        let count = timeout(ASKING_TIMEOUT, read).await??;
        let question = question.get(..count).unwrap_or_default();
        let Some(answer) = proxy.answer_dns(question, origin).await else {
            return Ok(());
        };
        let Ok(length) = u16::try_from(answer.len()) else {
            return Ok(());
        };
        let message = [&length.to_be_bytes(), answer.as_slice()].concat();
        timeout(ASKING_TIMEOUT, stream.write_all(&message)).await??;
    }
}

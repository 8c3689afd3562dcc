//! The client's side of HTTP/1.1: one request after the other, each read strictly and answered whole.

mod write;

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncWriteExt as _, WriteHalf},
    sync::oneshot,
    time::timeout,
};

use self::write::{write_head, write_response};
use super::{
    exchange::{Leg, answer},
    incoming::{Incoming, Lent, Reader, Returned, Watch},
    reply::{Reply, empty, refusal},
    stream::Io,
    tunnel,
};
use crate::{
    Code, Denial, Destination, Entry, Scheme, Target,
    head::{Aim, Head},
    limits::{HEAD_TIMEOUT, IDLE_TIMEOUT},
};

/// Serves one connection until it ends, or becomes something else.
pub(crate) async fn serve(io: Io, leg: Arc<Leg>) {
    let (read, write) = tokio::io::split(io);
    let mut connection = Connection {
        reader: Reader::new(read),
        write,
        leg,
    };
    loop {
        connection = match connection.next().await {
            Next::Request(connection) => *connection,
            Next::Tunnel(io, target, leg) => {
                let (inner, origin) = (Arc::clone(&leg.inner), leg.origin.clone());
                return Box::pin(tunnel::intercept(inner, io, Entry::Connect, target, origin))
                    .await;
            }
            Next::Nothing => return,
        };
    }
}

struct Connection {
    reader: Reader,
    write: WriteHalf<Io>,
    leg: Arc<Leg>,
}

/// What a connection is for next.
enum Next {
    /// Another request may follow.
    Request(Box<Connection>),
    /// A tunnel to this.
    Tunnel(Io, Target, Arc<Leg>),
    Nothing,
}

impl Connection {
    /// Reads and answers one request.
    async fn next(mut self) -> Next {
        match timeout(IDLE_TIMEOUT, self.reader.begins()).await {
            Ok(true) => {}
            _ => return Next::Nothing,
        }
        let head = match timeout(HEAD_TIMEOUT, self.reader.head()).await {
            Ok(Ok(None)) => return Next::Nothing,
            Ok(Ok(Some(bytes))) => Head::parse(&bytes),
            Ok(Err(code)) => Err(code),
            Err(_) => Err(Code::Timeout),
        };
        match head {
            Ok(Head {
                aim: Aim::Tunnel { host, port },
                ..
            }) if self.leg.fixed.is_none() => {
                self.open(Target {
                    scheme: Scheme::Https,
                    host,
                    port,
                })
                .await
            }
            Ok(head) => self.exchange(head).await,
            Err(code) => {
                let reply = answer(&self.leg, Err(code), empty()).await;
                self.finish(reply, &Method::GET).await
            }
        }
    }

    /// Answers `CONNECT`: the destination is judged before the tunnel is open.
    async fn open(mut self, target: Target) -> Next {
        let inner = &self.leg.inner;
        let admitted = Destination::new(
            target.clone(),
            &self.leg.origin,
            inner.judge.as_ref(),
            &inner.vetting,
        );
        if let Err(denial) = admitted {
            let response = refuse(&self.leg, target, denial).await;
            return self
                .finish(Reply::Response(response), &Method::CONNECT)
                .await;
        }
        let established = b"HTTP/1.1 200 Connection Established\r\n\r\n";
        let written = async {
            self.write.write_all(established).await?;
            self.write.flush().await
        };
        if !matches!(timeout(IDLE_TIMEOUT, written).await, Ok(Ok(()))) {
            return Next::Nothing;
        }
        let (read, front) = self.reader.into_parts();
        let mut io = read.unsplit(self.write);
        io.front().unsplit(front);
        Next::Tunnel(io, target, self.leg)
    }

    /// Answers any other request.
    async fn exchange(self, head: Head) -> Next {
        let Self {
            reader,
            mut write,
            leg,
        } = self;
        let (method, persists, continues) = (head.method.clone(), head.persists, head.continues);
        let (body, lent) = Incoming::new(reader, head.length);
        let answering = Box::pin(answer(&leg, Ok(head), body.boxed_unsync()));
        let Some((reply, mut waiting)) = wait(answering, lent, &mut write, continues).await else {
            return Next::Nothing;
        };
        let response = match reply {
            Reply::Response(response) => response,
            Reply::Switch(switch) => {
                let Some(Returned {
                    reader,
                    at_end: true,
                }) = waiting.into_returned().await
                else {
                    return Next::Nothing;
                };
                let head = (StatusCode::SWITCHING_PROTOCOLS, switch.fields());
                if write_head(&mut write, head).await.is_ok() {
                    let (read, front) = reader.into_parts();
                    let mut io = read.unsplit(write);
                    io.front().unsplit(front);
                    Box::pin(switch.run(io)).await;
                }
                return Next::Nothing;
            }
        };
        let written = tokio::select! {
            written = write_response(&mut write, response, &method, persists) => written,
            () = waiting.hangup() => return Next::Nothing,
        };
        match waiting.into_returned().await {
            Some(Returned {
                reader,
                at_end: true,
            }) if written && persists => Next::Request(Box::new(Self { reader, write, leg })),
            // A body that was not read to its end is in the way of another request.
            Some(Returned {
                reader,
                at_end: false,
            }) if written => {
                let _ = timeout(IDLE_TIMEOUT, write.shutdown()).await;
                reader.linger().await;
                Next::Nothing
            }
            _ => Next::Nothing,
        }
    }

    /// Writes the answer to a head that was refused, after which nothing more is read.
    async fn finish(mut self, reply: Reply, method: &Method) -> Next {
        if let Reply::Response(response) = reply {
            write_response(&mut self.write, response, method, false).await;
            self.reader.linger().await;
        }
        Next::Nothing
    }
}

/// Refuses what was to be a tunnel.
async fn refuse(leg: &Leg, target: Target, denial: Denial) -> http::Response<super::reply::Body> {
    let Some(mut draft) = leg.draft() else {
        return refusal(&Code::RecordUnavailable.into(), None);
    };
    draft.record.entry = Entry::Connect;
    draft.record.method = Some(Method::CONNECT.to_string());
    draft.record.target = Some(target);
    draft.deny(&denial).await;
    refusal(&denial, Some(draft.record.decision))
}

/// The reader that a body has, and where it comes back.
struct Waiting {
    returned: Option<Returned>,
    back: oneshot::Receiver<Returned>,
    watch: Watch,
}

impl Waiting {
    /// The reader, when the body was read or given up.
    async fn returned(&mut self) -> Option<&mut Returned> {
        if self.returned.is_none() {
            self.returned = (&mut self.back).await.ok();
        }
        self.returned.as_mut()
    }

    /// The same, for good.
    async fn into_returned(mut self) -> Option<Returned> {
        timeout(IDLE_TIMEOUT, self.returned()).await.ok()??;
        self.returned
    }

    /// Ends when the client hangs up. While its body is read, that is the body's to see.
    async fn hangup(&mut self) {
        if self.returned.is_none() {
            tokio::select! {
                () = self.watch.hangup() => return,
                back = &mut self.back => self.returned = back.ok(),
            }
        }
        match &mut self.returned {
            Some(Returned {
                reader,
                at_end: true,
            }) => reader.hangup().await,
            _ => std::future::pending().await,
        }
    }
}

/// Waits for the answer, and lets the client go on with its body. `None` when the client hung up.
async fn wait(
    mut answering: impl Future<Output = Reply> + Unpin,
    lent: Lent,
    write: &mut WriteHalf<Io>,
    mut continues: bool,
) -> Option<(Reply, Waiting)> {
    let mut wanted = lent.wanted;
    let mut waiting = Waiting {
        returned: None,
        back: lent.back,
        watch: lent.watch,
    };
    loop {
        tokio::select! {
            biased;
            reply = &mut answering => return Some((reply, waiting)),
            wanted = &mut wanted, if continues => {
                continues = false;
                let go_on = (StatusCode::CONTINUE, HeaderMap::new());
                if wanted.is_ok() && write_head(write, go_on).await.is_err() {
                    return None;
                }
            }
            () = waiting.hangup() => return None,
        }
    }
}

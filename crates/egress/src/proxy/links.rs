//! The connections to destinations that belong to one client connection. No other client connection ever uses them, so
//! that what a credential opened stays with the request that it was for.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hyper::client::conn::{http1, http2};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::timeout,
};

use super::{Inner, draft::Draft, flow::Outgoing, upstream};
use crate::{
    ClientCertificate, Code, Destination, Target,
    limits::{MAX_LINKS, READY_TIMEOUT},
};

/// The connections of one client connection. They end with it.
pub(crate) struct Links {
    state: Mutex<State>,
    /// One connects at a time, so that the streams of one client find the connection that the first of them made.
    connecting: tokio::sync::Mutex<()>,
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    target: Option<Target>,
    addresses: Vec<IpAddr>,
    h2: Option<http2::SendRequest<Outgoing>>,
    idle: Vec<(http1::SendRequest<Outgoing>, OwnedSemaphorePermit)>,
    tasks: JoinSet<()>,
}

impl State {
    /// Moves the bytes of another connection. Those that have ended are forgotten: a client may have any number, one after the other.
    fn drive(&mut self, driver: upstream::Driver) {
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(driver);
    }
}

/// Whom a request can be given to.
pub(crate) enum Sender {
    Http1(Borrowed),
    Http2(http2::SendRequest<Outgoing>),
}

/// A connection to one of the vetted addresses of a destination.
pub(crate) struct Dialled {
    stream: TcpStream,
    room: OwnedSemaphorePermit,
}

/// A connection of HTTP/1.1 that one request has for itself.
pub(crate) struct Borrowed {
    pub(crate) sender: http1::SendRequest<Outgoing>,
    links: Arc<Links>,
    target: Target,
    room: OwnedSemaphorePermit,
    /// Whether nobody else may have it after that.
    is_used_up: bool,
}

impl Borrowed {
    /// Another request may have it, for the same destination.
    pub(crate) fn give_back(self) {
        let mut state = self.links.state();
        if !self.is_used_up
            && !self.sender.is_closed()
            && state.target.as_ref() == Some(&self.target)
        {
            state.idle.push((self.sender, self.room));
        }
    }
}

impl Links {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            room: Arc::new(Semaphore::new(MAX_LINKS)),
        }
    }

    /// A connection to `destination`: one that is there, or a new one after its addresses were vetted and its
    /// certificate verified.
    pub(crate) async fn reach(
        self: &Arc<Self>,
        inner: &Inner,
        destination: &Destination,
        offers_h2: bool,
        draft: &mut Draft,
    ) -> Result<Sender, Code> {
        let target = destination.target();
        if let Some(sender) = self.reuse(target, draft).await {
            return Ok(sender);
        }
        let _one = self.connecting.lock().await;
        if let Some(sender) = self.reuse(target, draft).await {
            return Ok(sender);
        }
        let room = Arc::clone(&self.room)
            .try_acquire_owned()
            .map_err(|_| Code::TooMany)?;
        // Most requests find a connection, and do not carry what it takes to make one.
        let connecting = upstream::connect(inner, destination, offers_h2, draft);
        let connected = Box::pin(connecting).await?;
        let mut state = self.state();
        state.drive(connected.driver);
        if state.target.as_ref() != Some(target) {
            state.idle.clear();
            state.h2 = None;
            state.target = Some(target.clone());
        }
        state.addresses.clone_from(&draft.record.addresses);
        Ok(match connected.sender {
            upstream::Sender::Http2(sender) => {
                state.h2 = Some(sender.clone());
                Sender::Http2(sender)
            }
            upstream::Sender::Http1(sender) => Sender::Http1(Borrowed {
                sender,
                links: Arc::clone(self),
                target: target.clone(),
                room,
                is_used_up: false,
            }),
        })
    }

    /// A new connection to `destination` for one request and for no other, after its addresses were vetted. Neither end has proven who it is.
    pub(crate) async fn dial(
        &self,
        inner: &Inner,
        destination: &Destination,
        draft: &mut Draft,
    ) -> Result<Dialled, Code> {
        let room = Arc::clone(&self.room)
            .try_acquire_owned()
            .map_err(|_| Code::TooMany)?;
        let stream = Box::pin(upstream::reach(inner, destination, draft)).await?;
        Ok(Dialled { stream, room })
    }

    /// Has `destination`, which was dialled, prove who it is, and presents `certificate` to it.
    pub(crate) async fn present(
        self: &Arc<Self>,
        inner: &Inner,
        destination: &Destination,
        Dialled { stream, room }: Dialled,
        certificate: ClientCertificate,
        draft: &mut Draft,
    ) -> Result<Sender, Code> {
        let presenting = upstream::present(inner, destination, stream, certificate, draft);
        let connected = Box::pin(presenting).await?;
        self.state().drive(connected.driver);
        match connected.sender {
            upstream::Sender::Http1(sender) => Ok(Sender::Http1(Borrowed {
                sender,
                links: Arc::clone(self),
                target: destination.target().clone(),
                room,
                is_used_up: true,
            })),
            // It was not offered.
            upstream::Sender::Http2(_) => Err(Code::UpstreamProtocol),
        }
    }

    async fn reuse(self: &Arc<Self>, target: &Target, draft: &mut Draft) -> Option<Sender> {
        loop {
            let (mut sender, room) = {
                let mut state = self.state();
                if state.target.as_ref() != Some(target) {
                    return None;
                }
                draft.record.addresses.clone_from(&state.addresses);
                if let Some(h2) = state.h2.as_ref().filter(|h2| !h2.is_closed()) {
                    return Some(Sender::Http2(h2.clone()));
                }
                state.idle.pop()?
            };
            // It may still have to see the end of the last answer; if it has none, it is of no use.
            if matches!(timeout(READY_TIMEOUT, sender.ready()).await, Ok(Ok(()))) {
                return Some(Sender::Http1(Borrowed {
                    sender,
                    links: Arc::clone(self),
                    target: target.clone(),
                    room,
                    is_used_up: false,
                }));
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I15: however many connections a client had, one after the other, nothing is kept of those that have ended.
    #[tokio::test]
    async fn what_has_ended_is_forgotten() {
        let links = Links::new();
        for _ in 0..100 {
            links.state().drive(Box::pin(async {}));
            tokio::task::yield_now().await;
        }
        assert!(links.state().tasks.len() <= 2);
        // Those that go on are kept.
        for _ in 0..3 {
            links.state().drive(Box::pin(std::future::pending()));
            tokio::task::yield_now().await;
        }
        assert_eq!(links.state().tasks.len(), 3);
    }
}

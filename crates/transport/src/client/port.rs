//! A connection to a port of a session.

use bytes::Bytes;
use casemate_ports::{CHANNEL_CAPACITY, Connection, KeeperError};
use tokio::sync::mpsc;

use super::{RemoteKeeper, head, place::out_of_turn, running::Outflow, unavailable};
use crate::{
    body::{OutBody, Outbox},
    from_keeper::FromKeeper,
    inbox::Inbox,
    route::{OfPort, Route},
    to_keeper::ToKeeper,
};

pub(super) async fn open(keeper: &RemoteKeeper, of: OfPort) -> Result<Connection, KeeperError> {
    let stream = keeper.long_stream()?;
    let head = ToKeeper::Head(head(&of)?);
    let (outbox, body) = OutBody::frames();
    outbox
        .send(&head)
        .await
        .map_err(|error| unavailable(&error))?;
    let response = keeper.send(&keeper.0.home, Route::Connect, body).await?;
    let inbox = Inbox::new(response.into_body());
    let (to, to_send) = mpsc::channel(CHANNEL_CAPACITY);
    let (received, from) = mpsc::channel(CHANNEL_CAPACITY);
    let pump = Pump {
        outflow: Outflow::default(),
        to: to_send,
        from: Some(received),
        waiting: None,
    };
    keeper.0.home.runtime.spawn(async move {
        let _stream = stream;
        // Both channels close when the connection is lost, and say so by that.
        let _ = pump.both_ways(inbox, outbox).await;
    });
    Ok(Connection { to, from })
}

/// What is on its way in either direction.
struct Pump {
    outflow: Outflow,
    to: mpsc::Receiver<Vec<u8>>,
    from: Option<mpsc::Sender<Vec<u8>>>,
    /// Bytes for which their reader has no room yet; nothing more is heard until it has.
    waiting: Option<Bytes>,
}

/// What happened next.
enum Step {
    /// Something waiting went on its way.
    Done,
    Heard(FromKeeper),
    Bytes(Option<Vec<u8>>),
    HungUp,
}

impl Pump {
    /// Carries bytes both ways until both have ended, or the reader hangs up; then the stream is dropped, and the connection with it.
    async fn both_ways(
        mut self,
        mut inbox: Inbox<FromKeeper>,
        outbox: Outbox,
    ) -> Result<(), KeeperError> {
        while !self.outflow.is_ended() || self.from.is_some() {
            match self.next(&mut inbox, &outbox).await? {
                Step::Done => {}
                Step::Heard(FromKeeper::Data(bytes)) => self.waiting = Some(bytes),
                Step::Heard(FromKeeper::Room) => self.outflow.more_room(),
                Step::Heard(FromKeeper::StdinClosed) => {
                    self.outflow.close();
                    self.to.close();
                }
                Step::Heard(FromKeeper::End) => self.from = None,
                Step::HungUp => return Ok(()),
                Step::Heard(frame) => return Err(out_of_turn(frame)),
                Step::Bytes(bytes) => self.outflow.put(bytes),
            }
        }
        Ok(())
    }

    /// Waits for what happens next. Cancel-safe: whatever was taken is in the step.
    async fn next(
        &mut self,
        inbox: &mut Inbox<FromKeeper>,
        outbox: &Outbox,
    ) -> Result<Step, KeeperError> {
        let Self {
            outflow,
            to,
            from,
            waiting,
        } = self;
        Ok(tokio::select! {
            frame = inbox.next(), if waiting.is_none() => match frame? {
                Some(frame) => Step::Heard(frame),
                None => return Err(KeeperError::Unavailable("it broke off".into())),
            },
            room = reserve(from.as_ref()), if waiting.is_some() => match (room, waiting.take()) {
                (Some(room), Some(bytes)) => {
                    room.send(bytes.into());
                    Step::Done
                }
                _ => Step::HungUp,
            },
            () = closed(from.as_ref()) => Step::HungUp,
            bytes = to.recv(), if outflow.wants() => Step::Bytes(bytes),
            room = outbox.room(), if outflow.is_due() => {
                let room = room.map_err(|error| unavailable(&error))?;
                if let Some(frame) = outflow.frame() {
                    room.send(&frame).map_err(|error| unavailable(&error))?;
                }
                Step::Done
            }
        })
    }
}

async fn reserve(from: Option<&mpsc::Sender<Vec<u8>>>) -> Option<mpsc::Permit<'_, Vec<u8>>> {
    match from {
        Some(from) => from.reserve().await.ok(),
        None => None,
    }
}

async fn closed(from: Option<&mpsc::Sender<Vec<u8>>>) {
    match from {
        Some(from) => from.closed().await,
        None => std::future::pending().await,
    }
}

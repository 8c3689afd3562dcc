//! A connection to a port of a session: bytes both ways, each at its reader's pace.

use std::collections::VecDeque;

use bytes::Bytes;
use casemate_ports::{Connection, SessionKeeper};
use tokio::{
    sync::mpsc::{self, OwnedPermit},
    task::spawn_local,
};

use super::{
    Counted, Server,
    inflow::Inflow,
    request::{head, unexpected},
};
use crate::{
    body::{OutBody, Outbox},
    fault::Fault,
    from_keeper::FromKeeper,
    inbox::Inbox,
    limits::MAX_DATA_BYTES,
    route::OfPort,
    to_keeper::ToKeeper,
};

/// Connects, and answers with what the program says.
pub(super) async fn open<K: SessionKeeper + 'static>(
    server: Server<K>,
    counted: Counted,
    mut inbox: Inbox<ToKeeper>,
) -> Result<OutBody, Fault> {
    let OfPort {
        session,
        owner,
        port,
    } = head(&mut inbox).await?;
    let connection = server.keeper.connect(session, owner, port).await?;
    let (outbox, body) = OutBody::frames();
    spawn_local(async move {
        let _counted = counted;
        let watched = outbox.clone();
        tokio::select! {
            () = watched.closed() => {}
            () = live(connection, inbox, outbox) => {}
        }
    });
    Ok(body)
}

async fn live(connection: Connection, inbox: Inbox<ToKeeper>, outbox: Outbox) {
    let mut pump = Pump {
        to: Inflow::new(connection.to),
        from: Some(connection.from),
        due: VecDeque::new(),
    };
    // If nobody takes it, nobody is left to tell.
    let _ = match pump.both_ways(inbox, &outbox).await {
        Ok(()) => outbox.end().await,
        Err(fault) => outbox.send_last(&FromKeeper::Failed(fault)).await,
    };
}

struct Pump {
    to: Inflow,
    from: Option<mpsc::Receiver<Vec<u8>>>,
    due: VecDeque<FromKeeper>,
}

impl Pump {
    async fn both_ways(
        &mut self,
        mut inbox: Inbox<ToKeeper>,
        outbox: &Outbox,
    ) -> Result<(), Fault> {
        while self.to.is_open() || self.from.is_some() || !self.due.is_empty() {
            let Self { to, from, due } = self;
            tokio::select! {
                room = outbox.room(), if !due.is_empty() => {
                    let room = room.map_err(|error| Fault::Protocol(error.to_string()))?;
                    if let Some(frame) = due.pop_front() {
                        room.send(&frame)?;
                    }
                }
                bytes = receive(from), if due.is_empty() => self.said(bytes),
                frame = inbox.next(), if to.is_open() => match frame? {
                    Some(ToKeeper::Data(bytes)) => to.take(bytes)?,
                    Some(ToKeeper::End) => to.close(),
                    Some(_) => return Err(unexpected()),
                    None => return Err(Fault::CutOff),
                },
                permit = to.more_room() => self.room(permit),
            }
        }
        Ok(())
    }

    fn said(&mut self, bytes: Option<Vec<u8>>) {
        let Some(bytes) = bytes else {
            self.from = None;
            self.due.push_back(FromKeeper::End);
            return;
        };
        let mut rest = Bytes::from(bytes);
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(MAX_DATA_BYTES));
            self.due.push_back(FromKeeper::Data(piece));
        }
    }

    fn room(&mut self, permit: Option<OwnedPermit<Vec<u8>>>) {
        match permit {
            Some(permit) => {
                self.to.add(permit);
                self.due.push_back(FromKeeper::Room);
            }
            None => {
                self.to.close();
                self.due.push_back(FromKeeper::StdinClosed);
            }
        }
    }
}

async fn receive(from: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match from {
        Some(from) => from.recv().await,
        None => std::future::pending().await,
    }
}

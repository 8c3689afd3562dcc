//! A place: one stream from its making to its end.

mod running;

use std::io;

use bytes::Bytes;
use casemate_model::Text;
use casemate_ports::{ArtefactSink, PlaceSpec, Sandbox, SessionKeeper};
use tokio::task::spawn_local;

use super::{
    Counted, Held, Server, inputs,
    request::{head, unexpected},
};
use crate::{
    body::{OutBody, Outbox},
    fault::Fault,
    from_keeper::FromKeeper,
    inbox::Inbox,
    route::PlaceHead,
    to_keeper::{Run, ToKeeper},
};

/// Makes a place and answers with what happens in it. Until there is an answer, a caller who leaves stops the making.
pub(super) async fn open<K: SessionKeeper + 'static>(
    server: Server<K>,
    counted: Counted,
    mut inbox: Inbox<ToKeeper>,
) -> Result<OutBody, Fault> {
    let head: PlaceHead = head(&mut inbox).await?;
    let mut held = Held::none(server.state.clone());
    let most = head.limits.disk_bytes;
    let inputs = inputs::read(&mut inbox, head.inputs, most, &mut held).await?;
    let leaving = match head.way {
        Some(_) => Leaving::WithTheCaller,
        None => Leaving::AtOnce,
    };
    let spec = PlaceSpec {
        session: head.session,
        owner: head.owner,
        limits: head.limits,
        inputs,
        context: head.context,
        way: head.way.map(Into::into),
    };
    let place = server.keeper.place(spec).await?;
    let (outbox, body) = OutBody::frames();
    spawn_local(async move {
        let _counted = counted;
        let watched = outbox.clone();
        // The place is dropped, and what runs there killed, as soon as nobody takes the answer.
        tokio::select! {
            () = watched.closed() => {}
            () = live(place, inbox, outbox, held, leaving) => {}
        }
    });
    Ok(body)
}

/// When a place in which a command has ended is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    /// As soon as its end is told.
    AtOnce,
    /// When its caller says no more: its way out is closed by then, and the next call of a context cannot come to whoever
    /// served this one.
    WithTheCaller,
}

/// The life of a place. Whatever goes wrong is the last frame.
async fn live<P: Sandbox>(
    place: P,
    inbox: Inbox<ToKeeper>,
    outbox: Outbox,
    held: Held,
    leaving: Leaving,
) {
    let last = match attend(place, inbox, &outbox, held, leaving).await {
        Ok(last) => last,
        Err(fault) => FromKeeper::Failed(fault),
    };
    // If nobody takes it, nobody is left to tell.
    let _ = outbox.send_last(&last).await;
}

async fn attend<P: Sandbox>(
    mut place: P,
    mut inbox: Inbox<ToKeeper>,
    outbox: &Outbox,
    held: Held,
    leaving: Leaving,
) -> Result<FromKeeper, Fault> {
    let ready = place.ready().await?;
    // The keeper has its own copies now.
    drop(held);
    tell(outbox, FromKeeper::Ready(ready)).await?;
    if let Some((run, source)) = command(&mut inbox).await? {
        let command = run.command(source);
        let ended = Box::pin(running::run(&mut place, command, &mut inbox, outbox)).await;
        let end = match ended {
            Ok(ended) => FromKeeper::Ended(ended),
            Err(fault) => FromKeeper::Failed(fault),
        };
        tell(outbox, end).await?;
        match leaving {
            Leaving::AtOnce => drop(inbox),
            // What else it said before it knew of the end is nothing any more.
            Leaving::WithTheCaller => while inbox.next().await?.is_some() {},
        }
    }
    let artefacts = place.collect(&mut Nowhere).await?;
    Ok(FromKeeper::Collected(artefacts))
}

/// The command, or nothing if the place is to be destroyed without having run anything.
async fn command(inbox: &mut Inbox<ToKeeper>) -> Result<Option<(Run, Bytes)>, Fault> {
    let mut source = Bytes::new();
    loop {
        match inbox.next().await? {
            None => return Ok(None),
            Some(ToKeeper::Source(bytes)) => source = bytes,
            Some(ToKeeper::Run(run)) => return Ok(Some((run, source))),
            Some(_) => return Err(unexpected()),
        }
    }
}

/// An answer that nobody takes ends the place: whoever dropped it is gone.
async fn tell(outbox: &Outbox, frame: FromKeeper) -> Result<(), Fault> {
    let sent = outbox.send(&frame).await;
    sent.map_err(|error| Fault::Protocol(error.to_string()))
}

/// Takes no files: those of a place stay in its session.
struct Nowhere;

impl ArtefactSink for Nowhere {
    fn file(
        &mut self,
        path: &Text,
        _executable: bool,
        _content: &mut dyn io::Read,
    ) -> io::Result<Option<String>> {
        let problem = format!("`{path}`: the files of a place stay in its session");
        Err(io::Error::new(io::ErrorKind::Unsupported, problem))
    }
}

//! A place of another process.

use std::{
    fs::File,
    io::{self, Read as _},
    pin::pin,
};

use casemate_model::{Artefact, Text};
use casemate_ports::{
    ArtefactSink, CallIo, Command, Ended, InputFile, KeeperError, PlaceSpec, Ready, Sandbox,
};
use tokio::{sync::OwnedSemaphorePermit, task::spawn_blocking};

use super::{RemoteKeeper, head, running, unavailable};
use crate::{
    body::{OutBody, Outbox, OutboxError},
    from_keeper::FromKeeper,
    inbox::Inbox,
    limits::MAX_DATA_BYTES,
    route::{PlaceHead, Route},
    to_keeper::ToKeeper,
};

/// A place of another process. Dropping it, or what it is doing, kills what runs there.
#[derive(Debug)]
pub struct RemotePlace {
    /// Nothing while it runs: dropping the run resets the stream.
    stream: Option<Stream>,
    ran: Ran,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Stream {
    outbox: Outbox,
    inbox: Inbox<FromKeeper>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ran {
    No,
    Yes,
}

pub(super) async fn open(
    keeper: &RemoteKeeper,
    spec: PlaceSpec,
) -> Result<RemotePlace, KeeperError> {
    let permit = keeper.long_stream()?;
    let head = head(&PlaceHead {
        session: spec.session,
        owner: spec.owner,
        limits: spec.limits,
        context: spec.context,
        inputs: spec.inputs.len(),
        way: spec.way.map(Into::into),
    })?;
    let (outbox, body) = OutBody::frames();
    let line = keeper.near();
    let mut response = pin!(keeper.send(&line, Route::Place, body));
    let mut upload = pin!(upload(outbox.clone(), ToKeeper::Head(head), spec.inputs));
    // The answer may come before all inputs are there: a refusal does not wait for them.
    let response = tokio::select! {
        response = &mut response => response,
        uploaded = &mut upload => {
            uploaded?;
            response.await
        }
    }?;
    Ok(RemotePlace {
        stream: Some(Stream {
            outbox,
            inbox: Inbox::new(response.into_body()),
        }),
        ran: Ran::No,
        _permit: permit,
    })
}

async fn upload(outbox: Outbox, head: ToKeeper, inputs: Vec<InputFile>) -> Result<(), KeeperError> {
    // A body that nobody takes any more has an answer already.
    if outbox.send(&head).await.is_err() || inputs.is_empty() {
        return Ok(());
    }
    let sent = spawn_blocking(move || {
        let mut inputs = inputs.into_iter();
        inputs.try_for_each(|input| send_input(&outbox, input))
    });
    sent.await.unwrap_or_else(|error| Err(unavailable(&error)))
}

fn send_input(outbox: &Outbox, input: InputFile) -> Result<(), KeeperError> {
    let InputFile { name, mut file } = input;
    let frame = ToKeeper::Input(name.as_bytes().to_vec().into());
    if !sent(outbox.send_blocking(&frame))? {
        return Ok(());
    }
    loop {
        let bytes = read(&mut file).map_err(|source| KeeperError::Build {
            step: format!("read the input `{name}`", name = Text::clone(&name)),
            source,
        })?;
        let frame = match bytes.is_empty() {
            true => ToKeeper::End,
            false => ToKeeper::Data(bytes.into()),
        };
        if !sent(outbox.send_blocking(&frame))? || frame == ToKeeper::End {
            return Ok(());
        }
    }
}

/// Whether somebody still wants more.
fn sent(result: Result<(), OutboxError>) -> Result<bool, KeeperError> {
    match result {
        Ok(()) => Ok(true),
        Err(OutboxError::Closed) => Ok(false),
        Err(OutboxError::Frame(error)) => Err(KeeperError::Spec(error.to_string())),
    }
}

fn read(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(MAX_DATA_BYTES);
    file.take(MAX_DATA_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Sandbox for RemotePlace {
    async fn ready(&mut self) -> Result<Ready, KeeperError> {
        let stream = self.stream.as_mut().ok_or_else(gone)?;
        match next(&mut stream.inbox).await? {
            FromKeeper::Ready(ready) => Ok(ready),
            frame => Err(out_of_turn(frame)),
        }
    }

    async fn run(&mut self, command: Command, io: CallIo) -> Result<Ended, KeeperError> {
        if self.ran == Ran::Yes {
            return Err(KeeperError::Spec("a place runs one command".into()));
        }
        self.ran = Ran::Yes;
        // If this is dropped, so is the stream.
        let Some(Stream { outbox, mut inbox }) = self.stream.take() else {
            return Err(gone());
        };
        let ended = running::run(&outbox, &mut inbox, command, io).await;
        self.stream = Some(Stream { outbox, inbox });
        ended
    }

    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn would hold the sink, which may not change threads"
    )]
    fn collect(
        self,
        _sink: &mut dyn ArtefactSink,
    ) -> impl Future<Output = Result<Vec<Artefact>, KeeperError>> {
        // No file of a place reaches the sink.
        async move {
            let Some(Stream { outbox, mut inbox }) = self.stream else {
                return Err(gone());
            };
            match (outbox.end().await, self.ran) {
                // A keeper that takes no more after a run has its last word on the way.
                (Ok(()), _) | (Err(_), Ran::Yes) => {}
                (Err(error), Ran::No) => return Err(unavailable(&error)),
            }
            match next(&mut inbox).await? {
                FromKeeper::Collected(artefacts) => Ok(artefacts),
                frame => Err(out_of_turn(frame)),
            }
        }
    }
}

async fn next(inbox: &mut Inbox<FromKeeper>) -> Result<FromKeeper, KeeperError> {
    let frame = inbox.next().await?;
    frame.ok_or_else(|| KeeperError::Unavailable("it ended the place".into()))
}

fn gone() -> KeeperError {
    KeeperError::Unavailable("the place is gone".into())
}

/// What the keeper said instead: a failure in its own words, or a break of the protocol.
pub(super) fn out_of_turn(frame: FromKeeper) -> KeeperError {
    match frame {
        FromKeeper::Failed(fault) => fault.into_keeper_error(),
        _ => KeeperError::Unavailable("it sent a frame that nobody waits for".into()),
    }
}

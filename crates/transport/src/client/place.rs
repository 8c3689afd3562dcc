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
    /// Nothing once it has run, or while it does: dropping the run resets the stream.
    outbox: Option<Outbox>,
    inbox: Option<Inbox<FromKeeper>>,
    _stream: OwnedSemaphorePermit,
}

pub(super) async fn open(
    keeper: &RemoteKeeper,
    spec: PlaceSpec,
) -> Result<RemotePlace, KeeperError> {
    let stream = keeper.long_stream()?;
    let head = head(&PlaceHead {
        session: spec.session,
        owner: spec.owner,
        limits: spec.limits,
        context: spec.context,
        inputs: spec.inputs.len(),
    })?;
    let (outbox, body) = OutBody::frames();
    let mut response = pin!(keeper.send(Route::Place, body));
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
        outbox: Some(outbox),
        inbox: Some(Inbox::new(response.into_body())),
        _stream: stream,
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
        match next(self.inbox.as_mut()).await? {
            FromKeeper::Ready(ready) => Ok(ready),
            frame => Err(out_of_turn(frame)),
        }
    }

    async fn run(&mut self, command: Command, io: CallIo) -> Result<Ended, KeeperError> {
        let (Some(outbox), Some(mut inbox)) = (self.outbox.take(), self.inbox.take()) else {
            return Err(KeeperError::Spec("a place runs one command".into()));
        };
        let ended = running::run(outbox, &mut inbox, command, io).await;
        self.inbox = Some(inbox);
        ended
    }

    fn collect(
        self,
        _sink: &mut dyn ArtefactSink,
    ) -> impl Future<Output = Result<Vec<Artefact>, KeeperError>> {
        // Without the sink, which no file of a place reaches: so the future may change threads.
        async move {
            let Self {
                outbox,
                mut inbox,
                _stream,
            } = self;
            if let Some(outbox) = outbox {
                outbox.end().await.map_err(|error| unavailable(&error))?;
            }
            match next(inbox.as_mut()).await? {
                FromKeeper::Collected(artefacts) => Ok(artefacts),
                frame => Err(out_of_turn(frame)),
            }
        }
    }
}

async fn next(inbox: Option<&mut Inbox<FromKeeper>>) -> Result<FromKeeper, KeeperError> {
    let Some(inbox) = inbox else {
        return Err(KeeperError::Unavailable("the place is gone".into()));
    };
    let frame = inbox.next().await?;
    frame.ok_or_else(|| KeeperError::Unavailable("it ended the place".into()))
}

/// What the keeper said instead: a failure in its own words, or a break of the protocol.
pub(super) fn out_of_turn(frame: FromKeeper) -> KeeperError {
    match frame {
        FromKeeper::Failed(fault) => fault.into_keeper_error(),
        _ => KeeperError::Unavailable("it sent a frame that nobody waits for".into()),
    }
}

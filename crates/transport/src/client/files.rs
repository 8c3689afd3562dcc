//! Files of a session, both ways.

use std::pin::pin;

use casemate_model::InputDigest;
use casemate_ports::{CHANNEL_CAPACITY, Chunk, KeeperError};
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{RemoteKeeper, answer, head, place::out_of_turn, question};
use crate::{
    body::{OutBody, Outbox, OutboxError},
    from_keeper::FromKeeper,
    inbox::Inbox,
    limits::MAX_DATA_BYTES,
    route::{OfPath, OfSession, Route},
    to_keeper::ToKeeper,
};

pub(super) async fn write(
    keeper: &RemoteKeeper,
    of: OfPath,
    content: mpsc::Receiver<Chunk>,
) -> Result<InputDigest, KeeperError> {
    give(keeper, Route::WriteFile, head(&of)?, content).await
}

pub(super) async fn unpack(
    keeper: &RemoteKeeper,
    of: OfSession,
    content: mpsc::Receiver<Chunk>,
) -> Result<(), KeeperError> {
    give(keeper, Route::Unpack, head(&of)?, content).await
}

async fn give<A: DeserializeOwned>(
    keeper: &RemoteKeeper,
    route: Route,
    head: bytes::Bytes,
    content: mpsc::Receiver<Chunk>,
) -> Result<A, KeeperError> {
    let _stream = keeper.long_stream()?;
    let (outbox, body) = OutBody::frames();
    let mut response = pin!(keeper.send(&keeper.0.home, route, body));
    let response = tokio::select! {
        response = &mut response => response,
        // A keeper that takes no more has its answer on the way.
        _ = upload(outbox, ToKeeper::Head(head), content) => response.await,
    };
    answer(response?).await
}

async fn upload(
    outbox: Outbox,
    head: ToKeeper,
    mut content: mpsc::Receiver<Chunk>,
) -> Result<(), OutboxError> {
    outbox.send(&head).await?;
    loop {
        match content.recv().await {
            Some(Chunk::Bytes(bytes)) => {
                let mut rest = bytes::Bytes::from(bytes);
                while !rest.is_empty() {
                    let piece = rest.split_to(rest.len().min(MAX_DATA_BYTES));
                    outbox.send(&ToKeeper::Data(piece)).await?;
                }
            }
            Some(Chunk::End) => return outbox.send_last(&ToKeeper::End).await,
            // Without the last frame it is cut off, and the keeper says so.
            None => return outbox.end().await,
        }
    }
}

pub(super) async fn read(
    keeper: &RemoteKeeper,
    of: OfPath,
) -> Result<(u64, mpsc::Receiver<Vec<u8>>), KeeperError> {
    let (stream, mut inbox, size) = sized(keeper, Route::ReadFile, question(&of)?).await?;
    let (sender, content) = mpsc::channel(CHANNEL_CAPACITY);
    keeper.0.home.runtime.spawn(async move {
        let _stream = stream;
        // Whatever ends it early, the reader sees that the size is not reached.
        while let Ok(Some(FromKeeper::Data(bytes))) = inbox.next().await {
            if sender.send(bytes.into()).await.is_err() {
                return;
            }
        }
    });
    Ok((size, content))
}

pub(super) async fn pack(
    keeper: &RemoteKeeper,
    of: OfSession,
) -> Result<(u64, mpsc::Receiver<Chunk>), KeeperError> {
    let (stream, mut inbox, size) = sized(keeper, Route::Pack, question(&of)?).await?;
    let (sender, content) = mpsc::channel(CHANNEL_CAPACITY);
    keeper.0.home.runtime.spawn(async move {
        let _stream = stream;
        loop {
            let chunk = match inbox.next().await {
                Ok(Some(FromKeeper::Data(bytes))) => Chunk::Bytes(bytes.into()),
                Ok(Some(FromKeeper::End)) => Chunk::End,
                // Cut off: whoever takes it sees no end.
                _ => return,
            };
            let last = chunk == Chunk::End;
            if sender.send(chunk).await.is_err() {
                return;
            }
            if last {
                // The keeper lets nothing else begin before its stream is dropped.
                sender.closed().await;
                return;
            }
        }
    });
    Ok((size, content))
}

/// An answer that begins with its size.
async fn sized(
    keeper: &RemoteKeeper,
    route: Route,
    question: bytes::Bytes,
) -> Result<(OwnedSemaphorePermit, Inbox<FromKeeper>, u64), KeeperError> {
    let stream = keeper.long_stream()?;
    let body = OutBody::whole(question);
    let response = keeper.send(&keeper.0.home, route, body).await?;
    let mut inbox = Inbox::new(response.into_body());
    match inbox.next().await? {
        Some(FromKeeper::Size(size)) => Ok((stream, inbox, size)),
        Some(frame) => Err(out_of_turn(frame)),
        None => Err(KeeperError::Unavailable("it broke off".into())),
    }
}

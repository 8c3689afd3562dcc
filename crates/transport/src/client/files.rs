//! Files of a session, both ways.

use std::pin::pin;

use casemate_model::InputDigest;
use casemate_ports::{CHANNEL_CAPACITY, Chunk, KeeperError};
use tokio::sync::mpsc;

use super::{RemoteKeeper, answer, head, place::out_of_turn, question};
use crate::{
    body::{OutBody, Outbox, OutboxError},
    from_keeper::FromKeeper,
    inbox::Inbox,
    limits::MAX_DATA_BYTES,
    route::{OfPath, Route},
    to_keeper::ToKeeper,
};

pub(super) async fn write(
    keeper: &RemoteKeeper,
    of: OfPath,
    content: mpsc::Receiver<Chunk>,
) -> Result<InputDigest, KeeperError> {
    let _stream = keeper.long_stream()?;
    let head = ToKeeper::Head(head(&of)?);
    let (outbox, body) = OutBody::frames();
    let mut response = pin!(keeper.send(&keeper.0.home, Route::WriteFile, body));
    let response = tokio::select! {
        response = &mut response => response,
        // A keeper that takes no more has its answer on the way.
        _ = upload(outbox, head, content) => response.await,
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
    let stream = keeper.long_stream()?;
    let body = OutBody::whole(question(&of)?);
    let response = keeper.send(&keeper.0.home, Route::ReadFile, body).await?;
    let mut inbox = Inbox::new(response.into_body());
    let size = match inbox.next().await? {
        Some(FromKeeper::Size(size)) => size,
        Some(frame) => return Err(out_of_turn(frame)),
        None => return Err(KeeperError::Unavailable("it broke off".into())),
    };
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

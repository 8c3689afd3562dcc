//! Files of a session, both ways.

use bytes::Bytes;
use casemate_ports::{CHANNEL_CAPACITY, Chunk, KeeperError, SessionKeeper};
use serde::Serialize;
use tokio::{sync::mpsc, task::spawn_local, time::timeout};

use super::{
    Counted, Server,
    request::{head, lost, unexpected},
};
use crate::{
    body::{OutBody, Outbox, OutboxError},
    fault::Fault,
    from_keeper::FromKeeper,
    inbox::Inbox,
    limits::{MAX_DATA_BYTES, UPLOAD_TIMEOUT},
    route::{OfPath, OfSession},
    to_keeper::ToKeeper,
};

/// Answers with the file's size and its content.
pub(super) async fn read<K: SessionKeeper + 'static>(
    server: Server<K>,
    counted: Counted,
    question: OfPath,
) -> Result<OutBody, Fault> {
    let OfPath {
        session,
        owner,
        path,
    } = question;
    let (size, content) = server.keeper.read_file(session, owner, path).await?;
    let (outbox, body) = OutBody::frames();
    spawn_local(async move {
        let _counted = counted;
        // Whoever does not want it any more has reset the stream, and nobody is left to tell.
        let _ = send(outbox, size, content).await;
    });
    Ok(body)
}

/// Answers with the length of a packed workspace and its content.
pub(super) async fn pack<K: SessionKeeper + 'static>(
    server: Server<K>,
    counted: Counted,
    question: OfSession,
) -> Result<OutBody, Fault> {
    let OfSession { session, owner } = question;
    let (size, content) = server.keeper.pack(session, owner).await?;
    let (outbox, body) = OutBody::frames();
    spawn_local(async move {
        let _counted = counted;
        let _ = send_whole(outbox, size, content).await;
    });
    Ok(body)
}

async fn send(
    outbox: Outbox,
    size: u64,
    mut content: mpsc::Receiver<Vec<u8>>,
) -> Result<(), OutboxError> {
    outbox.send(&FromKeeper::Size(size)).await?;
    loop {
        let bytes = tokio::select! {
            bytes = content.recv() => bytes,
            () = outbox.closed() => return Err(OutboxError::Closed),
        };
        match bytes {
            Some(bytes) => pieces(&outbox, bytes).await?,
            None => return outbox.send_last(&FromKeeper::End).await,
        }
    }
}

/// As [`send`], of what may be cut off: then it has no last frame, and its stream is reset.
async fn send_whole(
    outbox: Outbox,
    size: u64,
    mut content: mpsc::Receiver<Chunk>,
) -> Result<(), OutboxError> {
    outbox.send(&FromKeeper::Size(size)).await?;
    loop {
        let chunk = tokio::select! {
            chunk = content.recv() => chunk,
            () = outbox.closed() => return Err(OutboxError::Closed),
        };
        match chunk {
            Some(Chunk::Bytes(bytes)) => pieces(&outbox, bytes).await?,
            Some(Chunk::End) => {
                outbox.send(&FromKeeper::End).await?;
                // Not before the other side lets go is it let go here.
                outbox.closed().await;
                return Ok(());
            }
            None => return Err(OutboxError::Closed),
        }
    }
}

async fn pieces(outbox: &Outbox, bytes: Vec<u8>) -> Result<(), OutboxError> {
    let mut rest = Bytes::from(bytes);
    while !rest.is_empty() {
        let piece = rest.split_to(rest.len().min(MAX_DATA_BYTES));
        outbox.send(&FromKeeper::Data(piece)).await?;
    }
    Ok(())
}

/// Takes an upload. The keeper sees the end of it in any case: whole, or cut off.
pub(super) async fn write<K: SessionKeeper + 'static>(
    server: Server<K>,
    counted: Counted,
    mut inbox: Inbox<ToKeeper>,
) -> Result<OutBody, Fault> {
    let OfPath {
        session,
        owner,
        path,
    } = head(&mut inbox).await?;
    let keeper = server.keeper.clone();
    take(counted, inbox, |content| async move {
        keeper.write_file(session, owner, path, content).await
    })
    .await
}

/// Takes a packed workspace, as an upload.
pub(super) async fn unpack<K: SessionKeeper + 'static>(
    server: Server<K>,
    counted: Counted,
    mut inbox: Inbox<ToKeeper>,
) -> Result<OutBody, Fault> {
    let OfSession { session, owner } = head(&mut inbox).await?;
    let keeper = server.keeper.clone();
    take(counted, inbox, |content| async move {
        keeper.unpack(session, owner, content).await
    })
    .await
}

async fn take<A: Serialize + 'static, W>(
    counted: Counted,
    mut inbox: Inbox<ToKeeper>,
    work: impl FnOnce(mpsc::Receiver<Chunk>) -> W,
) -> Result<OutBody, Fault>
where
    W: Future<Output = Result<A, KeeperError>> + 'static,
{
    let (chunks, content) = mpsc::channel(CHANNEL_CAPACITY);
    let work = work(content);
    // On its own, so that it sees the channel close even if this request is thrown away.
    let mut writing = spawn_local(async move {
        let _counted = counted;
        work.await
    });
    let answer = tokio::select! {
        biased;
        // It may have refused before all of it came.
        answer = &mut writing => answer.map_err(|_| lost())?,
        received = receive(&mut inbox, chunks) => {
            let answer = writing.await.map_err(|_| lost())?;
            // What broke the upload says more than that the keeper found it cut off.
            received?;
            answer
        }
    };
    let body = serde_json::to_vec(&answer?).map_err(|error| Fault::Json(error.to_string()))?;
    Ok(OutBody::whole(body.into()))
}

/// Hands the upload on, chunk by chunk; the keeper's pace is the sender's.
async fn receive(inbox: &mut Inbox<ToKeeper>, chunks: mpsc::Sender<Chunk>) -> Result<(), Fault> {
    loop {
        let chunk = match timeout(UPLOAD_TIMEOUT, inbox.next()).await {
            Err(_) => return Err(Fault::TimedOut),
            Ok(frame) => match frame? {
                Some(ToKeeper::Data(bytes)) => Chunk::Bytes(bytes.into()),
                Some(ToKeeper::End) => Chunk::End,
                Some(_) => return Err(unexpected()),
                // The keeper says what that means.
                None => return Ok(()),
            },
        };
        let last = chunk == Chunk::End;
        if chunks.send(chunk).await.is_err() || last {
            return Ok(());
        }
    }
}

//! The files of a workspace as one stream, out of one sandbox and into another.

use std::rc::Rc;

use casemate_frames::{FileAction, FromGuest};
use casemate_model::Text;
use casemate_ports::{CHANNEL_CAPACITY, Chunk, KeeperError};
use tokio::sync::mpsc;

use super::{Turn, files::Desk};
use crate::session::SessionSandbox;

/// Gives the length of the stream, and the stream. Nothing else is done in the session while `turn` is held.
pub(super) async fn pack(
    sandbox: Rc<SessionSandbox>,
    turn: Turn,
) -> Result<(u64, mpsc::Receiver<Chunk>), KeeperError> {
    let mut desk = Desk::open(&sandbox, FileAction::Pack, Text::EMPTY).await?;
    let bytes = match desk.hear().await? {
        FromGuest::FileSize(bytes) => bytes,
        _ => return Err(desk.unexpected()),
    };
    let (sender, receiver) = mpsc::channel(CHANNEL_CAPACITY);
    tokio::task::spawn_local(async move {
        let mut left = bytes;
        loop {
            let chunk = match desk.hear().await {
                Ok(FromGuest::Stdout(chunk)) => {
                    let Some(rest) = left.checked_sub(chunk.len() as u64) else {
                        break;
                    };
                    left = rest;
                    Chunk::Bytes(chunk)
                }
                Ok(FromGuest::Exited(_)) if left == 0 => Chunk::End,
                _ => break,
            };
            let last = chunk == Chunk::End;
            if sender.send(chunk).await.is_err() {
                break;
            }
            if last {
                // Whoever has it decides what becomes of the session before anything else begins there.
                sender.closed().await;
                break;
            }
        }
        drop((desk, turn, sandbox));
    });
    Ok((bytes, receiver))
}

/// Puts a stream into a workspace that nothing was put in yet. What of it is there when it fails is to be destroyed.
pub(super) async fn unpack(
    sandbox: &SessionSandbox,
    memory_bytes: u64,
    content: mpsc::Receiver<Chunk>,
) -> Result<(), KeeperError> {
    let mut desk = Desk::open(sandbox, FileAction::Unpack, Text::EMPTY).await?;
    // Several calls may have brought what one puts back.
    desk.may_hold(memory_bytes, sandbox);
    desk.pour(content, |_| ()).await
}

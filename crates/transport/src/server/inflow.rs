//! Bytes from a caller who was told how much room there is.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::mpsc::{self, OwnedPermit};

use crate::fault::Fault;

/// A permit is room for one chunk in the keeper's channel, and the caller was told of it. So a stream of bytes whose
/// reader stalls never fills the stream that carries it, and whatever else is said there is heard.
pub(super) struct Inflow {
    sender: Option<mpsc::Sender<Vec<u8>>>,
    room: VecDeque<OwnedPermit<Vec<u8>>>,
}

impl Inflow {
    /// Takes all the room of an empty channel of `CHANNEL_CAPACITY`: the caller knows of it without being told.
    pub(super) fn new(sender: mpsc::Sender<Vec<u8>>) -> Self {
        let mut room = VecDeque::new();
        while let Ok(permit) = sender.clone().try_reserve_owned() {
            room.push_back(permit);
        }
        Self {
            sender: Some(sender),
            room,
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.sender.is_some()
    }

    /// Waits until the reader has taken a chunk; nothing when it takes no more.
    pub(super) async fn more_room(&self) -> Option<OwnedPermit<Vec<u8>>> {
        match &self.sender {
            Some(sender) => sender.clone().reserve_owned().await.ok(),
            None => std::future::pending().await,
        }
    }

    pub(super) fn add(&mut self, room: OwnedPermit<Vec<u8>>) {
        self.room.push_back(room);
    }

    /// Hands bytes on. Those that were on their way when the reader closed its end are dropped.
    pub(super) fn take(&mut self, bytes: Bytes) -> Result<(), Fault> {
        if !self.is_open() {
            return Ok(());
        }
        match self.room.pop_front() {
            Some(room) => {
                room.send(bytes.into());
                Ok(())
            }
            None => Err(Fault::Protocol("bytes without room for them".into())),
        }
    }

    pub(super) fn close(&mut self) {
        self.sender = None;
        self.room.clear();
    }
}

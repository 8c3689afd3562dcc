//! Bodies that are read whole, to be judged.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::super::reply::{Body, BodyError};
use crate::{Code, limits::BODY_IDLE_TIMEOUT};

/// A body with its place in the room for all of them, which it has as long as there is a copy of it.
struct Held {
    bytes: Vec<u8>,
    /// In the share of the call, and in the room of its agent.
    places: [Option<OwnedSemaphorePermit>; 2],
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Held {
    fn push(&mut self, data: &[u8], rooms: [&Arc<Semaphore>; 2]) -> Result<(), Code> {
        let length = u32::try_from(data.len()).map_err(|_| Code::BodyTooLarge)?;
        for (place, room) in self.places.iter_mut().zip(rooms) {
            let more = Arc::clone(room).try_acquire_many_owned(length);
            let more = more.map_err(|_| Code::TooMany)?;
            match place {
                Some(place) => place.merge(more),
                place => *place = Some(more),
            }
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

/// All of a body that is not longer than `most`, if it comes in time and there is room for it in all `rooms`.
pub(super) async fn whole(
    mut body: Body,
    most: usize,
    rooms: [&Arc<Semaphore>; 2],
) -> Result<Bytes, Code> {
    let mut held = Held {
        bytes: Vec::new(),
        places: [None, None],
    };
    loop {
        let frame = timeout(BODY_IDLE_TIMEOUT, body.frame()).await;
        let Some(frame) = frame.map_err(|_| Code::Timeout)? else {
            return Ok(Bytes::from_owner(held));
        };
        let frame = frame.map_err(|BodyError(code)| code)?;
        // They would not have been judged.
        if frame
            .trailers_ref()
            .is_some_and(|fields| !fields.is_empty())
        {
            return Err(Code::Framing);
        }
        if let Ok(data) = frame.into_data() {
            if held.bytes.len().saturating_add(data.len()) > most {
                return Err(Code::BodyTooLarge);
            }
            held.push(&data, rooms)?;
        }
    }
}

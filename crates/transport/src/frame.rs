//! Frames in a body: the length of the payload (`u32`, little-endian), the kind (`u8`), the payload.

use std::marker::PhantomData;

use bytes::{Buf as _, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

/// One direction of the protocol.
pub(crate) trait Message: Sized {
    /// The largest payload of `kind`, or nothing if this direction has no such kind.
    fn max_bytes(kind: u8) -> Option<usize>;

    /// Parses a whole payload of a kind for which [`Message::max_bytes`] gave a limit.
    fn parse(kind: u8, payload: Bytes) -> Result<Self, FrameError>;

    /// The kind and the payload.
    fn form(&self) -> Result<(u8, Bytes), FrameError>;

    /// The whole frame.
    fn encode(&self) -> Result<Bytes, FrameError> {
        let (kind, payload) = self.form()?;
        let max = Self::max_bytes(kind).ok_or(FrameError::Kind(kind))?;
        let too_long = FrameError::TooLong {
            len: payload.len(),
            max,
        };
        let len = u32::try_from(payload.len()).map_err(|_| too_long.clone())?;
        if payload.len() > max {
            return Err(too_long);
        }
        let mut frame = Vec::with_capacity(HEADER + payload.len());
        frame.extend(len.to_le_bytes());
        frame.push(kind);
        frame.extend_from_slice(&payload);
        Ok(frame.into())
    }
}

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("unknown frame kind {0}")]
    Kind(u8),
    #[error("a frame of {len} bytes is over its limit of {max}")]
    TooLong { len: usize, max: usize },
    #[error("a frame of kind {0} has the wrong length")]
    Length(u8),
    #[error("a frame of kind {kind} is not what it should be: {why}")]
    Json { kind: u8, why: String },
    #[error("a frame is cut off")]
    CutOff,
}

const HEADER: usize = 5;

/// Takes bytes as they come and gives frames.
#[derive(Debug)]
pub(crate) struct Decoder<M> {
    buffer: BytesMut,
    broken: Option<FrameError>,
    message: PhantomData<fn() -> M>,
}

impl<M> Default for Decoder<M> {
    fn default() -> Self {
        Self {
            buffer: BytesMut::new(),
            broken: None,
            message: PhantomData,
        }
    }
}

impl<M: Message> Decoder<M> {
    /// Adds bytes. Take every frame out before adding more, and at most one frame of the largest kind is held.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.broken.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next whole frame, if there is one. After an error every later call says the same.
    pub(crate) fn next_frame(&mut self) -> Result<Option<M>, FrameError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        self.parse_next().inspect_err(|error| {
            self.broken = Some(error.clone());
            self.buffer = BytesMut::new();
        })
    }

    /// Says that no more bytes come.
    pub(crate) fn end(&self) -> Result<(), FrameError> {
        if self.buffer.is_empty() {
            Ok(())
        } else {
            Err(FrameError::CutOff)
        }
    }

    fn parse_next(&mut self) -> Result<Option<M>, FrameError> {
        let Some((&[l0, l1, l2, l3, kind], rest)) = self.buffer.split_first_chunk::<HEADER>()
        else {
            return Ok(None);
        };
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let max = M::max_bytes(kind).ok_or(FrameError::Kind(kind))?;
        if len > max {
            return Err(FrameError::TooLong { len, max });
        }
        if rest.len() < len {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        M::parse(kind, self.buffer.split_to(len).freeze()).map(Some)
    }
}

/// The payload of a frame without one.
pub(crate) fn empty(kind: u8, payload: &Bytes) -> Result<(), FrameError> {
    if payload.is_empty() {
        Ok(())
    } else {
        Err(FrameError::Length(kind))
    }
}

/// The payload of a frame that is one JSON value.
pub(crate) fn to_json<T: Serialize>(kind: u8, value: &T) -> Result<(u8, Bytes), FrameError> {
    match serde_json::to_vec(value) {
        Ok(payload) => Ok((kind, payload.into())),
        Err(error) => Err(not_json(kind, &error)),
    }
}

/// The JSON value of a payload.
pub(crate) fn of_json<T: DeserializeOwned>(kind: u8, payload: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(payload).map_err(|error| not_json(kind, &error))
}

fn not_json(kind: u8, error: &serde_json::Error) -> FrameError {
    FrameError::Json {
        kind,
        why: error.to_string(),
    }
}

#[cfg(test)]
mod tests;

//! Frames out of a stream of bytes.

use std::{io, marker::PhantomData};

use crate::limits::{MAX_ARGUMENTS, MAX_EXEC_BYTES};

/// One direction of the protocol.
pub trait Message: Sized {
    /// The largest payload of `kind`, or nothing if this direction has no such kind.
    fn max_bytes(kind: u8) -> Option<usize>;

    /// Parses a whole payload of a kind for which [`Message::max_bytes`] gave a limit.
    ///
    /// # Errors
    /// When the payload is not exactly what its kind says.
    fn parse(kind: u8, payload: &[u8]) -> Result<Self, FrameError>;

    /// Appends the frame to `out`; leaves `out` as it was on an error.
    ///
    /// # Errors
    /// When a field is longer than the protocol allows.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError>;
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A kind that this direction does not have.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// A payload over the limit of its kind.
    #[error("a frame of {len} bytes is over its limit of {max}")]
    TooLong {
        /// Bytes announced.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A payload that ends inside a field.
    #[error("a frame ends inside a field")]
    Short,
    /// A payload with bytes after its last field.
    #[error("a frame has bytes after its last field")]
    Long,
    /// A field with a value that it cannot have.
    #[error("a frame has an impossible {0}")]
    Field(&'static str),
    /// More arguments or variables than a command can have.
    #[error(
        "a command has more than {MAX_ARGUMENTS} arguments or variables, or {MAX_EXEC_BYTES} bytes"
    )]
    Command,
}

impl From<FrameError> for io::Error {
    fn from(error: FrameError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

const HEADER: usize = 5;

/// Takes bytes as they come and gives frames.
#[derive(Debug)]
pub struct Decoder<M> {
    buffer: Vec<u8>,
    taken: usize,
    broken: Option<FrameError>,
    message: PhantomData<M>,
}

impl<M> Default for Decoder<M> {
    fn default() -> Self {
        Self {
            buffer: Vec::new(),
            taken: 0,
            broken: None,
            message: PhantomData,
        }
    }
}

impl<M: Message> Decoder<M> {
    /// Adds bytes that were read. Take every frame out before adding more, and at most one frame of
    /// the largest kind is ever held.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken.is_none() {
            self.buffer.drain(..self.taken);
            self.taken = 0;
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next whole frame, if there is one.
    ///
    /// # Errors
    /// When the bytes are not the protocol; every later call says the same.
    pub fn next_frame(&mut self) -> Result<Option<M>, FrameError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        self.parse_next().inspect_err(|error| {
            self.broken = Some(*error);
            self.buffer = Vec::new();
        })
    }

    fn parse_next(&mut self) -> Result<Option<M>, FrameError> {
        let pending = self.buffer.get(self.taken..).unwrap_or_default();
        let Some((&[l0, l1, l2, l3, kind], rest)) = pending.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let max = M::max_bytes(kind).ok_or(FrameError::Kind(kind))?;
        if len > max {
            return Err(FrameError::TooLong { len, max });
        }
        let Some(payload) = rest.get(..len) else {
            return Ok(None);
        };
        let message = M::parse(kind, payload)?;
        self.taken += HEADER + len;
        Ok(Some(message))
    }
}

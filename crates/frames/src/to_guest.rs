//! What the keeper tells the guest.

use crate::{
    FrameError, Message,
    limits::{MAX_ARGUMENTS, MAX_CHUNK_BYTES, MAX_EXEC_BYTES},
    wire::{Fields, frame, length, put_bytes},
};

/// The program to run: the first and only command of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exec {
    /// The command and its arguments, without NUL bytes.
    pub argv: Vec<Vec<u8>>,
    /// The whole environment as `NAME=value`, without NUL bytes.
    pub env: Vec<Vec<u8>>,
}

/// What the keeper tells the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToGuest {
    /// Run this.
    Exec(Exec),
    /// Bytes for the program's standard input. The next chunk may only be sent after the guest said
    /// [`crate::FromGuest::StdinTaken`] to this one.
    Stdin(Vec<u8>),
    /// The end of its standard input.
    StdinClosed,
    /// Send this signal to the program's process group.
    Signal(u8),
}

impl Message for ToGuest {
    fn max_bytes(kind: u8) -> Option<usize> {
        match kind {
            1 => Some(MAX_EXEC_BYTES),
            2 => Some(MAX_CHUNK_BYTES),
            3 => Some(0),
            4 => Some(1),
            _ => None,
        }
    }

    fn parse(kind: u8, payload: &[u8]) -> Result<Self, FrameError> {
        let mut fields = Fields(payload);
        let message = match kind {
            1 => Self::Exec(Exec {
                argv: list(&mut fields)?,
                env: list(&mut fields)?,
            }),
            2 => return Ok(Self::Stdin(payload.to_vec())),
            3 => Self::StdinClosed,
            4 => match fields.u8()? {
                signal @ 1..=64 => Self::Signal(signal),
                _ => return Err(FrameError::Field("signal")),
            },
            other => return Err(FrameError::Kind(other)),
        };
        fields.end().map(|()| message)
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        match self {
            Self::Exec(exec) => frame(out, 1, |out| {
                let start = out.len();
                put_list(out, &exec.argv)?;
                put_list(out, &exec.env)?;
                if out.len() - start > MAX_EXEC_BYTES {
                    Err(FrameError::Command)
                } else {
                    Ok(())
                }
            }),
            Self::Stdin(bytes) if bytes.len() > MAX_CHUNK_BYTES => Err(FrameError::TooLong {
                len: bytes.len(),
                max: MAX_CHUNK_BYTES,
            }),
            Self::Stdin(bytes) => frame(out, 2, |out| {
                out.extend(bytes);
                Ok(())
            }),
            Self::StdinClosed => frame(out, 3, |_| Ok(())),
            Self::Signal(signal) => frame(out, 4, |out| {
                out.push(*signal);
                Ok(())
            }),
        }
    }
}

fn list(fields: &mut Fields<'_>) -> Result<Vec<Vec<u8>>, FrameError> {
    let count = fields.u32()? as usize;
    if count > MAX_ARGUMENTS {
        return Err(FrameError::Command);
    }
    (0..count)
        .map(|_| match fields.bytes()? {
            item if item.contains(&0) => Err(FrameError::Field("NUL byte")),
            item => Ok(item.to_vec()),
        })
        .collect()
}

fn put_list(out: &mut Vec<u8>, items: &[Vec<u8>]) -> Result<(), FrameError> {
    if items.len() > MAX_ARGUMENTS {
        return Err(FrameError::Command);
    }
    if items.iter().any(|item| item.contains(&0)) {
        return Err(FrameError::Field("NUL byte"));
    }
    out.extend(length(items.len())?.to_le_bytes());
    items.iter().try_for_each(|item| put_bytes(out, item))
}

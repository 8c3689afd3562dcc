//! What the keeper tells the caller of a stream.

use bytes::Bytes;
use casemate_model::{Artefact, Stream};
use casemate_ports::{Ended, Ready};

use crate::{
    fault::Fault,
    frame::{FrameError, Message, empty, of_json, to_json},
    limits::{MAX_DATA_BYTES, MAX_END_BYTES, MAX_READY_BYTES},
};

/// What the keeper tells the caller of a stream.
#[derive(Debug)]
pub(crate) enum FromKeeper {
    /// The place is ready.
    Ready(Ready),
    /// The size of the file that follows.
    Size(u64),
    /// Bytes of a file or a connection.
    Data(Bytes),
    /// The end of those.
    End,
    /// Bytes that the program wrote.
    Output(Stream, Bytes),
    /// There is room for one more frame of standard input, or of the connection.
    Room,
    /// Nobody reads standard input any more.
    StdinClosed,
    /// The call ended.
    Ended(Ended),
    /// What was asked for last went wrong.
    Failed(Fault),
    /// The place is destroyed, and left these. Always the last frame.
    Collected(Vec<Artefact>),
}

impl Message for FromKeeper {
    fn max_bytes(kind: u8) -> Option<usize> {
        match kind {
            1 => Some(MAX_READY_BYTES),
            2 => Some(8),
            3 | 16..=18 => Some(MAX_DATA_BYTES),
            4..=6 => Some(0),
            7..=9 => Some(MAX_END_BYTES),
            _ => None,
        }
    }

    fn parse(kind: u8, payload: Bytes) -> Result<Self, FrameError> {
        match kind {
            1 => of_json(kind, &payload).map(Self::Ready),
            2 => match <[u8; 8]>::try_from(payload.as_ref()) {
                Ok(bytes) => Ok(Self::Size(u64::from_le_bytes(bytes))),
                Err(_) => Err(FrameError::Length(kind)),
            },
            3 => Ok(Self::Data(payload)),
            4 => empty(kind, &payload).map(|()| Self::End),
            5 => empty(kind, &payload).map(|()| Self::Room),
            6 => empty(kind, &payload).map(|()| Self::StdinClosed),
            7 => of_json(kind, &payload).map(Self::Ended),
            8 => of_json(kind, &payload).map(Self::Failed),
            9 => of_json(kind, &payload).map(Self::Collected),
            16 => Ok(Self::Output(Stream::Stdout, payload)),
            17 => Ok(Self::Output(Stream::Stderr, payload)),
            18 => Ok(Self::Output(Stream::Results, payload)),
            other => Err(FrameError::Kind(other)),
        }
    }

    fn form(&self) -> Result<(u8, Bytes), FrameError> {
        match self {
            Self::Ready(ready) => to_json(1, ready),
            Self::Size(size) => Ok((2, size.to_le_bytes().to_vec().into())),
            Self::Data(bytes) => Ok((3, bytes.clone())),
            Self::End => Ok((4, Bytes::new())),
            Self::Room => Ok((5, Bytes::new())),
            Self::StdinClosed => Ok((6, Bytes::new())),
            Self::Ended(ended) => to_json(7, ended),
            Self::Failed(fault) => to_json(8, fault),
            Self::Collected(artefacts) => to_json(9, artefacts),
            Self::Output(stream, bytes) => {
                let kind = match stream {
                    Stream::Stdout => 16,
                    Stream::Stderr => 17,
                    Stream::Results => 18,
                };
                Ok((kind, bytes.clone()))
            }
        }
    }
}

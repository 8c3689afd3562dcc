//! What the two ends of a way out tell each other.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use casemate_ports::{
    Advice, ConsultedRequest, Crossing, EgressError, HeldRequest, NewWay, NotConsented,
    NotRecorded, Owner,
};
use serde::{Deserialize, Serialize};

use super::{MAX_ASKED_BYTES, MAX_RECORD_BYTES, MAX_TOLD_BYTES};
use crate::frame::{FrameError, Message, empty, of_json, to_json};

/// Of whom and what the stream is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) owner: Owner,
    pub(super) way: NewWay,
}

/// A record that is to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Numbered {
    pub(super) number: u64,
    pub(super) crossing: Crossing,
}

/// A request that a person has to consent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    pub(super) number: u64,
    /// Without its body.
    request: HeldRequest,
    /// In base64, whatever it is: as text in JSON one byte can be six.
    body: Option<String>,
}

impl Asked {
    pub(super) fn new(number: u64, mut request: HeldRequest) -> Self {
        let body = request.body.take();
        Self {
            number,
            request,
            body: body.map(|body| BASE64_STANDARD.encode(body.as_bytes())),
        }
    }

    /// The request, if its body can be read.
    pub(super) fn request(self) -> Option<HeldRequest> {
        let body = self.body.map(|body| BASE64_STANDARD.decode(body));
        let body = body.transpose().ok()?;
        Some(HeldRequest {
            body: body.map(Into::into),
            ..self.request
        })
    }
}

/// A request about which a program of the operator's is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Consulted {
    pub(super) number: u64,
    pub(super) request: ConsultedRequest,
}

/// What that program says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Advised {
    pub(super) number: u64,
    pub(super) advice: Advice,
}

/// The answer to a record, that it is durable, or to a request, that a person consented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    pub(super) number: u64,
    pub(super) said: Said,
}

/// What is said to a record or to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    Yes,
    No,
    /// A person consented, and it will not get its credential.
    Unnoted,
}

impl From<Result<(), NotRecorded>> for Said {
    fn from(written: Result<(), NotRecorded>) -> Self {
        match written {
            Ok(()) => Self::Yes,
            Err(NotRecorded) => Self::No,
        }
    }
}

impl From<Result<(), NotConsented>> for Said {
    fn from(consented: Result<(), NotConsented>) -> Self {
        match consented {
            Ok(()) => Self::Yes,
            Err(NotConsented::Refused) => Self::No,
            Err(NotConsented::Unnoted) => Self::Unnoted,
        }
    }
}

/// What egress is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ToEgress {
    /// Always the first frame.
    Head(Box<Head>),
    Answer(Answer),
    Advised(Box<Advised>),
    Revoke,
    Close,
}

/// What egress tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FromEgress {
    /// The way out is open.
    Opened,
    Record(Box<Numbered>),
    Ask(Box<Asked>),
    Consult(Box<Consulted>),
    /// It is served no more.
    Lost(EgressError),
    /// It is closed, and this is the last frame.
    Closed(Result<(), EgressError>),
}

impl Message for ToEgress {
    fn max_bytes(kind: u8) -> Option<usize> {
        match kind {
            1 => Some(MAX_ASKED_BYTES),
            2 | 5 => Some(MAX_TOLD_BYTES),
            3 | 4 => Some(0),
            _ => None,
        }
    }

    fn parse(kind: u8, payload: Bytes) -> Result<Self, FrameError> {
        match kind {
            1 => of_json(kind, &payload).map(|head| Self::Head(Box::new(head))),
            2 => of_json(kind, &payload).map(Self::Answer),
            3 => empty(kind, &payload).map(|()| Self::Revoke),
            4 => empty(kind, &payload).map(|()| Self::Close),
            5 => of_json(kind, &payload).map(|advised| Self::Advised(Box::new(advised))),
            other => Err(FrameError::Kind(other)),
        }
    }

    fn form(&self) -> Result<(u8, Bytes), FrameError> {
        match self {
            Self::Head(head) => to_json(1, head),
            Self::Answer(answer) => to_json(2, answer),
            Self::Revoke => Ok((3, Bytes::new())),
            Self::Close => Ok((4, Bytes::new())),
            Self::Advised(advised) => to_json(5, advised),
        }
    }
}

impl Message for FromEgress {
    fn max_bytes(kind: u8) -> Option<usize> {
        match kind {
            1 => Some(0),
            2 => Some(MAX_RECORD_BYTES),
            3 | 4 => Some(MAX_TOLD_BYTES),
            5 | 6 => Some(MAX_ASKED_BYTES),
            _ => None,
        }
    }

    fn parse(kind: u8, payload: Bytes) -> Result<Self, FrameError> {
        match kind {
            1 => empty(kind, &payload).map(|()| Self::Opened),
            2 => of_json(kind, &payload).map(|record| Self::Record(Box::new(record))),
            3 => of_json(kind, &payload).map(Self::Lost),
            4 => of_json(kind, &payload).map(Self::Closed),
            5 => of_json(kind, &payload).map(|asked| Self::Ask(Box::new(asked))),
            6 => of_json(kind, &payload).map(|consulted| Self::Consult(Box::new(consulted))),
            other => Err(FrameError::Kind(other)),
        }
    }

    fn form(&self) -> Result<(u8, Bytes), FrameError> {
        match self {
            Self::Opened => Ok((1, Bytes::new())),
            Self::Record(record) => to_json(2, record),
            Self::Lost(error) => to_json(3, error),
            Self::Closed(closed) => to_json(4, closed),
            Self::Ask(asked) => to_json(5, asked),
            Self::Consult(consulted) => to_json(6, consulted),
        }
    }
}

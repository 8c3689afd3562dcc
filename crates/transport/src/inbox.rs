//! A body that comes in, as frames.

use casemate_ports::KeeperError;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::{
    client::unavailable,
    frame::{Decoder, FrameError, Message},
};

/// A body that comes in, as frames.
#[derive(Debug)]
pub(crate) struct Inbox<M> {
    body: Incoming,
    decoder: Decoder<M>,
}

/// Why no more frames come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InboxError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the stream broke off")]
    Body(#[source] hyper::Error),
}

impl<M: Message> Inbox<M> {
    pub(crate) fn new(body: Incoming) -> Self {
        Self {
            body,
            decoder: Decoder::default(),
        }
    }

    /// The next frame; nothing at the body's proper end.
    ///
    /// Cancel-safe: bytes that came stay in the decoder. Only this gives the sender room for more.
    pub(crate) async fn next(&mut self) -> Result<Option<M>, InboxError> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.decoder.push(bytes);
                    }
                }
                Some(Err(error)) => return Err(InboxError::Body(error)),
                None => {
                    self.decoder.end()?;
                    return Ok(None);
                }
            }
        }
    }
}

impl From<InboxError> for KeeperError {
    fn from(error: InboxError) -> Self {
        unavailable(&error)
    }
}

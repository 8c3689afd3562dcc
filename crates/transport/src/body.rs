//! Bodies that go out: one value, or frames as they come.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc::{self, Permit, error::SendError};

use crate::{
    frame::{FrameError, Message},
    limits::OUTBOX_FRAMES,
};

/// A body that goes out.
#[derive(Debug)]
pub(crate) struct OutBody(Content);

#[derive(Debug)]
enum Content {
    Whole(Bytes),
    Frames(mpsc::Receiver<Piece>),
    Done,
}

#[derive(Debug)]
enum Piece {
    Frame(Bytes),
    Last(Bytes),
    End,
}

/// The sender went away before it said that it was done: the stream is reset, so that nobody takes it for whole.
#[derive(Debug, thiserror::Error)]
#[error("the body was cut off")]
pub(crate) struct CutOff;

/// Where the frames of a body are put. Dropped before [`Outbox::end`] or [`Outbox::send_last`], it cuts the body off.
#[derive(Clone, Debug)]
pub(crate) struct Outbox(mpsc::Sender<Piece>);

/// Why a frame cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutboxError {
    #[error("nobody takes it any more")]
    Closed,
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Room for one frame.
#[derive(Debug)]
pub(crate) struct Room<'a>(Permit<'a, Piece>);

impl OutBody {
    pub(crate) const fn whole(bytes: Bytes) -> Self {
        Self(Content::Whole(bytes))
    }

    /// A body that is written as it goes.
    pub(crate) fn frames() -> (Outbox, Self) {
        let (sender, receiver) = mpsc::channel(OUTBOX_FRAMES);
        (Outbox(sender), Self(Content::Frames(receiver)))
    }
}

impl Outbox {
    pub(crate) async fn send<M: Message>(&self, message: &M) -> Result<(), OutboxError> {
        self.piece(Piece::Frame(message.encode()?)).await
    }

    /// Sends the last frame.
    pub(crate) async fn send_last<M: Message>(self, message: &M) -> Result<(), OutboxError> {
        self.piece(Piece::Last(message.encode()?)).await
    }

    /// Ends the body properly.
    pub(crate) async fn end(self) -> Result<(), OutboxError> {
        self.piece(Piece::End).await
    }

    /// Waits for room for one frame.
    pub(crate) async fn room(&self) -> Result<Room<'_>, OutboxError> {
        let permit = self.0.reserve().await;
        permit.map(Room).map_err(|_| OutboxError::Closed)
    }

    /// Sends a frame from a thread that may wait.
    pub(crate) fn send_blocking<M: Message>(&self, message: &M) -> Result<(), OutboxError> {
        let sent = self.0.blocking_send(Piece::Frame(message.encode()?));
        sent.map_err(|SendError(_)| OutboxError::Closed)
    }

    /// Waits until the other end does not want the body any more.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }

    async fn piece(&self, piece: Piece) -> Result<(), OutboxError> {
        let sent = self.0.send(piece).await;
        sent.map_err(|SendError(_)| OutboxError::Closed)
    }
}

impl Room<'_> {
    pub(crate) fn send<M: Message>(self, message: &M) -> Result<(), FrameError> {
        self.0.send(Piece::Frame(message.encode()?));
        Ok(())
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        match std::mem::replace(&mut self.0, Content::Done) {
            Content::Done => Poll::Ready(None),
            Content::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Content::Frames(mut pieces) => match pieces.poll_recv(cx) {
                Poll::Pending => {
                    self.0 = Content::Frames(pieces);
                    Poll::Pending
                }
                Poll::Ready(Some(Piece::Frame(bytes))) => {
                    self.0 = Content::Frames(pieces);
                    Poll::Ready(Some(Ok(Frame::data(bytes))))
                }
                Poll::Ready(Some(Piece::Last(bytes))) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Poll::Ready(Some(Piece::End)) => Poll::Ready(None),
                Poll::Ready(None) => Poll::Ready(Some(Err(CutOff))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Content::Done)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Frames(_) => SizeHint::default(),
            Content::Done => SizeHint::with_exact(0),
        }
    }
}

//! A body that comes from a channel.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// The pieces of a channel, as a body. Dropping it closes the channel.
pub(crate) struct Pieces {
    pieces: mpsc::Receiver<Vec<u8>>,
    /// What is still to come, if that is known: nothing beyond it is passed on.
    left: Option<u64>,
}

impl Pieces {
    /// Until the channel closes.
    pub(crate) const fn endless(pieces: mpsc::Receiver<Vec<u8>>) -> Self {
        Self { pieces, left: None }
    }

    /// So many bytes. If the channel closes before, the reader finds its answer cut off.
    pub(crate) const fn sized(pieces: mpsc::Receiver<Vec<u8>>, bytes: u64) -> Self {
        Self {
            pieces,
            left: Some(bytes),
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == Some(0) {
            return Poll::Ready(None);
        }
        self.pieces.poll_recv(context).map(|piece| {
            let mut piece = piece?;
            if let Some(left) = &mut self.left {
                piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= piece.len() as u64;
            }
            Some(Ok(Frame::data(piece.into())))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

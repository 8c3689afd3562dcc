//! The reading half of a client's connection of HTTP/1.1, and bodies out of it.

use std::{
    future::{Future as _, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use tokio::{
    io::{AsyncReadExt as _, ReadHalf},
    sync::oneshot,
    time::timeout,
};

use super::{reply::BodyError, stream::Io};
use crate::{
    Code,
    body::{Decoder, Piece},
    head::{Length, Scan},
    limits::{LINGER_BYTES, LINGER_TIMEOUT, MAX_HEAD_BYTES, READ_BYTES},
};

/// The reading half, with what was read and not taken.
pub(crate) struct Reader {
    half: ReadHalf<Io>,
    buffer: BytesMut,
}

impl Reader {
    pub(crate) fn new(half: ReadHalf<Io>) -> Self {
        Self {
            half,
            buffer: BytesMut::new(),
        }
    }

    /// The half and what is left in front of it.
    pub(crate) fn into_parts(self) -> (ReadHalf<Io>, BytesMut) {
        (self.half, self.buffer)
    }

    /// The bytes of the next head; `None` when the client has nothing more to say.
    pub(crate) async fn head(&mut self) -> Result<Option<BytesMut>, Code> {
        let mut scan = Scan::default();
        loop {
            if let Some(end) = scan.end(&self.buffer)? {
                return Ok(Some(self.buffer.split_to(end)));
            }
            match self.fill().await {
                Ok(1..) => {}
                _ if self.buffer.is_empty() => return Ok(None),
                _ => return Err(Code::Framing),
            }
        }
    }

    /// Ends when at least one byte of the next head is there, or none will come.
    pub(crate) async fn begins(&mut self) -> bool {
        !self.buffer.is_empty() || matches!(self.fill().await, Ok(1..))
    }

    /// Ends when the client hangs up. What it sends meanwhile is kept, as far as there is room.
    pub(crate) async fn hangup(&mut self) {
        poll_fn(|context| self.poll_hangup(context)).await;
    }

    fn poll_hangup(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.buffer.len() < MAX_HEAD_BYTES {
            if !matches!(ready!(self.poll_fill(context)), Ok(1..)) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Reads and forgets what the client still sends, within limits: it would not read its answer if it were cut off.
    pub(crate) async fn linger(mut self) {
        let forgotten = async {
            let mut left = LINGER_BYTES;
            self.buffer.clear();
            while left > 0 && matches!(self.fill().await, Ok(1..)) {
                left = left.saturating_sub(self.buffer.len());
                self.buffer.clear();
            }
        };
        // Whoever is not done by then is cut off.
        let _ = timeout(LINGER_TIMEOUT, forgotten).await;
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(READ_BYTES);
        self.half.read_buf(&mut self.buffer).await
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // What it has read is in the buffer: nothing is lost with it.
        pin!(self.fill()).poll(context)
    }
}

/// A body that is read as it is asked for. At its end the reader goes back to the connection.
pub(crate) struct Incoming {
    /// Where the reader is until the first byte is asked for.
    slot: Slot,
    reader: Option<Reader>,
    decoder: Decoder,
    length: Length,
    back: Option<oneshot::Sender<Returned>>,
    wanted: Option<oneshot::Sender<()>>,
}

/// A reader that a body will take, and that somebody else watches until then.
#[derive(Clone)]
struct Slot(Arc<Mutex<Option<Reader>>>);

impl Slot {
    fn take(&self) -> Option<Reader> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Ends when the client hangs up while the reader is here.
    fn poll_hangup(&self, context: &mut Context<'_>) -> Poll<()> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(reader) => reader.poll_hangup(context),
            None => Poll::Pending,
        }
    }
}

/// A reader that a body was read from.
pub(crate) struct Returned {
    pub(crate) reader: Reader,
    /// Whether what comes next is another request, and not the rest of this body.
    pub(crate) at_end: bool,
}

/// Where a connection hears of a body that it lent its reader to.
pub(crate) struct Lent {
    /// The reader, at the end of the body or when it was given up.
    pub(crate) back: oneshot::Receiver<Returned>,
    /// When the first byte is asked for.
    pub(crate) wanted: oneshot::Receiver<()>,
    /// Where it sees that the client hangs up before that.
    pub(crate) watch: Watch,
}

/// Sees that a client hangs up before its body is asked for.
pub(crate) struct Watch(Slot);

impl Watch {
    pub(crate) async fn hangup(&self) {
        poll_fn(|context| self.0.poll_hangup(context)).await;
    }
}

impl Incoming {
    pub(crate) fn new(reader: Reader, length: Length) -> (Self, Lent) {
        let (back, back_end) = oneshot::channel();
        let (wanted, wanted_end) = oneshot::channel();
        let slot = Slot(Arc::new(Mutex::new(Some(reader))));
        let mut body = Self {
            slot: slot.clone(),
            reader: None,
            decoder: Decoder::new(length),
            length,
            back: Some(back),
            wanted: Some(wanted),
        };
        if body.decoder.has_ended() {
            body.give_back();
        }
        (
            body,
            Lent {
                back: back_end,
                wanted: wanted_end,
                watch: Watch(slot),
            },
        )
    }

    fn give_back(&mut self) {
        let reader = self.reader.take().or_else(|| self.slot.take());
        if let (Some(reader), Some(back)) = (reader, self.back.take()) {
            // A connection that is gone needs no reader.
            let at_end = self.decoder.has_ended();
            drop(back.send(Returned { reader, at_end }));
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(wanted) = this.wanted.take() {
            // The connection may have no use for it.
            let _ = wanted.send(());
            this.reader = this.slot.take();
        }
        loop {
            let Some(reader) = &mut this.reader else {
                return Poll::Ready(None);
            };
            let piece = this.decoder.next(&mut reader.buffer).map_err(BodyError)?;
            let frame = match piece {
                Piece::Data(bytes) => Some(Frame::data(bytes)),
                Piece::Trailers(fields) => Some(Frame::trailers(fields)),
                Piece::End => None,
                Piece::More => match ready!(reader.poll_fill(context)) {
                    Ok(1..) => continue,
                    _ => return Poll::Ready(Some(Err(BodyError(Code::ClientGone)))),
                },
            };
            if this.decoder.has_ended() {
                this.give_back();
            }
            return Poll::Ready(frame.map(Ok));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.decoder.has_ended()
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Length::Nothing => SizeHint::with_exact(0),
            Length::Bytes(bytes) => SizeHint::with_exact(bytes),
            Length::Chunked | Length::Stream => SizeHint::default(),
        }
    }
}

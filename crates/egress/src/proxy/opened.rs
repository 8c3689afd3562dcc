//! Streams of HTTP/2 that a client opens, counted where they come in: the library refuses some of them by itself, before anybody
//! hears of a request. Each of those is recorded when its connection ends.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{exchange::Leg, stream::Duplex};
use crate::{Code, limits::MAX_UNHEARD};

/// Bytes in front of the first frame (RFC 9113, 3.4).
const PREFACE_BYTES: usize = 24;
/// Bytes in front of what is in a frame (RFC 9113, 4.1).
const HEAD_BYTES: usize = 9;
/// A frame that opens a stream, if the stream is new.
const HEADERS: u8 = 1;

/// How many streams of a connection were opened of which nobody heard. Dropped, it has each of them recorded.
pub(crate) struct Opened {
    leg: Arc<Leg>,
    unheard: AtomicUsize,
}

impl Opened {
    pub(crate) fn new(leg: Arc<Leg>) -> Arc<Self> {
        Arc::new(Self {
            leg,
            unheard: AtomicUsize::new(0),
        })
    }

    /// The next of them became a request.
    pub(crate) fn heard(&self) {
        self.unheard.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        for _ in 0..*self.unheard.get_mut() {
            if let Some(mut draft) = self.leg.draft() {
                draft.end(Some(Code::Framing));
            }
        }
    }
}

/// A connection on which streams are counted.
pub(crate) struct Counted<S> {
    stream: S,
    opened: Arc<Opened>,
    scan: Scan,
}

impl<S> Counted<S> {
    pub(crate) fn new(stream: S, opened: &Arc<Opened>) -> Self {
        Self {
            stream,
            opened: Arc::clone(opened),
            scan: Scan::default(),
        }
    }
}

/// Finds the frames that open streams, in whatever pieces they come.
#[derive(Debug)]
struct Scan {
    /// Bytes until the next frame.
    skip: usize,
    /// What is there of its head.
    head: [u8; HEAD_BYTES],
    had: usize,
    /// The newest stream.
    last: u32,
}

impl Default for Scan {
    fn default() -> Self {
        Self {
            skip: PREFACE_BYTES,
            head: [0; HEAD_BYTES],
            had: 0,
            last: 0,
        }
    }
}

impl Scan {
    /// Looks at what comes next; `open` is asked about each new stream, and the bytes before the head of one that it refuses are
    /// as many as this says.
    fn feed(&mut self, bytes: &[u8], mut open: impl FnMut() -> bool) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(rest.len());
                self.skip -= skipped;
                rest = rest.get(skipped..).unwrap_or_default();
                continue;
            }
            let wanted = (HEAD_BYTES - self.had).min(rest.len());
            let (now, later) = rest.split_at(wanted);
            let into = self.head.iter_mut().skip(self.had);
            into.zip(now).for_each(|(into, byte)| *into = *byte);
            self.had += wanted;
            if self.had == HEAD_BYTES {
                let [a, b, c, kind, _, w, x, y, z] = self.head;
                let stream = u32::from_be_bytes([w & 0x7f, x, y, z]);
                if kind == HEADERS && stream > self.last {
                    self.last = stream;
                    if !open() {
                        return bytes.len() - rest.len();
                    }
                }
                self.had = 0;
                self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            }
            rest = later;
        }
        bytes.len()
    }
}

impl<S: Duplex> AsyncRead for Counted<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        let unheard = &this.opened.unheard;
        let open = || unheard.fetch_add(1, Ordering::Relaxed) < MAX_UNHEARD - 1;
        let read = buffer.filled().get(before..).unwrap_or_default();
        let passed = this.scan.feed(read, open);
        if passed < read.len() {
            // The last one of them is recorded too, and is never a request.
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Duplex> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, stream: u8, length: u8) -> Vec<u8> {
        let head = [0, 0, length, kind, 0, 0, 0, 0, stream];
        [&head[..], &vec![HEADERS; usize::from(length)]].concat()
    }

    /// New streams are counted once, in whatever pieces they come; nothing that is in a frame is one, nor trailers.
    #[test]
    fn streams_are_counted_in_any_pieces() {
        let frames = [
            vec![b'P'; PREFACE_BYTES],
            frame(4, 0, 6),
            frame(HEADERS, 1, 200),
            frame(9, 1, 30),
            frame(0, 1, 18),
            frame(HEADERS, 3, 0),
            frame(HEADERS, 1, 20),
            frame(HEADERS, 5, 9),
        ];
        let bytes = frames.concat();
        for size in 1..=bytes.len() {
            let (mut scan, mut count) = (Scan::default(), 0);
            for piece in bytes.chunks(size) {
                let passed = scan.feed(piece, || {
                    count += 1;
                    true
                });
                assert_eq!(passed, piece.len());
            }
            assert_eq!(count, 3, "{size}");
        }
        let passed = Scan::default().feed(&bytes, || false);
        assert!(passed < bytes.len());
    }
}

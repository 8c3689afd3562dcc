//! A connection whose first bytes were read already.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use crate::limits::READ_BYTES;

/// Anything that bytes go through both ways.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// A connection; what is in front of it is read first.
pub(crate) struct Io {
    front: BytesMut,
    stream: Box<dyn Duplex>,
}

impl Io {
    pub(crate) fn new(stream: impl Duplex + 'static) -> Self {
        Self {
            front: BytesMut::new(),
            stream: Box::new(stream),
        }
    }

    /// What was read and not taken.
    pub(crate) fn front(&mut self) -> &mut BytesMut {
        &mut self.front
    }

    /// Reads more behind what is in front. Nothing more means the end.
    pub(crate) async fn peek(&mut self) -> io::Result<usize> {
        self.front.reserve(READ_BYTES);
        self.stream.read_buf(&mut self.front).await
    }

    /// Waits until the other end has gone. What it says instead is left in front, and who says much is not looked after any more.
    pub(crate) async fn gone(&mut self) {
        while self.front.len() < READ_BYTES {
            if !matches!(self.peek().await, Ok(1..)) {
                return;
            }
        }
        std::future::pending().await
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.front.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.front.len().min(buffer.remaining());
        buffer.put_slice(self.front.get(..count).unwrap_or_default());
        self.front.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
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

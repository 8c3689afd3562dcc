//! A ClientHello that does not come at once.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use crate::{Duplex, Tls};

/// How long each pause is.
const PAUSE: Duration = Duration::from_millis(20);

/// A connection on which the ClientHello goes out in pieces.
pub(crate) struct Shaped {
    inner: Box<dyn Duplex>,
    cuts: VecDeque<usize>,
    records: Vec<usize>,
    out: VecDeque<u8>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Shaped {
    /// On `inner`, as `how` says.
    pub(crate) fn new(inner: Box<dyn Duplex>, how: &Tls) -> Self {
        Self {
            inner,
            cuts: how.cuts.iter().copied().collect(),
            records: how.records.clone(),
            out: VecDeque::new(),
            pause: None,
        }
    }

    /// Sends what is to go out, with a pause at each cut.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            let size = self
                .cuts
                .front()
                .copied()
                .unwrap_or(self.out.len())
                .min(self.out.len());
            let piece: Vec<_> = self.out.iter().take(size).copied().collect();
            let count = ready!(Pin::new(&mut self.inner).poll_write(context, &piece))?;
            self.out.drain(..count);
            ready!(Pin::new(&mut self.inner).poll_flush(context))?;
            if self.cuts.pop_front().is_some() {
                self.pause = Some(Box::pin(sleep(PAUSE)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Shaped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(context))?;
        let records = std::mem::take(&mut self.records);
        let mut rest = bytes;
        if let ([22, _, _, _, _, body @ ..], false) = (bytes, records.is_empty()) {
            rest = body;
            for size in records.into_iter().chain([usize::from(u16::MAX)]) {
                let (now, later) = rest.split_at(size.min(rest.len()));
                rest = later;
                if !now.is_empty() {
                    self.out.extend([22, 3, 1]);
                    self.out
                        .extend(u16::try_from(now.len()).unwrap().to_be_bytes());
                    self.out.extend(now);
                }
            }
        }
        self.out.extend(rest);
        // What is not drained now goes out with the next call.
        let _ = self.poll_drain(context)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = buffers
            .iter()
            .flat_map(|buffer| buffer.iter().copied())
            .collect();
        self.poll_write(context, &all)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl AsyncRead for Shaped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The answer may come before all was said.
        let _ = self.poll_drain(context)?;
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

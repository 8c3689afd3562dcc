//! The coding `deflate`. The writer of `flate2` does not say that a stream was cut off.

use std::io::{self, Write as _};

use flate2::{Decompress, FlushDecompress, Status};

use super::{BUFFER_BYTES, Sink, Undecodable};

pub(super) struct Deflate {
    inner: Decompress,
    ended: bool,
    sink: Sink,
}

impl Deflate {
    pub(super) fn new(sink: Sink) -> Self {
        Self {
            inner: Decompress::new(true),
            ended: false,
            sink,
        }
    }

    pub(super) fn sink(&mut self) -> &mut Sink {
        &mut self.sink
    }

    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Undecodable> {
        let mut rest = piece;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            if self.ended && !rest.is_empty() {
                return Err(Undecodable::Trailing);
            }
            let before = (self.inner.total_in(), self.inner.total_out());
            let status = self
                .inner
                .decompress(rest, &mut buffer, FlushDecompress::None)
                .map_err(|error| Undecodable::Bad(io::Error::other(error)))?;
            let read = usize::try_from(self.inner.total_in() - before.0).unwrap_or(usize::MAX);
            let written = usize::try_from(self.inner.total_out() - before.1).unwrap_or(usize::MAX);
            rest = rest.get(read..).unwrap_or_default();
            self.sink
                .write_all(buffer.get(..written).unwrap_or_default())
                .map_err(Undecodable::Bad)?;
            self.ended = status == Status::StreamEnd;
            if self.ended && rest.is_empty() || read == 0 && written == 0 {
                return Ok(());
            }
        }
    }

    pub(super) fn finish(&mut self) -> Result<(), Undecodable> {
        if self.ended {
            Ok(())
        } else {
            Err(Undecodable::CutOff)
        }
    }
}

//! Where decompressed bytes go, up to a limit.

use std::io::{self, Write};

use bytes::Bytes;

#[derive(Default)]
pub(super) struct Sink {
    pieces: Vec<Bytes>,
    written: u64,
    allowed: u64,
    over: bool,
}

impl Sink {
    /// From now on so much may come out, in all.
    pub(super) fn allow(&mut self, bytes: u64) {
        self.allowed = bytes;
    }

    /// More would have come out.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Bytes> {
        self.pieces.drain(..)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.allowed.saturating_sub(self.written);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let fits = bytes.get(..room).unwrap_or(bytes);
        if !fits.is_empty() {
            self.pieces.push(Bytes::copy_from_slice(fits));
            self.written += fits.len() as u64;
        }
        if fits.len() < bytes.len() {
            self.over = true;
            return Err(io::Error::other("too much comes out"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

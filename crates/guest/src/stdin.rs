//! The program's standard input: at most one chunk waits here.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::{fd::AsFd as _, io::Errno};

/// Our end of the program's standard input.
pub(crate) struct Stdin {
    pipe: Option<OwnedFd>,
    chunk: Vec<u8>,
    written: usize,
    closing: bool,
    /// What ends it: a terminal stays open, and is told by a character.
    end: &'static [u8],
}

/// ASCII's end of transmission: Ctrl-D, as a terminal has it from the start (termios(3), VEOF).
const END_OF_TRANSMISSION: &[u8] = b"\x04";

impl Stdin {
    pub(crate) const fn new(pipe: Option<OwnedFd>, on_terminal: bool) -> Self {
        Self {
            pipe,
            chunk: Vec::new(),
            written: 0,
            closing: false,
            end: if on_terminal {
                END_OF_TRANSMISSION
            } else {
                b""
            },
        }
    }

    /// The pipe, while a chunk waits for room in it.
    pub(crate) fn waiting(&self) -> Option<BorrowedFd<'_>> {
        self.pipe
            .as_ref()
            .filter(|_| self.written < self.chunk.len())
            .map(|pipe| pipe.as_fd())
    }

    /// Takes the next chunk. True when it is done with at once, because nobody reads it.
    pub(crate) fn put(&mut self, chunk: Vec<u8>) -> bool {
        self.chunk = chunk;
        self.written = 0;
        self.pipe.is_none() || self.chunk.is_empty()
    }

    /// Closes the pipe when the chunk that waits is written.
    pub(crate) fn close(&mut self) {
        self.closing = true;
        if self.waiting().is_none() {
            self.finish();
        }
    }

    /// Writes what fits. True when the chunk is done with: written, or refused for good.
    pub(crate) fn write(&mut self) -> bool {
        let (Some(pipe), Some(rest)) = (&self.pipe, self.chunk.get(self.written..)) else {
            return false;
        };
        match rustix::io::write(pipe, rest) {
            Ok(count) => self.written += count,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.pipe = None,
        }
        let done = self.pipe.is_none() || self.written == self.chunk.len();
        if done && self.closing {
            self.finish();
        }
        done
    }

    fn finish(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            // A full terminal has no room for it: its program has enough to read.
            let _ = rustix::io::write(pipe, self.end);
        }
    }
}

//! A body on its way to an agent: decompressed if it has to be, then scrubbed.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Coding, DecodeLimits, Hits, Scrubber, Stream, Undecodable, decode::Decoder};

/// A body in pieces, of which what comes out is neither compressed nor holds a secret.
#[expect(missing_debug_implementations, reason = "it holds parts of bodies")]
pub struct Body {
    decoder: Decoder,
    stream: Stream,
}

impl Body {
    /// At the beginning of a body.
    #[must_use]
    pub fn new(scrubber: Arc<Scrubber>, coding: Coding, limits: DecodeLimits) -> Self {
        Self {
            decoder: Decoder::new(coding, limits),
            stream: Stream::new(scrubber),
        }
    }

    /// Reads the next piece, and gives to `out` what can be put out: of a compressed piece up to [`DecodeLimits::ratio`] times its size.
    ///
    /// # Errors
    /// When it cannot be decompressed. What came before the fault was put out, scrubbed; [`Body::finish`] gives the rest of that.
    pub fn push(&mut self, piece: &Bytes, mut out: impl FnMut(Bytes)) -> Result<(), Undecodable> {
        let stream = &mut self.stream;
        self.decoder
            .push(piece, |decoded| stream.push(&decoded, &mut out))
    }

    /// Looks with another scrubber from here on: see [`Stream::change`].
    pub fn change(&mut self, scrubber: Arc<Scrubber>) {
        self.stream.change(scrubber);
    }

    /// Ends the body: with it, or because something went wrong, here or upstream.
    ///
    /// # Errors
    /// What was found, and that a compressed body was not complete.
    pub fn finish(mut self, mut out: impl FnMut(Bytes)) -> (Hits, Result<(), Undecodable>) {
        let stream = &mut self.stream;
        let ended = self
            .decoder
            .finish(|decoded| stream.push(&decoded, &mut out));
        (self.stream.finish(out), ended)
    }

    /// What was found so far.
    #[must_use]
    pub fn hits(&self) -> &Hits {
        self.stream.hits()
    }
}

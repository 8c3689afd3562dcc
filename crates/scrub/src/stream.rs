//! A body that passes in pieces.

use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::{
    Hits,
    cover::Cover,
    scrubber::{MARK, Scrubber},
};

/// Takes secrets out of a body that comes in pieces. What comes out does not depend on what the pieces are.
///
/// Of each piece, all comes out at once except an end that may be the beginning of a secret. Bytes without secrets are not copied.
#[expect(missing_debug_implementations, reason = "it holds parts of bodies")]
pub struct Stream {
    scrubber: Arc<Scrubber>,
    cover: Cover,
    /// What was read and not put out: never more than the longest spelling.
    held: Zeroizing<Vec<u8>>,
    hits: Hits,
}

impl Stream {
    /// At the beginning of a body.
    #[must_use]
    pub fn new(scrubber: Arc<Scrubber>) -> Self {
        Self {
            scrubber,
            cover: Cover::default(),
            held: Zeroizing::default(),
            hits: Hits::default(),
        }
    }

    /// Reads the next piece, and gives to `out` what can be put out.
    pub fn push(&mut self, piece: &Bytes, mut out: impl FnMut(Bytes)) {
        let from = self.cover.position();
        self.cover.read(&self.scrubber, piece, &mut self.hits);
        let held_from = self.cover.taken();
        let end = self.cover.certain(&self.scrubber);
        put_out(&mut self.cover, &self.held, piece, end, &mut out);
        // Now the end of the piece is all that may be left, or everything.
        let gone = usize::try_from(end - held_from).unwrap_or(usize::MAX);
        if gone < self.held.len() {
            self.held.drain(..gone);
            hold(&mut self.held, piece);
        } else {
            self.held.clear();
            let gone = usize::try_from(end - from).unwrap_or(usize::MAX);
            hold(&mut self.held, piece.get(gone..).unwrap_or_default());
        }
    }

    /// Looks with another scrubber from here on, and in what is held back. What was found stays covered; what was put out is out.
    pub fn change(&mut self, scrubber: Arc<Scrubber>) {
        self.scrubber = scrubber;
        self.cover.again(&self.scrubber, &self.held, &mut self.hits);
    }

    /// Ends the body: with it, or because something went wrong. Gives to `out` what was held back, without what may have been a part of a secret.
    pub fn finish(mut self, mut out: impl FnMut(Bytes)) -> Hits {
        self.cover.end(&self.scrubber, &mut self.hits);
        let end = self.cover.position();
        put_out(&mut self.cover, &self.held, &Bytes::new(), end, &mut out);
        self.hits
    }

    /// What was found so far.
    #[must_use]
    pub fn hits(&self) -> &Hits {
        &self.hits
    }

    /// How many bytes are held back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

/// Puts out what is between the last byte that was taken and `end`. It is in `held` and `piece`, one after the other.
fn put_out(cover: &mut Cover, held: &[u8], piece: &Bytes, end: u64, out: &mut impl FnMut(Bytes)) {
    let first = cover.taken();
    cover.take_until(end, |part| {
        let Ok(clean) = part else {
            return out(Bytes::from_static(MARK.as_bytes()));
        };
        let at = |position: u64| usize::try_from(position - first).unwrap_or(usize::MAX);
        let (start, end) = (at(clean.start), at(clean.end));
        if let Some(clean) = held.get(start..end.min(held.len()))
            && !clean.is_empty()
        {
            out(Bytes::copy_from_slice(clean));
        }
        let (start, end) = (
            start.saturating_sub(held.len()),
            end.saturating_sub(held.len()),
        );
        if start < end {
            out(piece.slice(start..end));
        }
    });
}

/// Adds to what is held. Where it has to grow, the old place is erased.
fn hold(held: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    if held.capacity() - held.len() < bytes.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity(2 * (held.len() + bytes.len())));
        larger.extend_from_slice(held);
        *held = larger;
    }
    held.extend_from_slice(bytes);
}

//! The bytes of a body of HTTP/1.1, taken out of what a client sends.

use bytes::{Buf as _, Bytes, BytesMut};
use http::HeaderMap;

use crate::{
    Code,
    head::{Length, is_trailer, parse_lines},
    limits::{MAX_CHUNK_DIGITS, MAX_TRAILER_BYTES},
};

/// Where in a body we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes of it, or of this chunk, are still to come.
    Data {
        left: u64,
        chunked: bool,
    },
    /// The line with the size of a chunk.
    Size,
    /// The line end behind a chunk.
    Gap,
    Trailers,
    Ended,
}

/// Takes a body apart. The same bytes give the same body, however they come.
#[derive(Clone, Debug)]
pub(crate) struct Decoder(State);

/// What a decoder found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    /// More bytes are needed.
    More,
    /// The body has ended; what is left is not part of it.
    End,
}

impl Decoder {
    pub(crate) const fn new(length: Length) -> Self {
        Self(match length {
            Length::Nothing | Length::Bytes(0) => State::Ended,
            Length::Bytes(left) => State::Data {
                left,
                chunked: false,
            },
            Length::Chunked => State::Size,
            // Not of HTTP/1.1; there is nothing to take apart.
            Length::Stream => State::Ended,
        })
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0 == State::Ended
    }

    /// The next piece at the front of `buffer`, taken out of it.
    ///
    /// # Errors
    /// `framing` for what is no chunk: a size that is not only hex digits, an extension, a line without CR LF.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Result<Piece, Code> {
        loop {
            match self.0 {
                State::Ended => return Ok(Piece::End),
                State::Data { left: 0, .. } => self.0 = State::Gap,
                State::Data { .. } if buffer.is_empty() => return Ok(Piece::More),
                State::Data { left, chunked } => {
                    let now =
                        usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
                    let left = left.saturating_sub(u64::try_from(now).unwrap_or(u64::MAX));
                    // Whoever knows the length does not ask again for the end.
                    self.0 = match (left, chunked) {
                        (0, false) => State::Ended,
                        _ => State::Data { left, chunked },
                    };
                    return Ok(Piece::Data(buffer.split_to(now).freeze()));
                }
                State::Gap => match buffer.get(..2) {
                    Some(b"\r\n") => {
                        buffer.advance(2);
                        self.0 = State::Size;
                    }
                    None if matches!(buffer.first(), None | Some(b'\r')) => return Ok(Piece::More),
                    _ => return Err(Code::Framing),
                },
                State::Size => match size(buffer)? {
                    None => return Ok(Piece::More),
                    Some(0) => self.0 = State::Trailers,
                    Some(left) => {
                        self.0 = State::Data {
                            left,
                            chunked: true,
                        }
                    }
                },
                State::Trailers => {
                    let Some(trailers) = trailers(buffer)? else {
                        return Ok(Piece::More);
                    };
                    self.0 = State::Ended;
                    if !trailers.is_empty() {
                        return Ok(Piece::Trailers(trailers));
                    }
                }
            }
        }
    }
}

/// The size that a line gives, once it is there whole.
fn size(buffer: &mut BytesMut) -> Result<Option<u64>, Code> {
    let digits = buffer
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    if digits > MAX_CHUNK_DIGITS {
        return Err(Code::Framing);
    }
    let line = match buffer.get(digits..).unwrap_or_default() {
        [] | [b'\r'] => return Ok(None),
        [b'\r', b'\n', ..] if digits > 0 => buffer.split_to(digits),
        _ => return Err(Code::Framing),
    };
    buffer.advance(2);
    let text = std::str::from_utf8(&line).map_err(|_| Code::Framing)?;
    u64::from_str_radix(text, 16)
        .map(Some)
        .map_err(|_| Code::Framing)
}

/// The trailers, once they are there whole.
fn trailers(buffer: &mut BytesMut) -> Result<Option<HeaderMap>, Code> {
    // No trailers: the empty line at once.
    let end = match buffer.get(..2) {
        Some(b"\r\n") => Some(0),
        _ => buffer
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .map(|at| at + 2),
    };
    let lone = buffer
        .iter()
        .zip([0].iter().chain(buffer.iter()))
        .take(end.unwrap_or(buffer.len()))
        .any(|(byte, before)| (*byte == b'\n') != (*before == b'\r'));
    if lone || end.unwrap_or(buffer.len()) > MAX_TRAILER_BYTES {
        return Err(Code::Framing);
    }
    let Some(end) = end else {
        return Ok(None);
    };
    let block = buffer.split_to(end);
    buffer.advance(2);
    let fields = parse_lines(&block)?;
    match fields.keys().all(is_trailer) {
        true => Ok(Some(fields)),
        false => Err(Code::Framing),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds pieces that end at `ends`, and collects the body, its trailers and what is left.
    fn decode(
        length: Length,
        bytes: &[u8],
        ends: &[usize],
    ) -> Result<(Vec<u8>, usize, bool, Vec<u8>), Code> {
        let (mut decoder, mut buffer) = (Decoder::new(length), BytesMut::new());
        let (mut body, mut trailers, mut from) = (Vec::new(), 0, 0);
        for end in ends
            .iter()
            .map(|end| (*end).min(bytes.len()))
            .chain([bytes.len()])
        {
            if end > from {
                buffer.extend_from_slice(&bytes[from..end]);
                from = end;
            }
            loop {
                match decoder.next(&mut buffer)? {
                    Piece::Data(data) => body.extend(data),
                    Piece::Trailers(fields) => trailers += fields.len(),
                    Piece::More | Piece::End => break,
                }
            }
        }
        Ok((body, trailers, decoder.has_ended(), buffer.to_vec()))
    }

    #[test]
    fn chunks_have_one_spelling() {
        let good = b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\nGET";
        let (body, trailers, ended, left) = decode(Length::Chunked, good, &[]).unwrap();
        assert_eq!(
            (body.as_slice(), trailers, ended, left.as_slice()),
            (&b"abc0123456789"[..], 1, true, &b"GET"[..])
        );
        for bad in [
            &b"3 \r\nabc\r\n0\r\n\r\n"[..],
            b"3;x=y\r\nabc\r\n0\r\n\r\n",
            b"0x3\r\nabc\r\n0\r\n\r\n",
            b"+3\r\nabc\r\n",
            b"\r\n",
            b"3\nabc\n0\n\n",
            b"3\r\nabcd\r\n",
            b"3\r\nabc\n",
            b"ffffffffffffffff\r\n",
            b"0\r\nContent-Length: 1\r\n\r\n",
            b"0\r\nAuthorization: x\r\n\r\n",
            b"0\r\nX: y\n\r\n\r\n",
            b"0\r\n X: y\r\n\r\n",
            b"0\r\nx",
            b"-1\r\n",
        ] {
            let found = decode(Length::Chunked, bad, &[]);
            assert!(
                found == Err(Code::Framing) || bad == b"0\r\nx" && !found.clone().unwrap().2,
                "{:?}: {found:?}",
                bad.escape_ascii().to_string()
            );
        }
        let endless = [b"0\r\n".to_vec(), b"X: y\r\n".repeat(MAX_TRAILER_BYTES)].concat();
        assert_eq!(decode(Length::Chunked, &endless, &[]), Err(Code::Framing));
    }

    #[test]
    fn a_length_is_kept_to() {
        let (body, _, ended, left) = decode(Length::Bytes(3), b"abcGET", &[]).unwrap();
        assert_eq!(
            (body.as_slice(), ended, left.as_slice()),
            (&b"abc"[..], true, &b"GET"[..])
        );
        assert!(!decode(Length::Bytes(3), b"ab", &[]).unwrap().2);
        assert!(decode(Length::Nothing, b"GET", &[]).unwrap().2);
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_body(
            bytes in "([0-4][\r]?\n[a-c]{0,4}\r\n|2\r\nab\r\n|0\r\n|X: y\r\n|\r\n){0,6}",
            mut ends in prop::collection::vec(0usize..60, 0..12),
        ) {
            ends.sort_unstable();
            let whole = decode(Length::Chunked, bytes.as_bytes(), &[]);
            prop_assert_eq!(decode(Length::Chunked, bytes.as_bytes(), &ends), whole);
        }
    }
}

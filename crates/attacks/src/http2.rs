//! Frames of HTTP/2, written by hand, so that they can say what no library says.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::Duplex;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const MAX_FRAME: usize = 16_384;

/// The beginning of a connection: no table of fields, nothing pushed.
pub(crate) fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]));
    bytes
}

/// A request.
pub(crate) fn request(
    stream: u32,
    fields: &[(Vec<u8>, Vec<u8>)],
    body: Option<&[u8]>,
    trailers: &[(Vec<u8>, Vec<u8>)],
) -> Vec<u8> {
    let ends = body.is_none() && trailers.is_empty();
    let mut bytes = block(stream, fields, ends);
    if let Some(body) = body {
        let flags = if trailers.is_empty() { END_STREAM } else { 0 };
        bytes.extend(frame(DATA, flags, stream, body));
    }
    if !trailers.is_empty() {
        bytes.extend(block(stream, trailers, true));
    }
    bytes
}

fn block(stream: u32, fields: &[(Vec<u8>, Vec<u8>)], ends: bool) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        for text in [name, value] {
            number(&mut block, text.len());
            block.extend(text);
        }
    }
    let mut bytes = Vec::new();
    let count = block.len().div_ceil(MAX_FRAME).max(1);
    let mut pieces = block.chunks(MAX_FRAME);
    for at in 0..count {
        let kind = if at == 0 { HEADERS } else { CONTINUATION };
        let last = if at + 1 == count { END_HEADERS } else { 0 };
        let end = if ends && at == 0 { END_STREAM } else { 0 };
        bytes.extend(frame(
            kind,
            last | end,
            stream,
            pieces.next().unwrap_or(&[]),
        ));
    }
    bytes
}

/// A length, in the seven bits of a byte and those that follow.
fn number(bytes: &mut Vec<u8>, value: usize) {
    if value < 127 {
        bytes.push(u8::try_from(value).unwrap());
        return;
    }
    bytes.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128 + 128).unwrap());
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The status of the answer on a stream, once it is there whole; 0 when the stream or the connection ends before that.
pub(crate) async fn status(connection: &mut (impl Duplex + ?Sized), stream: u32) -> u16 {
    let mut status = None;
    loop {
        let mut head = [0; 9];
        if connection.read_exact(&mut head).await.is_err() {
            return 0;
        }
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        if connection.read_exact(&mut payload).await.is_err() {
            return 0;
        }
        let (kind, flags) = (head[3], head[4]);
        let on = u32::from_be_bytes([head[5] & 127, head[6], head[7], head[8]]);
        match kind {
            SETTINGS | PING if flags & ACK == 0 => {
                let answer: &[u8] = if kind == PING { &payload } else { &[] };
                let _ = connection.write_all(&frame(kind, ACK, 0, answer)).await;
                let _ = connection.flush().await;
            }
            HEADERS if on == stream && status.is_none() => match of_block(&payload) {
                Some(100..=199) => {}
                Some(found) => status = Some(found),
                None => return 0,
            },
            RESET if on == stream => return status.unwrap_or(0),
            GOAWAY if payload.get(4..8) != Some(&[0; 4]) => return status.unwrap_or(0),
            _ => {}
        }
        let ends = matches!(kind, DATA | HEADERS) && on == stream && flags & END_STREAM != 0;
        if let (true, Some(status)) = (ends, status) {
            return status;
        }
    }
}

/// The status that a block of fields begins with.
fn of_block(block: &[u8]) -> Option<u16> {
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20)?;
    match block[start..] {
        [index, ..] if index & 0x80 != 0 => {
            let known = [200, 204, 206, 304, 400, 404, 500];
            known
                .get(usize::from(index & 0x7f).checked_sub(8)?)
                .copied()
        }
        [_, length, ref text @ ..] => {
            let value = text.get(..usize::from(length & 0x7f))?;
            let digits = if length & 0x80 == 0 {
                String::from_utf8(value.to_vec()).ok()?
            } else {
                digits(value)
            };
            digits.parse().ok()
        }
        _ => None,
    }
}

/// Digits in the code of RFC 7541, appendix B: five bits for 0 to 2, six for the others.
fn digits(bytes: &[u8]) -> String {
    let bits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1))
        .collect();
    let value = |bits: &[u8]| bits.iter().fold(0, |sum, bit| sum << 1 | bit);
    let (mut text, mut at) = (String::new(), 0);
    while let Some(five) = bits.get(at..at + 5) {
        let (digit, size) = match (value(five), bits.get(at..at + 6).map(value)) {
            (digit @ 0..=2, _) => (digit, 5),
            (_, Some(six @ 25..=31)) => (six - 22, 6),
            _ => break,
        };
        text.push(char::from(b'0' + digit));
        at += size;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_in_every_form() {
        assert_eq!(of_block(&[0x88]), Some(200));
        assert_eq!(of_block(&[0x20, 0x8c]), Some(400));
        assert_eq!(of_block(&[0x48, 0x03, b'4', b'2', b'1']), Some(421));
        // "302" of RFC 7541, C.6.1, and "307" of C.6.2.
        assert_eq!(of_block(&[0x48, 0x82, 0x64, 0x02]), Some(302));
        assert_eq!(of_block(&[0x48, 0x83, 0x64, 0x0e, 0xff]), Some(307));
    }

    #[test]
    fn a_long_block_goes_on_in_other_frames() {
        let fields = [(b"a".to_vec(), vec![b'x'; 2 * MAX_FRAME])];
        let bytes = request(1, &fields, None, &[]);
        assert_eq!((bytes[3], bytes[4]), (HEADERS, END_STREAM));
        let second = 9 + MAX_FRAME;
        assert_eq!((bytes[second + 3], bytes[second + 4]), (CONTINUATION, 0));
        let third = 2 * second;
        assert_eq!(
            (bytes[third + 3], bytes[third + 4]),
            (CONTINUATION, END_HEADERS)
        );
    }
}

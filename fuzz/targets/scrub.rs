//! A body scrubbed in any pieces comes out as it does whole, compressed or not, and without the secret.
#![no_main]

use std::sync::Arc;

use bytes::Bytes;
use casemate_scrub::{Body, Coding, DecodeLimits, Scrubber, Secret, Stream};

const SECRET: &str = "kq3Zt9Wb7Lx2";

fn pieces(bytes: &[u8], cut: usize) -> impl Iterator<Item = Bytes> {
    bytes.chunks(cut.max(1)).map(Bytes::copy_from_slice)
}

fn streamed(scrubber: &Arc<Scrubber>, bytes: &[u8], cut: usize) -> Vec<u8> {
    let (mut stream, mut out) = (Stream::new(Arc::clone(scrubber)), Vec::new());
    for piece in pieces(bytes, cut) {
        stream.push(&piece, |bytes| out.extend_from_slice(&bytes));
    }
    stream.finish(|bytes| out.extend_from_slice(&bytes));
    out
}

libfuzzer_sys::fuzz_target!(|input: (u8, u8, &[u8])| {
    let (cut, coding, bytes) = input;
    // So that the secret is there without being guessed.
    let text = String::from_utf8_lossy(bytes)
        .replace("{}", SECRET)
        .into_bytes();
    let secret = Secret::new("key", SECRET.as_bytes().to_vec()).expect("a secret");
    let scrubber = Arc::new(Scrubber::new(vec![secret]).expect("a scrubber"));
    let whole = streamed(&scrubber, &text, usize::MAX);
    assert_eq!(streamed(&scrubber, &text, usize::from(cut)), whole);
    assert!(
        !whole
            .windows(SECRET.len())
            .any(|part| part == SECRET.as_bytes())
    );
    let coding: &[&[u8]] = match coding % 5 {
        0 => &[],
        1 => &[b"gzip"],
        2 => &[b"deflate"],
        3 => &[b"br"],
        _ => &[b"zstd"],
    };
    let coding = Coding::of(coding.iter().copied()).expect("a coding");
    let decoded = |cut: usize| {
        let mut body = Body::new(Arc::clone(&scrubber), coding, DecodeLimits::default());
        let (mut out, mut failed) = (Vec::new(), false);
        for piece in pieces(bytes, cut) {
            if body
                .push(&piece, |bytes| out.extend_from_slice(&bytes))
                .is_err()
            {
                failed = true;
                break;
            }
        }
        let (_, ended) = body.finish(|bytes| out.extend_from_slice(&bytes));
        (out, failed || ended.is_err())
    };
    let ((some, some_failed), (all, failed)) = (decoded(usize::from(cut)), decoded(usize::MAX));
    assert_eq!(some_failed, failed);
    // Of a damaged body more or less may have come out before the damage was seen.
    assert!(failed || some == all);
});

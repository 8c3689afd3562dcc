//! Compressed bodies.

use std::{io::Write as _, sync::Arc};

use bytes::Bytes;
use casemate_scrub::{Body, Coding, DecodeLimits, Hits, MARK, Undecodable};
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use proptest::{collection::vec, prelude::*};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use crate::common::{fresh, holds, scrubber};

const CODINGS: [Coding; 5] = [
    Coding::Identity,
    Coding::Gzip,
    Coding::Deflate,
    Coding::Brotli,
    Coding::Zstd,
];

fn encode(coding: Coding, text: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Identity => text.to_vec(),
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Deflate => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Brotli => stored_brotli(text),
        Coding::Zstd => compress_to_vec(text, CompressionLevel::Fastest),
    }
}

/// RFC 7932: a window of 16 bits, one block that is not compressed, and the empty last one.
fn stored_brotli(text: &[u8]) -> Vec<u8> {
    let header = u32::try_from(text.len() - 1).unwrap() << 4 | 1 << 20;
    [&header.to_le_bytes()[..3], text, &[3]].concat()
}

type Passed = (Vec<u8>, Hits, Result<(), Undecodable>);

fn pass(secret: &str, coding: Coding, encoded: &[u8], piece_bytes: usize) -> Passed {
    let mut body = Body::new(
        scrubber(&[("name", secret.as_bytes())]),
        coding,
        DecodeLimits::default(),
    );
    let mut out = Vec::new();
    let mut result = Ok(());
    for piece in encoded.chunks(piece_bytes) {
        result = body.push(&Bytes::copy_from_slice(piece), |piece| {
            out.extend_from_slice(&piece)
        });
        if result.is_err() {
            break;
        }
    }
    let (hits, ended) = body.finish(|piece| out.extend_from_slice(&piece));
    (out, hits, result.and(ended))
}

/// R78: compressing an echo does not carry a secret past the scrubber.
#[test]
fn a_secret_is_found_in_each_coding_and_any_pieces() {
    let secret = fresh(32);
    let text = format!(
        "{{\"echo\":\"{secret}\",\"more\":\"{}\"}}",
        "lorem ipsum ".repeat(500)
    );
    for coding in CODINGS {
        let encoded = encode(coding, text.as_bytes());
        for piece_bytes in [1, 2, 3, 7, 100, usize::MAX] {
            let (out, hits, result) = pass(&secret, coding, &encoded, piece_bytes);
            result.unwrap();
            assert_eq!(out, text.replace(&secret, MARK).as_bytes(), "{coding:?}");
            assert_eq!(
                hits.iter().map(|hit| hit.count).sum::<u64>(),
                1,
                "{coding:?}"
            );
        }
    }
}

/// What came before a fault is scrubbed like the rest, and the fault is still said (C12).
#[test]
fn a_body_that_breaks_off_is_scrubbed_up_to_there() {
    let secret = fresh(32);
    let text = format!("{secret} {}", fresh(5_000));
    for coding in [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd] {
        let encoded = encode(coding, text.as_bytes());
        let (out, _, result) = pass(&secret, coding, &encoded[..encoded.len() - 1], 64);
        assert!(
            matches!(result, Err(Undecodable::CutOff)),
            "{coding:?}: {result:?}"
        );
        assert!(!holds(&out, secret.as_bytes()), "{coding:?}");
        let (out, _, result) = pass(&secret, coding, &[&encoded[..], b"x"].concat(), 64);
        assert!(result.is_err(), "{coding:?}");
        assert!(!holds(&out, secret.as_bytes()), "{coding:?}");
    }
}

/// A thousand to one is refused before it takes a thousand times the memory (R04 of the corpus).
#[test]
fn a_bomb_is_refused() {
    let zeros = vec![0; 5 << 20];
    // Blocks of 128 KiB of one byte each, of four bytes each.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, 0x58];
    let block = [2, 0, 0x10, 0];
    let zstd: Vec<u8> = frame
        .into_iter()
        .chain(block.into_iter().cycle().take(4_000))
        .collect();
    for (coding, encoded) in [
        (Coding::Gzip, encode(Coding::Gzip, &zeros)),
        (Coding::Deflate, encode(Coding::Deflate, &zeros)),
        (Coding::Zstd, zstd),
    ] {
        let (out, _, result) = pass(&fresh(20), coding, &encoded, 1_000);
        assert!(
            matches!(result, Err(Undecodable::TooLarge)),
            "{coding:?}: {result:?}"
        );
        assert!(out.len() as u64 <= encoded.len() as u64 * 100, "{coding:?}");
    }
}

/// However slowly it grows, a body has an end.
#[test]
fn a_body_may_not_be_larger_than_the_limit() {
    let limits = DecodeLimits {
        total_bytes: 1_000,
        ..DecodeLimits::default()
    };
    let mut body = Body::new(scrubber(&[]), Coding::Gzip, limits);
    let mut out = 0;
    let encoded = encode(Coding::Gzip, fresh(1_001).as_bytes());
    let result = body.push(&encoded.into(), |piece| out += piece.len());
    let (_, ended) = body.finish(|piece| out += piece.len());
    assert!(matches!(result.and(ended), Err(Undecodable::TooLarge)));
    assert_eq!(out, 1_000);
}

/// A frame that asks for half a gigabyte of memory does not get it.
#[test]
fn a_large_window_is_refused() {
    let frame = [
        0x28, 0xb5, 0x2f, 0xfd, 0, 0x98, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let (_, _, result) = pass(&fresh(20), Coding::Zstd, &frame, usize::MAX);
    assert!(matches!(result, Err(Undecodable::Bad(_))), "{result:?}");
}

/// What cannot be looked into is not passed on: unknown codings, and one in another.
#[test]
fn codings_that_are_not_known_or_not_alone_are_refused() {
    let of = |values: &[&'static str]| Coding::of(values.iter().map(|value| value.as_bytes()));
    assert!(matches!(of(&[]), Ok(Coding::Identity)));
    assert!(matches!(of(&[" GZip "]), Ok(Coding::Gzip)));
    for layers in [
        &["gzip, br"][..],
        &["gzip", "gzip"],
        &["identity, gzip"],
        &["identity", "br"],
    ] {
        assert!(matches!(of(layers), Err(Undecodable::Layers)), "{layers:?}");
    }
    for unknown in [
        &["compress"][..],
        &[""],
        &["gzip,"],
        &["gzip;q=1"],
        &["dcb"],
        &["gzip br"],
    ] {
        assert!(
            matches!(of(unknown), Err(Undecodable::Unknown)),
            "{unknown:?}"
        );
    }
}

/// An answer to HEAD says how its body would have been compressed.
#[test]
fn no_body_is_no_fault() {
    for coding in CODINGS {
        let (out, _, result) = pass(&fresh(20), coding, b"", 1);
        result.unwrap();
        assert!(out.is_empty());
    }
}

/// An event in a compressed stream is delivered when it is there.
#[test]
fn a_compressed_stream_of_events_stays_live() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(b"data: one\n\n").unwrap();
    encoder.flush().unwrap();
    let mut body = Body::new(scrubber(&[]), Coding::Gzip, DecodeLimits::default());
    let mut out = Vec::new();
    let sent = Bytes::copy_from_slice(encoder.get_ref());
    body.push(&sent, |piece| out.extend_from_slice(&piece))
        .unwrap();
    assert_eq!(out, b"data: one\n\n");
}

proptest! {
    /// Whatever is sent, in whatever pieces: no panic, and never a secret.
    #[test]
    fn no_bytes_break_a_decoder(noise in vec(any::<u8>(), 0..300), at in 0..200_usize, piece_bytes in 1..50_usize) {
        let secret = fresh(20);
        let scrubbed = Arc::new(format!("{secret}{secret}"));
        for coding in CODINGS {
            let mut encoded = encode(coding, scrubbed.as_bytes());
            let at = at.min(encoded.len());
            encoded.splice(at.., noise.iter().copied());
            let (out, _, _) = pass(&secret, coding, &encoded, piece_bytes);
            prop_assert!(!holds(&out, secret.as_bytes()));
        }
    }
}

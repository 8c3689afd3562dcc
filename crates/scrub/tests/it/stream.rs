//! Any cut, any encoding, any neighbour.

use std::sync::Arc;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use casemate_scrub::{Encoding, Hits, MARK, MIN_SECRET_BYTES, Scrubber, Stream};
use proptest::{collection::vec, prelude::*, sample::Index};

use crate::common::{fresh, holds, in_pieces, scrubber};

/// How the secret is written by something that echoes it, by encoders that are not ours.
fn echoes(secret: &str) -> Vec<(Encoding, String)> {
    let bytes = secret.as_bytes();
    let hex = |upper: bool| -> String {
        bytes
            .iter()
            .map(|byte| {
                if upper {
                    format!("{byte:02X}")
                } else {
                    format!("{byte:02x}")
                }
            })
            .collect()
    };
    let every = |write: &dyn Fn(u8) -> String| bytes.iter().map(|byte| write(*byte)).collect();
    let mut all = vec![
        (Encoding::Raw, secret.to_owned()),
        (Encoding::Hex, hex(false)),
        (Encoding::Hex, hex(true)),
        (Encoding::Percent, every(&|byte| format!("%{byte:02x}"))),
        (Encoding::Percent, every(&|byte| format!("%{byte:02X}"))),
        (Encoding::Json, every(&|byte| format!("\\u00{byte:02x}"))),
        (Encoding::Json, every(&|byte| format!("\\u00{byte:02X}"))),
        (Encoding::Html, every(&|byte| format!("&#{byte};"))),
        (Encoding::Html, every(&|byte| format!("&#x{byte:x};"))),
        (Encoding::Reversed, secret.chars().rev().collect()),
    ];
    for before in ["", "a", "ab", "abc"] {
        for after in ["", "x", "xy", "xyz"] {
            let text = format!("{before}{secret}{after}");
            all.push((Encoding::Base64, STANDARD.encode(&text)));
            all.push((Encoding::Base64, STANDARD_NO_PAD.encode(&text)));
            all.push((Encoding::Base64Url, URL_SAFE.encode(&text)));
            all.push((Encoding::Base64Url, URL_SAFE_NO_PAD.encode(&text)));
        }
    }
    all
}

/// R78: whatever an echo does to a secret that is in the table, and wherever the network cuts it, nothing of it comes through.
#[test]
fn every_encoding_is_found_at_every_cut() {
    let secret = fresh(24) + "/+?~";
    let scrubber = scrubber(&[("github", secret.as_bytes())]);
    for (encoding, echo) in echoes(&secret) {
        let text = format!("data: {echo}\n\n");
        let (whole, hits) = in_pieces(&scrubber, text.as_bytes(), &[]);
        assert!(holds(&whole, MARK.as_bytes()), "{encoding}: {text}");
        // Around the mark: what base64 makes of three bytes before and after, and the characters that those share with the secret.
        assert!(
            whole.len() <= "data: \n\n".len() + MARK.len() + 4 + 7,
            "{encoding}: {text}"
        );
        assert!(!holds(&whole, &echo.as_bytes()[3..11]), "{encoding}");
        let found: Vec<_> = hits
            .iter()
            .map(|hit| (hit.credential.to_string(), hit.encoding))
            .collect();
        // Base64 for URLs that has none of its own characters is base64.
        let same = |found| {
            found == encoding || (found == Encoding::Base64 && encoding == Encoding::Base64Url)
        };
        assert!(
            matches!(&found[..], [(name, found)] if name == "github" && same(*found)),
            "{encoding}: {found:?}"
        );
        for cut in 0..=text.len() {
            assert_eq!(
                in_pieces(&scrubber, text.as_bytes(), &[cut]),
                (whole.clone(), hits.clone())
            );
        }
        let all: Vec<_> = (0..text.len()).collect();
        assert_eq!(in_pieces(&scrubber, text.as_bytes(), &all), (whole, hits));
    }
}

/// The union of all places where a spelling is, found by looking everywhere; every run of them is one mark.
fn reference(secrets: &[Vec<u8>], text: &[u8]) -> Vec<u8> {
    let mut covered = vec![false; text.len()];
    for secret in secrets {
        for at in every_place(text, secret) {
            covered[at..at + secret.len()].fill(true);
        }
        // The end.
        let begun = (MIN_SECRET_BYTES..secret.len().min(text.len() + 1))
            .rev()
            .find(|bytes| text.ends_with(&secret[..*bytes]));
        if let Some(bytes) = begun {
            covered[text.len() - bytes..].fill(true);
        }
    }
    let mut out = Vec::new();
    for (at, byte) in text.iter().enumerate() {
        match (covered[at], at > 0 && covered[at - 1]) {
            (false, _) => out.push(*byte),
            (true, false) => out.extend_from_slice(MARK.as_bytes()),
            (true, true) => {}
        }
    }
    out
}

/// Overlapping ones too.
fn every_place<'t>(text: &'t [u8], part: &'t [u8]) -> impl Iterator<Item = usize> + 't {
    (0..(text.len() + 1).saturating_sub(part.len())).filter(move |at| text[*at..].starts_with(part))
}

proptest! {
    /// With an alphabet of two letters, secrets overlap, contain and repeat each other as real ones never would. The result is that of the plain
    /// definition, for the whole text and for any pieces of it.
    #[test]
    fn pieces_do_not_matter(
        secrets in vec("[ab]{8,14}", 1..5),
        text in "[ab]{0,120}|[a-c]{0,60}",
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let named: Vec<_> = secrets.iter().map(|secret| ("name", secret.as_bytes())).collect();
        let scrubber = scrubber(&named);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        let (whole, hits) = in_pieces(&scrubber, text.as_bytes(), &[]);
        let both: Vec<_> = secrets
            .iter()
            .flat_map(|secret| [secret.clone().into_bytes(), secret.bytes().rev().collect()])
            .collect();
        prop_assert_eq!(&whole, &reference(&both, text.as_bytes()));
        prop_assert_eq!(in_pieces(&scrubber, text.as_bytes(), &cuts), (whole.clone(), hits.clone()));
        let mut own = Hits::default();
        prop_assert_eq!(scrubber.value(text.as_bytes(), &mut own).into_owned(), whole);
        prop_assert_eq!(own, hits);
    }

    /// Bytes without a secret come out as they went in.
    #[test]
    fn what_is_clean_is_left_alone(text in vec(any::<u8>(), 0..2_000), cuts in vec(any::<Index>(), 0..6)) {
        let secret = fresh(40);
        let scrubber = scrubber(&[("name", secret.as_bytes())]);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        let (out, hits) = in_pieces(&scrubber, &text, &cuts);
        prop_assert_eq!(out, text);
        prop_assert!(hits.is_empty());
    }
}

/// An event is delivered when it is there, not when the next one is.
#[test]
fn a_stream_of_events_stays_live() {
    let secret = fresh(40);
    let scrubber = scrubber(&[("name", secret.as_bytes())]);
    let mut stream = Stream::new(Arc::clone(&scrubber));
    for event in [
        "data: one\n\n".to_owned(),
        format!("data: {secret}\n\n"),
        "data: three\n\n".to_owned(),
    ] {
        let mut out = Vec::new();
        stream.push(&Bytes::from(event.clone()), |piece| {
            out.extend_from_slice(&piece)
        });
        assert_eq!(out, event.replace(&secret, MARK).as_bytes());
        assert_eq!(stream.held(), 0);
    }
}

/// What is held back is only what may be the beginning of a secret, and it comes as soon as it turns out that it was not.
#[test]
fn only_what_may_be_a_beginning_is_held_back() {
    let scrubber = scrubber(&[("name", b"0123456789")]);
    let mut stream = Stream::new(Arc::clone(&scrubber));
    let mut out = Vec::new();
    stream.push(&Bytes::from_static(b"abc01234567"), |piece| {
        out.extend_from_slice(&piece)
    });
    assert_eq!((out.as_slice(), stream.held()), (&b"abc"[..], 8));
    stream.push(&Bytes::from_static(b"_"), |piece| {
        out.extend_from_slice(&piece)
    });
    assert_eq!((out.as_slice(), stream.held()), (&b"abc01234567_"[..], 0));
}

/// Clean bytes are handed on, not copied.
#[test]
fn clean_bytes_are_not_copied() {
    let scrubber = scrubber(&[("name", fresh(40).as_bytes())]);
    let mut stream = Stream::new(scrubber);
    let piece = Bytes::from(vec![b'\n'; 100_000]);
    let mut pointers = Vec::new();
    stream.push(&piece, |out| pointers.push((out.as_ptr(), out.len())));
    assert_eq!(pointers, [(piece.as_ptr(), piece.len())]);
}

/// A body that breaks off in the middle of a secret gives away all but the rest, if it is not taken for one.
#[test]
fn a_secret_that_is_cut_off_does_not_come_through() {
    let secret = fresh(40);
    let scrubber = scrubber(&[("name", secret.as_bytes())]);
    for bytes in MIN_SECRET_BYTES..secret.len() {
        let (out, hits) = in_pieces(
            &scrubber,
            format!("x={}", &secret.get(..bytes).unwrap()).as_bytes(),
            &[],
        );
        assert_eq!(out, format!("x={MARK}").as_bytes());
        assert_eq!((hits.cut_off(), hits.iter().count()), (1, 0));
    }
}

/// Two credentials with one secret are both to be changed.
#[test]
fn a_secret_of_two_credentials_is_found_for_both() {
    let secret = fresh(20);
    let scrubber = scrubber(&[("one", secret.as_bytes()), ("two", secret.as_bytes())]);
    let (_, hits) = in_pieces(&scrubber, secret.as_bytes(), &[]);
    let names: Vec<_> = hits.iter().map(|hit| hit.credential.to_string()).collect();
    assert_eq!(names, ["one", "two"]);
}

/// Neither what was found nor the scrubber itself can be made to show a secret.
#[test]
fn nothing_that_can_be_printed_has_the_secret() {
    let secret = fresh(20);
    let scrubber = scrubber(&[("name", secret.as_bytes())]);
    let (_, hits) = in_pieces(&scrubber, secret.as_bytes(), &[]);
    assert!(!format!("{hits:?} {scrubber:?}").contains(&secret));
}

/// What stays a text stays valid, even if a secret that is no text cuts a character.
#[test]
fn a_text_stays_a_text() {
    let scrubber = scrubber(&[("key", "éabcdefgh".as_bytes().get(1..).unwrap())]);
    let mut hits = Hits::default();
    let text = scrubber.text("1 éabcdefgh 2", &mut hits);
    assert_eq!(text, format!("1 \u{fffd}{MARK} 2"));
    assert_eq!(scrubber.text("clean", &mut hits), "clean");
}

/// A status reason, a header and a trailer are whole values, and may be anything.
#[test]
fn a_value_is_scrubbed_as_a_whole() {
    let secret = fresh(20);
    let scrubber = scrubber(&[("name", secret.as_bytes())]);
    let mut hits = Hits::default();
    let basic = STANDARD.encode(format!("user:{secret}"));
    let value = scrubber.value(basic.as_bytes(), &mut hits).into_owned();
    assert!(value.ends_with(MARK.as_bytes()), "{value:?}");
    assert_eq!(hits.iter().next().unwrap().encoding, Encoding::Base64);
}

/// An empty set is no set of everything.
#[test]
fn without_secrets_everything_passes() {
    let scrubber = Arc::new(Scrubber::new(Vec::new()).unwrap());
    let (out, hits) = in_pieces(&scrubber, b"anything", &[3]);
    assert_eq!(out, b"anything");
    assert!(hits.is_empty());
}

/// A secret within the beginning of another is counted once, although what was read may be read again.
#[test]
fn what_is_read_again_is_not_found_twice() {
    let scrubber = scrubber(&[
        ("before", b"0123456789abcdefghiZ"),
        ("around", b"abcdefghijklmnop"),
        ("within", b"bcdefghi"),
    ]);
    let (out, hits) = in_pieces(&scrubber, b"0123456789abcdefghij---", &[]);
    assert_eq!(out, format!("0123456789a{MARK}j---").as_bytes());
    let found: Vec<_> = hits
        .iter()
        .map(|hit| (hit.credential.to_string(), hit.count))
        .collect();
    assert_eq!(found, [("within".to_owned(), 1)]);
}

/// R78: a stream that goes on with more secrets than it began with takes out those of before, wherever it was when they came, and all that
/// are new and not out yet; what is clean is left alone.
#[test]
fn a_stream_goes_on_with_more_secrets() {
    let (old, new) = (fresh(24), fresh(24));
    let before = scrubber(&[("old", old.as_bytes())]);
    // Of the end of what was held back, one begins that is longer.
    let begun: String = old.chars().take(10).collect();
    let longer = format!("{begun}{new}");
    let after = scrubber(&[
        ("old", old.as_bytes()),
        ("new", new.as_bytes()),
        ("longer", longer.as_bytes()),
    ]);
    let first = format!("a {old} b {begun}");
    let text = Bytes::from(format!("{first}{new} c {old} d"));
    for cut in 0..=first.len() {
        let mut stream = Stream::new(Arc::clone(&before));
        let mut out = Vec::new();
        stream.push(&text.slice(..cut), |piece| out.extend_from_slice(&piece));
        stream.change(Arc::clone(&after));
        for byte in cut..text.len() {
            stream.push(&text.slice(byte..=byte), |piece| {
                out.extend_from_slice(&piece)
            });
        }
        let hits = stream.finish(|piece| out.extend_from_slice(&piece));
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out, format!("a {MARK} b {MARK} c {MARK} d"), "{cut}");
        assert!(hits.iter().map(|hit| hit.count).sum::<u64>() >= 3, "{cut}");
    }
}

//! What holds for any bytes whatever, for fuzzers (`fuzz/`) and property tests: each function here panics when it does not.

use std::collections::BTreeSet;

use crate::{
    Code, Host,
    dns::{Answer, Question},
    head::{Head, Length, Path, Scan},
    hello, parse_authority,
};

/// The head of a request: it ends in one place however it comes, and what is accepted has one host, one length and one path.
pub fn head(bytes: &[u8]) {
    let whole = Scan::default().end(bytes);
    let mut scan = Scan::default();
    let mut pieces = Ok(None);
    for end in 0..=bytes.len() {
        pieces = scan.end(bytes.get(..end).unwrap_or_default());
        if pieces != Ok(None) {
            break;
        }
    }
    assert_eq!(pieces, whole);
    let Some(bytes) = whole.ok().flatten().and_then(|end| bytes.get(..end)) else {
        return;
    };
    let Ok(head) = Head::parse(bytes) else {
        return;
    };
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let count = |name: &str| text.matches(&format!("\r\n{name}:")).count();
    let (lengths, codings) = (count("content-length"), count("transfer-encoding"));
    assert!(count("host") <= 1 && lengths + codings <= 1);
    assert_eq!(head.length == Length::Chunked, codings == 1);
    let ends_here: BTreeSet<_> = [
        "connection",
        "transfer-encoding",
        "content-length",
        "upgrade",
    ]
    .into();
    assert!(
        !head
            .fields
            .keys()
            .any(|name| ends_here.contains(name.as_str()))
    );
}

/// A ClientHello: once refused, more bytes do not help, and what is found stays.
pub fn client_hello(bytes: &[u8]) {
    let mut decided = None;
    for end in 0..=bytes.len() {
        let found = hello::read(bytes.get(..end).unwrap_or_default());
        if let Some(Err(code)) = &decided {
            assert_eq!(found, Err::<Option<hello::Hello>, Code>(*code));
        }
        if found != Ok(None) {
            decided = Some(found);
        }
    }
}

/// A DNS message: an answer repeats the question, and is itself no question.
pub fn dns(bytes: &[u8]) {
    let Some(question) = Question::parse(bytes) else {
        return;
    };
    for answer in [
        Answer::Address([198, 18, 0, 1].into()),
        Answer::NoName,
        Answer::Failure,
    ] {
        let message = question.answer(answer);
        assert_eq!(message.get(..2), bytes.get(..2));
        assert_eq!(Question::parse(&message), None);
    }
}

/// An authority: what is accepted means itself when it is written again.
pub fn authority(bytes: &[u8]) {
    let Ok((host, port)) = parse_authority(bytes) else {
        return;
    };
    assert!(bytes.is_ascii());
    let text = match port {
        Some(port) => format!("{host}:{port}"),
        None => host.to_string(),
    };
    if let Host::Name(name) = &host {
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        assert!(name.as_str().bytes().all(plain));
    }
    assert_eq!(parse_authority(text.as_bytes()), Ok((host, port)));
}

/// A path: what is accepted is what it was, and has nothing in it by which another reader goes elsewhere.
pub fn path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(path) = Path::parse(text) else {
        return;
    };
    assert_eq!(path.joined(), text);
    let lower = path.path.to_ascii_lowercase();
    for part in [
        "//", "\\", "%2e", "%2f/", "/%2f", "%2f.%2f", "%2f..", "%2f%2f", "%5c", "%252e", "%252f",
        "%255c", "%00", ";", "/../", "/./", "#", " ", "?",
    ] {
        assert!(!lower.contains(part), "{part} in {lower}");
    }
    assert!(lower.is_ascii() && !lower.ends_with("/..") && !lower.ends_with("/."));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes to begin with, and what reads them.
    type Seed = (&'static [u8], fn(&[u8]));

    const SEEDS: [Seed; 6] = [
        (b"POST /a?b HTTP/1.1\r\nHost: good.test:443\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", head),
        (b"GET http://good.test/ HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding: chunked\r\n\r\n", head),
        (
            b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\x00\x00\x02\x13\x01\x01\x00\x00\x00",
            client_hello,
        ),
        (b"\x01\x02\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04good\x04test\x00\x00\x01\x00\x01", dns),
        (b"good.test:443", authority),
        (b"/a/b%20c?d=%2e", path),
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// R105, R106: whatever comes, nothing breaks, and what is accepted means one thing.
        #[test]
        fn seeds_with_some_bytes_changed_hold(
            seed in 0..SEEDS.len(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), prop::sample::select(b"\r\n :/.%?;,\0".to_vec())], 0..3), 0..8),
        ) {
            let (seed, check) = SEEDS[seed];
            let mut bytes = seed.to_vec();
            for (at, byte, how) in changes {
                let at = at.index(bytes.len().max(1));
                match how {
                    0 if at < bytes.len() => bytes[at] = byte,
                    1 if at < bytes.len() => drop(bytes.remove(at)),
                    _ => bytes.insert(at, byte),
                }
            }
            check(&bytes);
        }

        /// The same for bytes that resemble nothing.
        #[test]
        fn any_bytes_hold(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for (_, check) in SEEDS {
                check(&bytes);
            }
        }
    }
}

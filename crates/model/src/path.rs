//! Paths of requests, in the one spelling that every reader takes for the same path.

/// A path that is not in its one spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a path that can be read in two ways")]
pub struct AmbiguousPath;

/// How a `/` is spelled that is part of a segment.
const ESCAPED_SLASH: &str = "%2F";

/// Checks that `path`, without its query, starts with `/` and is in its one spelling.
///
/// What [`has_escaped_slash`] is still to be decided on: some servers take it for a separator. It is only let through between
/// two names, so that neither reading leads upwards or nowhere.
///
/// # Errors
/// For what some server reads as another path: dot segments, empty segments, escapes of what needs none, that separate, or
/// that are still escapes when they are decoded; parameters (`;`), backslashes, anything that is not ASCII.
pub fn check_path(path: &str) -> Result<(), AmbiguousPath> {
    let inner = path.strip_prefix('/').ok_or(AmbiguousPath)?;
    let mut segments = inner.split('/').peekable();
    while let Some(segment) = segments.next() {
        // The last one may be empty: `/` and `/a/`.
        let is_end = segment.is_empty() && segments.peek().is_none();
        let is_name = |part: &str| !matches!(part, "" | "." | "..");
        if !(is_end || segment.split(ESCAPED_SLASH).all(is_name)) {
            return Err(AmbiguousPath);
        }
        check_segment(segment.as_bytes())?;
    }
    Ok(())
}

/// Whether a path in its one spelling has a `/` in a segment, as `%2F`.
#[must_use]
pub fn has_escaped_slash(path: &str) -> bool {
    path.contains(ESCAPED_SLASH)
}

/// The path that a server means who takes an escaped `/` for a separator.
#[must_use]
pub fn without_escaped_slashes(path: &str) -> String {
    path.replace(ESCAPED_SLASH, "/")
}

fn check_segment(bytes: &[u8]) -> Result<(), AmbiguousPath> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, more)) = rest.split_first() {
        rest = more;
        if byte != b'%' {
            if !is_plain(byte) {
                return Err(AmbiguousPath);
            }
            decoded.push(byte);
            continue;
        }
        let (escaped, more) = escape(rest, u8::is_ascii_uppercase).ok_or(AmbiguousPath)?;
        // Decoded twice it must not be something else than decoded once.
        let is_twice = escaped == b'%' && escape(more, u8::is_ascii_alphabetic).is_some();
        let separates = matches!(escaped, b'\\' | b';');
        if is_twice || separates || is_unreserved(escaped) || escaped.is_ascii_control() {
            return Err(AmbiguousPath);
        }
        decoded.push(escaped);
        rest = more;
    }
    // No overlong forms, no halves.
    match std::str::from_utf8(&decoded) {
        Ok(_) => Ok(()),
        Err(_) => Err(AmbiguousPath),
    }
}

/// What RFC 3986 lets stand in a segment as it is, without `;`, at which some servers cut a segment.
fn is_plain(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,=:@".contains(&byte)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// The byte that two hex digits stand for, and what follows them. Which letters count as digits is the caller's to say.
fn escape(bytes: &[u8], letter: fn(&u8) -> bool) -> Option<(u8, &[u8])> {
    let [high, low, rest @ ..] = bytes else {
        return None;
    };
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' if letter(byte) => Some(byte - b'a' + 10),
        b'A'..=b'F' if letter(byte) => Some(byte - b'A' + 10),
        _ => None,
    };
    Some((digit(high)? << 4 | digit(low)?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// H22 of the corpus: what servers read in more than one way is no path.
    #[test]
    fn a_path_has_one_spelling() {
        for good in [
            "/",
            "/a",
            "/a/",
            "/a/b.c/d~e",
            "/a%20b",
            "/%C3%A9",
            "/@scope/name",
            "/a=b,c:d",
            "/100%25",
            "/100%25/b",
            "/%25zz",
            "/.a/..b",
        ] {
            assert_eq!(check_path(good), Ok(()), "{good}");
            assert!(!has_escaped_slash(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "*",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/.",
            "/a/./b",
            "/a/../b",
            "/..",
            "/a/%2e%2e/b",
            "/a/%2E%2E/b",
            "/a%2f..%2fb",
            "/a%5Cb",
            "/a\\b",
            "/a;x=1",
            "/a%3Bb",
            "/%252e",
            "/%252E",
            "/%252F",
            "/%252f",
            "/%2541",
            "/%61",
            "/%7E",
            "/a%c3%a9",
            "/%C0%AF",
            "/%FF",
            "/%0D%0A",
            "/%00",
            "/%",
            "/%4",
            "/%zz",
            "/a b",
            "/é",
            "/a#b",
            "/a?b",
            "/a\"b",
            "/a\n",
            "/a|b",
            "/a[b]",
            "/a{b}",
            "/a<b>",
            "/a^b",
            "/a`b",
        ] {
            assert_eq!(check_path(bad), Err(AmbiguousPath), "{bad}");
        }
    }

    /// An escaped slash is between two names, or nowhere: read as a separator it leads to no other place than down.
    #[test]
    fn an_escaped_slash_is_between_names() {
        for good in [
            "/@scope%2Fname",
            "/projects/group%2Fsub%2Fname/issues",
            "/a%2Fb/",
            "/a%2F.b",
            "/a%25%2Fb",
        ] {
            assert_eq!(check_path(good), Ok(()), "{good}");
            assert!(has_escaped_slash(good), "{good}");
        }
        for bad in [
            "/%2F",
            "/%2Fa",
            "/a%2F",
            "/a%2F%2Fb",
            "/a%2F..",
            "/a%2F.",
            "/..%2Fa",
            "/.%2Fa",
            "/a%2F..%2Fb",
            "/a%2F%2E%2E%2Fb",
            "/a%2f",
            "/a%2fb",
            "/a%2F/b",
            "/a/%2Fb",
            "/a%2F%5Cb",
        ] {
            assert_eq!(check_path(bad), Err(AmbiguousPath), "{bad}");
        }
        assert_eq!(without_escaped_slashes("/a%2Fb/c%2Fd"), "/a/b/c/d");
    }

    /// What a careless server makes of escapes: those it understands, the others left as they are.
    fn decoded(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = bytes;
        while let Some((&byte, more)) = rest.split_first() {
            rest = more;
            match escape(rest, u8::is_ascii_alphabetic) {
                Some((escaped, more)) if byte == b'%' => {
                    out.push(escaped);
                    rest = more;
                }
                _ => out.push(byte),
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// However often a server decodes a path, and whatever it takes for a separator: each part is a name.
        #[test]
        fn no_reader_finds_a_way_up(
            path in "/(%2F|%2f|%25|%5C|%2E|%3B|%C3%A9|%[0-9A-Fa-f]{2}|[a2F./;\\\\%]){0,10}",
        ) {
            if check_path(&path).is_ok() {
                let once = decoded(path.as_bytes());
                prop_assert_eq!(decoded(&once), once.clone());
                prop_assert!(std::str::from_utf8(&once).is_ok());
                let inner = once.strip_prefix(b"/").unwrap();
                let inner = inner.strip_suffix(b"/").unwrap_or(inner);
                let mut parts = inner.split(|byte| b"/\\;".contains(byte));
                prop_assert!(inner.is_empty() || parts.all(|part| !matches!(part, b"" | b"." | b"..")));
                prop_assert!(!once.iter().any(u8::is_ascii_control));
                prop_assert_eq!(has_escaped_slash(&path), once.iter().filter(|byte| **byte == b'/').count() > path.matches('/').count());
            }
        }

        /// Whether a slash is escaped changes nothing but what a segment is.
        #[test]
        fn an_escaped_slash_is_as_good_as_one_between(path in "/(%2F|/|%25|[ab.]){0,8}") {
            if check_path(&path).is_ok() {
                prop_assert_eq!(check_path(&without_escaped_slashes(&path)), Ok(()));
            }
        }
    }
}

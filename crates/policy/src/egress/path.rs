//! Paths of requests in their only spelling, and patterns of them.

use crate::{diagnostic::Fault, visible::quoted};

/// A path in which each segment is itself, `*` is any one segment, and `**` at the end is any number of them, or none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathPattern(String);

impl PathPattern {
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let fault = |hint: &str| {
            Err(Fault::new(
                format!("{} is not a pattern of paths", quoted(text)),
                hint,
            ))
        };
        let inner = text.strip_suffix("/**").unwrap_or(text);
        let starred = |segment: &str| segment.contains('*') && segment != "*";
        if inner.split('/').any(starred) {
            return fault(
                "`*` stands for one whole segment; `**` only at the end, as in `/repos/acme/**`",
            );
        }
        // A `*` is a character of paths, too.
        if !(inner.is_empty() && text == "/**" || is_plain(inner)) {
            return fault(
                "write it as requests have it: begin with `/`, leave out the query, escape in upper case only what has to be",
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// A pattern that was read before, from its text.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        Self::parse(text).ok()
    }

    /// The pattern as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `path`, which is in its only spelling, is one of these.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let mut segments = path.split('/');
        for pattern in self.0.split('/') {
            match (pattern, segments.next()) {
                ("**", _) => return true,
                (_, None) => return false,
                ("*", Some(segment)) if !segment.is_empty() => {}
                (pattern, Some(segment)) if pattern == segment => {}
                _ => return false,
            }
        }
        segments.next().is_none()
    }
}

/// Whether every server reads a path the same way: no empty, `.` or `..` segment, no `\` or `;`, nothing escaped that need not be or that separates.
pub(super) fn is_plain(path: &str) -> bool {
    let Some(segments) = path.strip_prefix('/') else {
        return false;
    };
    let count = segments.split('/').count();
    segments
        .split('/')
        .enumerate()
        // The last one may be empty: `/` and `/a/`.
        .all(|(nth, segment)| {
            is_plain_segment(segment) && (!segment.is_empty() || nth + 1 == count)
        })
}

fn is_plain_segment(segment: &str) -> bool {
    if matches!(segment, "." | "..") {
        return false;
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            if !is_plain_byte(byte) {
                return false;
            }
            decoded.push(byte);
            continue;
        }
        let mut digit = || match bytes.next()? {
            digit @ b'0'..=b'9' => Some(digit - b'0'),
            digit @ b'A'..=b'F' => Some(digit - b'A' + 10),
            _ => None,
        };
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return false;
        };
        match high << 4 | low {
            b'/' | b'\\' | b';' | b'%' | 0..0x20 | 0x7f => return false,
            byte if is_unreserved(byte) => return false,
            byte => decoded.push(byte),
        }
    }
    // Overlong and broken UTF-8 is read in many ways.
    std::str::from_utf8(&decoded).is_ok()
}

/// What RFC 3986 lets stand in a segment as it is, without `;`, at which some servers cut a segment.
fn is_plain_byte(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,=:@".contains(&byte)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
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
        ] {
            assert!(is_plain(good), "{good}");
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
            "/a%2Fb",
            "/a%5Cb",
            "/a\\b",
            "/a;x=1",
            "/a%3Bb",
            "/%252e",
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
            assert!(!is_plain(bad), "{bad}");
        }
    }

    #[test]
    fn a_pattern_matches_segment_by_segment() {
        let matches =
            |pattern: &str, path: &str| PathPattern::parse(pattern).unwrap().matches(path);
        for (pattern, path) in [
            ("/", "/"),
            ("/a", "/a"),
            ("/a/*", "/a/b"),
            ("/*/c", "/b/c"),
            ("/a/**", "/a"),
            ("/a/**", "/a/"),
            ("/a/**", "/a/b/c"),
            ("/**", "/"),
            ("/**", "/x"),
            ("/a/*/", "/a/b/"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("/", "/a"),
            ("/a", "/a/"),
            ("/a", "/ab"),
            ("/a", "/A"),
            ("/a/*", "/a"),
            ("/a/*", "/a/"),
            ("/a/*", "/a/b/c"),
            ("/a/**", "/ab"),
            ("/a/**", "/b/a"),
            ("/a/*/", "/a/b"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
        for bad in [
            "", "a", "/a*", "/**/a", "/a**", "/***", "**", "*", "/a/../b", "/%61", "/a?b=c",
            "/a/**/",
        ] {
            assert!(PathPattern::parse(bad).is_err(), "{bad}");
        }
    }
}

//! Paths of requests in their only spelling, and patterns of them.

use casemate_model::{check_path, has_escaped_slash, without_escaped_slashes};

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
        if !(inner.is_empty() && text == "/**" || check_path(inner).is_ok()) {
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

    /// Whether `path`, which is in its only spelling, is one of these. An escaped `/` is a character of its segment.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        matches(&self.0, path)
    }

    /// Whether `path` is one of these to a server that keeps an escaped `/` in its segment, or to one that does not.
    pub(super) fn matches_somewhere(&self, path: &str) -> bool {
        let is_separated = || {
            matches(
                &without_escaped_slashes(&self.0),
                &without_escaped_slashes(path),
            )
        };
        self.matches(path) || is_separated()
    }

    /// Whether it is about escaped slashes.
    pub(super) fn has_escaped_slash(&self) -> bool {
        has_escaped_slash(&self.0)
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    for pattern in pattern.split('/') {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A rule that denies is about both readings of an escaped slash.
    #[test]
    fn either_reading_of_an_escaped_slash_can_be_meant() {
        let matches = |pattern: &str, path: &str| {
            PathPattern::parse(pattern).unwrap().matches_somewhere(path)
        };
        for (pattern, path) in [
            ("/a/b/**", "/a%2Fb/c"),
            ("/a/b", "/a%2Fb"),
            ("/a/*", "/a/b%2Fc"),
            ("/a%2Fb/**", "/a/b%2Fc"),
            ("/a/*/c", "/a%2Fb/c"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [("/a/b", "/a%2Fc"), ("/a", "/a%2Fb"), ("/a/b", "/a")] {
            assert!(!matches(pattern, path), "{pattern} {path}");
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
            ("/a/*", "/a/b%2Fc"),
            ("/a/b%2Fc", "/a/b%2Fc"),
            ("/a/**", "/a/b%2Fc/d"),
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
            ("/a/*/c", "/a/b%2Fc"),
            ("/a/b/c", "/a/b%2Fc"),
            ("/a/b%2Fc", "/a/b/c"),
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

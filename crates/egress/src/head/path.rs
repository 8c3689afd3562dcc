//! Paths that mean one thing.

use crate::Code;

/// Path and query of a request, both as the destination will get them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) path: String,
    pub(crate) query: Option<String>,
}

impl Path {
    /// Takes a path that starts with `/` and is in its one canonical spelling.
    ///
    /// # Errors
    /// `path_ambiguous` for what some server reads as another path: dot segments, empty segments, escapes of what
    /// needs none or of what separates, parameters (`;`), backslashes, fragments, anything that is not ASCII.
    pub(crate) fn parse(text: &str) -> Result<Self, Code> {
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text, None),
        };
        let inner = path.strip_prefix('/').ok_or(Code::PathAmbiguous)?;
        let segments = inner.split('/').count();
        for (at, segment) in inner.split('/').enumerate() {
            let last = at + 1 == segments;
            if matches!(segment, "." | "..") || (segment.is_empty() && !last) {
                return Err(Code::PathAmbiguous);
            }
            check_segment(segment.as_bytes())?;
        }
        if let Some(query) = query {
            check_query(query.as_bytes())?;
        }
        Ok(Self {
            path: path.to_owned(),
            query: query.map(str::to_owned),
        })
    }

    /// Path and query as one text: what was parsed.
    pub(crate) fn joined(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn check_segment(bytes: &[u8]) -> Result<(), Code> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, more)) = rest.split_first() {
        rest = more;
        match byte {
            b'%' => {
                let (escaped, more) = escape(rest, u8::is_ascii_uppercase)?;
                // Decoded twice it must not be something else than decoded once.
                let twice = escaped == b'%' && escape(more, u8::is_ascii_alphabetic).is_ok();
                let plain = is_unreserved(escaped) || matches!(escaped, b'/' | b'\\' | b';');
                if twice || plain || escaped.is_ascii_control() {
                    return Err(Code::PathAmbiguous);
                }
                decoded.push(escaped);
                rest = more;
            }
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' => {
                decoded.push(byte);
            }
            _ if is_unreserved(byte) => decoded.push(byte),
            _ => return Err(Code::PathAmbiguous),
        }
    }
    // No overlong forms, no halves.
    match std::str::from_utf8(&decoded) {
        Ok(_) => Ok(()),
        Err(_) => Err(Code::PathAmbiguous),
    }
}

fn check_query(bytes: &[u8]) -> Result<(), Code> {
    let mut rest = bytes;
    while let Some((&byte, more)) = rest.split_first() {
        rest = match byte {
            b'%' => escape(more, u8::is_ascii_alphabetic)?.1,
            b' ' | b'"' | b'#' | b'<' | b'>' | b'\\' | b'^' | b'`' => {
                return Err(Code::PathAmbiguous);
            }
            b'!'..=b'~' => more,
            _ => return Err(Code::PathAmbiguous),
        };
    }
    Ok(())
}

/// The byte that two hex digits stand for, and what follows them. Which letters count as digits is the caller's to say.
fn escape(bytes: &[u8], letter: fn(&u8) -> bool) -> Result<(u8, &[u8]), Code> {
    let [high, low, rest @ ..] = bytes else {
        return Err(Code::PathAmbiguous);
    };
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' if letter(byte) => Some(byte - b'a' + 10),
        b'A'..=b'F' if letter(byte) => Some(byte - b'A' + 10),
        _ => None,
    };
    match (digit(high), digit(low)) {
        (Some(high), Some(low)) => Ok((high << 4 | low, rest)),
        _ => Err(Code::PathAmbiguous),
    }
}

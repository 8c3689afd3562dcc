//! Forms in bodies, by which some servers take another method than the one of the request line.

use casemate_model::is_header;

use super::{RequestBody, RequestFacts, query};

/// How servers find the fields of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Urlencoded,
    Multipart,
    /// In a way that is not read here.
    Unreadable,
}

/// Character sets in which what is ASCII is spelled as in ASCII.
const PLAIN_CHARSETS: &[&str] = &["utf-8", "iso-8859-1", "us-ascii"];

/// Whether some server would look for a form in the body.
pub(super) fn is_form(facts: &RequestFacts<'_>) -> bool {
    form(facts).is_some()
}

/// Whether the body may say another method than the request has. What cannot be read may.
pub(super) fn overrides_method(facts: &RequestFacts<'_>) -> bool {
    let Some(form) = form(facts) else {
        return false;
    };
    match (facts.body, form) {
        (RequestBody::Empty, _) => false,
        (RequestBody::Stream { .. }, _) | (_, Form::Unreadable) => true,
        (RequestBody::Whole { bytes, .. }, Form::Urlencoded) => {
            std::str::from_utf8(bytes).map_or(true, query::overrides_method)
        }
        (RequestBody::Whole { bytes, .. }, Form::Multipart) => has_such_part(bytes),
    }
}

fn form(facts: &RequestFacts<'_>) -> Option<Form> {
    let values = |known: &'static str| {
        let all = facts.headers.iter();
        all.filter(move |(name, _)| is_header(name, known))
            .map(|(_, value)| value.to_ascii_lowercase())
    };
    let kinds: Vec<_> = values("content-type").collect();
    let says = |word: &[u8]| kinds.iter().any(|kind| contains(kind, word));
    let form = match kinds.as_slice() {
        // Servers guess, and a form is what they guess for this method.
        [] if facts.method == "POST" => Form::Urlencoded,
        _ if says(b"multipart/") => Form::Multipart,
        _ if says(b"application/x-www-form-urlencoded") => Form::Urlencoded,
        _ => return None,
    };
    let is_plain = kinds.len() <= 1
        && kinds.iter().all(|kind| has_plain_charset(kind))
        && values("content-encoding").next().is_none();
    Some(if is_plain { form } else { Form::Unreadable })
}

fn has_plain_charset(kind: &[u8]) -> bool {
    let Ok(kind) = std::str::from_utf8(kind) else {
        return false;
    };
    let mut parameters = kind.split("charset").skip(1);
    let charset = parameters
        .next()
        .map(|rest| rest.trim_start_matches(['=', ' ', '"']));
    let is_plain = charset.is_none_or(|rest| {
        let end = rest.find(['"', ';', ' ']).unwrap_or(rest.len());
        rest.get(..end)
            .is_some_and(|name| PLAIN_CHARSETS.contains(&name))
    });
    is_plain && parameters.next().is_none()
}

/// Whether a part may be such a field. All that looks like the head of a part is looked at, wherever the parts are cut.
fn has_such_part(bytes: &[u8]) -> bool {
    const HEAD: &[u8] = b"content-disposition";
    let plain = bytes.to_ascii_lowercase();
    let mut rest = plain.as_slice();
    while let Some(at) = find(rest, HEAD) {
        rest = rest.get(at + HEAD.len()..).unwrap_or_default();
        let ends = [
            find(rest, b"\n\n"),
            find(rest, b"\n\r\n"),
            find(rest, b"\r\r"),
        ];
        let end = ends.into_iter().flatten().min().unwrap_or(rest.len());
        if is_such_head(rest.get(..end).unwrap_or_default()) {
            return true;
        }
    }
    false
}

/// Whether the head of a part, in small letters, may name such a field.
fn is_such_head(head: &[u8]) -> bool {
    // Names in words or pieces that only some servers put together.
    let is_odd = contains(head, b"=?") || contains(head, b"name*0");
    let escaped: Vec<_> = head.iter().copied().filter(|byte| *byte != b'\\').collect();
    let Some(plain) = unescaped(&escaped) else {
        return true;
    };
    is_odd
        || query::METHOD_NAMES
            .iter()
            .any(|name| plain.to_ascii_lowercase().contains(name))
}

/// With every escape decoded that is one.
fn unescaped(bytes: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, more)) = rest.split_first() {
        let escape = match (byte, more) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)),
            _ => None,
        };
        out.push(escape.map_or(byte, |(high, low)| high << 4 | low));
        rest = match escape {
            Some(_) => more.get(2..).unwrap_or_default(),
            None => more,
        };
    }
    String::from_utf8(out).ok()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

fn find(bytes: &[u8], word: &[u8]) -> Option<usize> {
    bytes.windows(word.len()).position(|part| part == word)
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    find(bytes, word).is_some()
}

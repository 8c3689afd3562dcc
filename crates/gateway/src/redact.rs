//! Takes the values of named fields out of text that will be recorded.
//!
//! The names are a profile's. A value is what follows `name=`, `name:`, `--name ` or `"name":`, in any
//! mixture of shell, JSON and Python; what cannot be delimited is taken out up to the end of the text. Code
//! can hide a value from this, but not from the key that the record is sealed with.

use std::collections::BTreeMap;

use casemate_model::{Digest, Hasher, Text};

/// What stands in a record for a value that is not recorded.
pub(crate) const REDACTED: &str = "[redacted]";

/// `text` without the values that belong to `names`.
pub(crate) fn redact(text: &[u8], names: &[String]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let value = match kept.last() {
            Some(&previous) if is_word(previous) => None,
            previous => value_after_name(rest, names, previous.copied()),
        };
        if let Some((before, from_value)) =
            value.and_then(|value| rest.split_at_checked(value.start))
            && let Some((_, behind)) =
                value.and_then(|value| from_value.split_at_checked(value.length))
        {
            kept.extend_from_slice(before);
            kept.extend_from_slice(REDACTED.as_bytes());
            rest = behind;
        } else {
            kept.push(byte);
            rest = after;
        }
    }
    kept
}

/// A command line without the values that belong to `names`, also in `--name value`.
pub(crate) fn redact_argv(argv: &[Text], names: &[String]) -> Vec<Text> {
    let mut value_follows = false;
    argv.iter()
        .map(|argument| {
            let bytes = argument.as_bytes();
            let hidden = std::mem::replace(&mut value_follows, is_flag(bytes, names));
            if hidden {
                REDACTED.into()
            } else {
                redact(bytes, names).into()
            }
        })
        .collect()
}

/// Variables with the salted digests of their values, or nothing of the values that belong to `names`.
pub(crate) fn digest_env(
    env: &BTreeMap<String, Text>,
    names: &[String],
    salt: &[u8],
) -> BTreeMap<String, Text> {
    env.iter()
        .map(|(name, value)| {
            let shown = if names
                .iter()
                .any(|redacted| same_name(name.as_bytes(), redacted))
            {
                REDACTED.into()
            } else {
                salted(salt, name, value).to_string().into()
            };
            (name.clone(), shown)
        })
        .collect()
}

fn salted(salt: &[u8], name: &str, value: &Text) -> Digest {
    let mut hasher = Hasher::default();
    for part in [salt, name.as_bytes(), &[0], value.as_bytes()] {
        hasher.update(part);
    }
    hasher.finish()
}

/// Where a value is in a text.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    length: usize,
}

/// The value of the name that `text` starts with, if it starts with one of `names`.
fn value_after_name(text: &[u8], names: &[String], previous: Option<u8>) -> Option<Span> {
    let (_, after) = names
        .iter()
        .filter_map(|name| {
            text.split_at_checked(name.len())
                .filter(|(head, _)| same_name(head, name))
        })
        .find(|(_, after)| !after.first().copied().is_some_and(is_word))?;
    let closed = skip(after, b"\"'\\])} \t");
    let assigned = skip(closed, b"=:>");
    let is_flag = previous == Some(b'-') && after.first().is_some_and(u8::is_ascii_whitespace);
    if assigned.len() == closed.len() && !is_flag {
        return None;
    }
    let value = skip(assigned, b" \t\r\n(");
    let (opening, length) = extent(value);
    // Empty quotes hold a value too; nothing at all is none.
    (opening + length > 0).then_some(Span {
        start: text.len() - value.len() + opening,
        length,
    })
}

/// How long the opening mark of `value` is, and how long what belongs to it is after that.
fn extent(value: &[u8]) -> (usize, usize) {
    let unprefixed = skip(value, b"bBfFrRuU");
    for mark in [&b"\\\""[..], b"\\'", b"\"\"\"", b"'''", b"\"", b"'"] {
        if let Some(inner) = unprefixed.strip_prefix(mark) {
            return (value.len() - inner.len(), quoted(inner, mark));
        }
    }
    let length = match value.first() {
        Some(b'{' | b'[') => bracketed(value),
        _ => value.iter().take_while(|byte| !ends_word(**byte)).count(),
    };
    (0, length)
}

/// How much of `text` is before the next `mark` that is not escaped.
fn quoted(text: &[u8], mark: &[u8]) -> usize {
    let mut rest = text;
    while !rest.is_empty() && !rest.starts_with(mark) {
        let step = if rest.first() == Some(&b'\\') { 2 } else { 1 };
        rest = rest.get(step..).unwrap_or_default();
    }
    text.len() - rest.len()
}

/// How long the bracketed text is that `text` starts with.
fn bracketed(text: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b'"' => rest = after.get(quoted(after, b"\"") + 1..).unwrap_or_default(),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    text.len() - rest.len()
}

/// Whether an argument is `-name` or `--name`, whose value is the next argument.
fn is_flag(argument: &[u8], names: &[String]) -> bool {
    let name = skip(argument, b"-");
    name.len() < argument.len() && names.iter().any(|redacted| same_name(name, redacted))
}

/// Names are the same in any case, and `-` is `_`.
fn same_name(bytes: &[u8], name: &str) -> bool {
    let plain = |byte: u8| {
        if byte == b'-' {
            b'_'
        } else {
            byte.to_ascii_lowercase()
        }
    };
    bytes.len() == name.len() && bytes.iter().copied().map(plain).eq(name.bytes().map(plain))
}

fn skip<'a>(text: &'a [u8], set: &[u8]) -> &'a [u8] {
    let skipped = text.iter().take_while(|byte| set.contains(byte)).count();
    text.get(skipped..).unwrap_or_default()
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

const fn ends_word(byte: u8) -> bool {
    byte.is_ascii_whitespace()
        || matches!(
            byte,
            b',' | b';' | b'&' | b'|' | b')' | b'}' | b']' | b'"' | b'\'' | b'`'
        )
}

#[cfg(test)]
mod tests;

//! Answers that are forms.

use zeroize::Zeroizing;

use super::{SealError, Token, TokenKind, take};

type Pairs = Vec<(String, Zeroizing<String>)>;

const MAX_PAIRS: usize = 100;

/// The pairs, in which each token is an empty text.
pub(super) fn read(body: &[u8], tokens: &mut Vec<Token>) -> Result<Pairs, SealError> {
    let mut pairs: Pairs = Vec::new();
    for pair in body.split(|byte| *byte == b'&') {
        let at = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = at
            .and_then(|at| pair.split_at_checked(at))
            .ok_or(SealError::Unreadable)?;
        let name = std::mem::take(&mut *decode(name)?);
        let mut value = decode(value.strip_prefix(b"=").unwrap_or(value))?;
        let kind = TokenKind::of(&name);
        let twice = |(other, _): &(String, _)| {
            *other == name || kind.is_some() && TokenKind::of(other) == kind
        };
        if pairs.len() == MAX_PAIRS || pairs.iter().any(twice) {
            return Err(SealError::Unreadable);
        }
        if let Some(kind) = kind {
            take(kind, &mut value, tokens)?;
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// The form with a handle in each place.
pub(super) fn write<'h>(pairs: &Pairs, handles: &mut impl Iterator<Item = &'h String>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push(b'&');
        }
        encode(name, &mut out);
        out.push(b'=');
        match TokenKind::of(name) {
            Some(_) => out.extend(handles.next().into_iter().flat_map(|handle| handle.bytes())),
            None => encode(value, &mut out),
        }
    }
    out
}

fn decode(text: &[u8]) -> Result<Zeroizing<String>, SealError> {
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || {
                    let digit = char::from(*bytes.next()?).to_digit(16)?;
                    u8::try_from(digit).ok()
                };
                let (high, low) = (digit(), digit());
                match (high, low) {
                    (Some(high), Some(low)) => high << 4 | low,
                    _ => return Err(SealError::Unreadable),
                }
            }
            byte => *byte,
        });
    }
    let text = std::str::from_utf8(&decoded).map_err(|_| SealError::Unreadable)?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn encode(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._*".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}

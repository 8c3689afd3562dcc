//! Answers in JSON.

use casemate_model::{JsonBounds, strict_json};
use serde_json::Value;

use super::{SealError, Token, TokenKind, take};

const BOUNDS: JsonBounds = JsonBounds {
    depth: 16,
    members: 1_000,
};

/// The document, in which each token is an empty text.
pub(super) fn read(body: &[u8], tokens: &mut Vec<Token>) -> Result<Value, SealError> {
    // The error would have a part of the document in it.
    let mut value = strict_json(body, BOUNDS).map_err(|_| SealError::Unreadable)?;
    if !value.is_object() {
        return Err(SealError::Unreadable);
    }
    each_token(&mut value, &mut |kind, value| match value {
        Value::String(text) => take(kind, text, tokens),
        Value::Null => Ok(()),
        _ => Err(SealError::NoToken(kind)),
    })?;
    Ok(value)
}

/// The document with a handle in each place.
pub(super) fn write<'h>(
    value: &mut Value,
    handles: &mut impl Iterator<Item = &'h String>,
) -> Result<Vec<u8>, SealError> {
    each_token(value, &mut |_, value| {
        if let Value::String(text) = value {
            text.push_str(handles.next().ok_or(SealError::Handles)?);
        }
        Ok(())
    })?;
    serde_json::to_vec(value).map_err(|_| SealError::Unreadable)
}

/// Every member, however deep, that is named as a token is.
fn each_token(
    value: &mut Value,
    with: &mut impl FnMut(TokenKind, &mut Value) -> Result<(), SealError>,
) -> Result<(), SealError> {
    match value {
        Value::Array(all) => all.iter_mut().try_for_each(|value| each_token(value, with)),
        Value::Object(all) => {
            all.iter_mut()
                .try_for_each(|(name, value)| match TokenKind::of(name) {
                    Some(kind) => with(kind, value),
                    None => each_token(value, with),
                })
        }
        _ => Ok(()),
    }
}

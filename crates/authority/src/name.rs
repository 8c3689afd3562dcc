//! What may name something that spends or can be switched off.

use crate::limits::MAX_NAME_BYTES;

/// Whether `name` has 1 to [`MAX_NAME_BYTES`] bytes and no control characters: it is shown to operators and kept in
/// files.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && is_text(name, MAX_NAME_BYTES)
}

/// Whether `text` has at most `max` bytes and no control characters.
pub(crate) fn is_text(text: &str, max: usize) -> bool {
    text.len() <= max && !text.chars().any(char::is_control)
}

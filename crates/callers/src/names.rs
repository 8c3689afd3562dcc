//! The form of names and scopes, wherever they come from.

use crate::limits::{MAX_NAME_BYTES, MAX_SCOPE_BYTES};

/// Whether `text` can name an issuer, a subject, a tenant or an audience: two spellings must not look alike.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.trim() == text
        && !text.chars().any(char::is_control)
}

/// Whether `text` is one scope of RFC 6749, so that a list of them can be told apart again.
pub(crate) fn is_scope(text: &str) -> bool {
    (1..=MAX_SCOPE_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

//! Foreign text as people may see it: on one line, and unable to drive a terminal.

/// The most characters of a foreign text that a message shows.
const MAX_SHOWN_CHARS: usize = 80;
/// The most characters of what another program's messages say.
const MAX_MESSAGE_CHARS: usize = 400;

/// `text` in back quotes, escaped, and cut if it is long.
pub(crate) fn quoted(text: &str) -> String {
    format!("`{}`", shown(text))
}

/// `text`, escaped, and cut if it is long.
pub(crate) fn shown(text: &str) -> String {
    cut(text, MAX_SHOWN_CHARS)
}

/// As [`shown`], for what is a message already and is worth reading to its end.
pub(crate) fn message(text: &str) -> String {
    cut(text, MAX_MESSAGE_CHARS)
}

fn cut(text: &str, most: usize) -> String {
    let mut out = String::new();
    for char in text.chars().take(most) {
        push_escaped(&mut out, char);
    }
    if text.chars().nth(most).is_some() {
        out.push('…');
    }
    out
}

/// Adds `char` to `out` as itself, or escaped: control characters, direction marks and anything else
/// without a shape of its own are escaped.
pub(crate) fn push_escaped(out: &mut String, char: char) {
    if matches!(char, '"' | '\'' | '\\') {
        out.push(char);
    } else {
        out.extend(char.escape_debug());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_drive_a_terminal_or_reorder_a_line() {
        assert_eq!(
            quoted("a\x1b[2J\n\u{202e}\u{200b}é\"\\"),
            "`a\\u{1b}[2J\\n\\u{202e}\\u{200b}é\"\\`"
        );
        assert_eq!(shown(&"x".repeat(81)), format!("{}…", "x".repeat(80)));
    }
}

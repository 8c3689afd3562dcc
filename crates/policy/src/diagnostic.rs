//! What is wrong with a profile, where, and how to correct it.

use std::fmt;

use crate::visible::{push_escaped, shown};

/// The most errors that are reported at once; the last then says how many more there are.
pub const MAX_DIAGNOSTICS: usize = 100;
/// The most characters of a source line that are rendered.
const MAX_LINE_CHARS: usize = 120;

/// One error in a profile.
///
/// Every text in it is safe to print: what comes from the file is escaped and cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// The key, such as `sandbox.limits.max_runtime_ms`; empty if the whole file is meant.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, " {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// What is wrong with one value, before it has a place.
#[derive(Debug)]
pub(crate) struct Fault {
    message: String,
    hint: String,
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
        }
    }
}

/// The errors found so far in one source.
#[derive(Debug)]
pub(crate) struct Report<'s> {
    source: &'s [u8],
    found: Vec<Diagnostic>,
    omitted: usize,
    /// Before every path.
    within: String,
}

impl<'s> Report<'s> {
    pub(crate) const fn new(source: &'s [u8]) -> Self {
        Self {
            source,
            found: Vec::new(),
            omitted: 0,
            within: String::new(),
        }
    }

    /// Adds an error at byte `at`. `fault` is only made if there is room for it.
    pub(crate) fn add(&mut self, at: usize, path: &str, fault: impl FnOnce() -> Fault) {
        if self.found.len() == MAX_DIAGNOSTICS {
            self.omitted += 1;
            return;
        }
        let (line, column) = position(self.source, at);
        let Fault { message, hint } = fault();
        self.found.push(Diagnostic {
            line,
            column,
            path: match (self.within.as_str(), path) {
                ("", path) => path.to_owned(),
                (within, "") => within.to_owned(),
                (within, path) => format!("{within}.{path}"),
            },
            message,
            hint,
        });
    }

    /// Has everything that `read` adds be below `path`.
    pub(crate) fn within(&mut self, path: String, read: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.within, path);
        read(self);
        self.within = before;
    }

    /// `value` if nothing is wrong, else every error in the order of the file.
    pub(crate) fn finish<T>(mut self, value: T) -> Result<T, Vec<Diagnostic>> {
        if self.found.is_empty() {
            return Ok(value);
        }
        self.found
            .sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
        if let Some(last) = self.found.last().filter(|_| self.omitted > 0) {
            let more = Diagnostic {
                path: String::new(),
                message: format!("{} more errors are not shown", self.omitted),
                hint: "correct these first".to_owned(),
                ..*last
            };
            self.found.push(more);
        }
        Err(self.found)
    }
}

/// Line and column of byte `at`, from 1, in characters. A line ends with `\n`; a `\r` before it is the
/// line's last character.
fn position(source: &[u8], at: usize) -> (u32, u32) {
    let before = source.get(..at).unwrap_or(source);
    let newlines = before.iter().filter(|byte| **byte == b'\n').count();
    let line = before.rsplit(|byte| *byte == b'\n').next().unwrap_or(b"");
    (
        count(newlines),
        count(String::from_utf8_lossy(line).chars().count()),
    )
}

/// What comes after `before` items, counted from 1.
fn count(before: usize) -> u32 {
    u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)
}

/// Diagnostics as plain text for a terminal: each with its line, a caret and its hint.
///
/// `name` is how the reader knows the file; `source` are its bytes. Control characters are escaped and
/// long lines are cut around the caret.
#[must_use]
pub fn render_diagnostics(name: &str, source: &[u8], diagnostics: &[Diagnostic]) -> String {
    let name = shown(name);
    let mut out = String::new();
    for diagnostic in diagnostics {
        render(&mut out, &name, source, diagnostic);
    }
    let errors = diagnostics.len();
    let plural = if errors == 1 { "" } else { "s" };
    out.push_str(&format!("{name}: {errors} error{plural}\n"));
    out
}

fn render(out: &mut String, name: &str, source: &[u8], diagnostic: &Diagnostic) {
    let Diagnostic {
        line,
        column,
        path,
        message,
        hint,
    } = diagnostic;
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    out.push_str(&format!(
        "error: {message}\n{gutter}--> {name}:{line}:{column}\n"
    ));
    if let Some((text, caret)) = excerpt(source, *line, *column) {
        let pad = " ".repeat(caret);
        out.push_str(&format!(
            "{gutter} |\n{number} | {text}\n{gutter} | {pad}^\n"
        ));
    }
    if !path.is_empty() {
        out.push_str(&format!("{gutter} = at: {path}\n"));
    }
    if !hint.is_empty() {
        out.push_str(&format!("{gutter} = help: {hint}\n"));
    }
    out.push('\n');
}

/// The part of the line around the column, escaped, and how far right in it the column is.
fn excerpt(source: &[u8], line: u32, column: u32) -> Option<(String, usize)> {
    let index = usize::try_from(line.checked_sub(1)?).ok()?;
    let column = usize::try_from(column.checked_sub(1)?).ok()?;
    let line = source.split(|byte| *byte == b'\n').nth(index)?;
    let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
    let first = (column + 1).saturating_sub(MAX_LINE_CHARS);
    let mut text = String::from(if first > 0 { "…" } else { "" });
    let mut caret = None;
    let mut chars = line.chars().enumerate().skip(first);
    for (place, char) in chars.by_ref().take(MAX_LINE_CHARS) {
        if place == column {
            caret = Some(text.chars().count());
        }
        if char == '\t' {
            text.push(' ');
        } else {
            push_escaped(&mut text, char);
        }
    }
    let caret = caret.unwrap_or_else(|| text.chars().count());
    if chars.next().is_some() {
        text.push('…');
    }
    Some((text, caret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, column: u32) -> Diagnostic {
        Diagnostic {
            line,
            column,
            path: "a.b".into(),
            message: "wrong".into(),
            hint: "right it".into(),
        }
    }

    #[test]
    fn columns_count_characters_and_lines_end_with_a_line_feed() {
        let source = "é = 1\r\nüü = 2".as_bytes();
        assert_eq!(position(source, 0), (1, 1));
        assert_eq!(position(source, 2), (1, 2), "é is two bytes, one column");
        assert_eq!(position(source, 8), (2, 1), "after \\r\\n");
        assert_eq!(position(source, 12), (2, 3));
        assert_eq!(position(source, 9_999), (2, 7), "past the end");
    }

    #[test]
    fn the_rendered_text_points_at_the_place_and_cannot_drive_a_terminal() {
        let source = b"ok = 1\n\ta\x1b[2J = \xff 2\r\n";
        assert_eq!(
            render_diagnostics("p\n.toml", source, &[at(2, 3)]),
            "error: wrong\n --> p\\n.toml:2:3\n  |\n2 |  a\\u{1b}[2J = \u{fffd} 2\n  |   ^\n  \
             = at: a.b\n  = help: right it\n\np\\n.toml: 1 error\n"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let source = "x".repeat(10_000);
        let text = render_diagnostics("p", source.as_bytes(), &[at(1, 5_000), at(1, 1)]);
        assert!(
            text.lines().all(|line| line.chars().count() < 140),
            "{text}"
        );
        assert!(text.contains("p: 2 errors"));
        let caret = text.lines().find(|line| line.ends_with('^')).unwrap();
        assert_eq!(caret.chars().count(), 4 + MAX_LINE_CHARS + 1);
    }

    #[test]
    fn a_place_outside_the_source_is_still_rendered() {
        for (line, column) in [(0, 0), (1, 900), (99, 1), (u32::MAX, u32::MAX)] {
            assert!(render_diagnostics("p", b"a", &[at(line, column)]).contains("wrong"));
        }
    }
}

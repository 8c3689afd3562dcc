//! What a single word of a profile may look like.

use crate::{
    diagnostic::Fault,
    egress::BASE_URL_VARIABLE,
    environment::{self, Refused, refused},
    visible::quoted,
};

/// The longest name of a route, tool or policy, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// The only variable of a workspace template.
const RUN_ID: &str = "${run_id}";

/// A route.
pub(crate) fn route(text: &str) -> Result<String, Fault> {
    name(text, "route")
}

/// A tool that has a manifest.
pub(crate) fn tool(text: &str) -> Result<String, Fault> {
    name(text, "tool")
}

/// A policy that has a name.
pub(crate) fn policy(text: &str) -> Result<String, Fault> {
    name(text, "policy")
}

/// A rule of egress.
pub(crate) fn egress_rule(text: &str) -> Result<String, Fault> {
    name(text, "rule")
}

/// Something that can stand in a path, a URL and a log line.
fn name(text: &str, what: &str) -> Result<String, Fault> {
    let inner = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.');
    let good = text.len() <= MAX_NAME_BYTES
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(inner);
    if good {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("{} is not a name for a {what}", quoted(text)),
        format!(
            "use at most {MAX_NAME_BYTES} letters, digits, `_`, `-` and `.`, the first a letter or digit"
        ),
    ))
}

/// A text that a model reads and a person reviews: both must see the same.
pub(crate) fn prose(text: &str) -> Result<(), Fault> {
    match text.chars().find(|char| unseen(*char)) {
        None => Ok(()),
        Some(char) => Err(Fault::new(
            format!(
                "the character U+{:04X}, which people do not see",
                u32::from(char)
            ),
            "leave it out: a model would read what no reviewer sees",
        )),
    }
}

/// Control characters, direction marks, and whatever else has no shape and no width.
const fn unseen(char: char) -> bool {
    match char {
        '\t' | '\n' | '\r' => false,
        '\0'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'..='\u{1160}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}' => true,
        _ => false,
    }
}

/// A name, scope, issuer or audience: printable ASCII without space, `"` and `\` (as RFC 6749, 3.3).
///
/// Nothing expands a `*`, so whoever writes one means something else than we would do.
pub(crate) fn token(text: &str) -> Result<String, Fault> {
    if text.contains('*') {
        return Err(Fault::new(
            format!("{} has a wildcard", quoted(text)),
            "there are no wildcards here: name each one",
        ));
    }
    let good = |char: char| char.is_ascii_graphic() && !matches!(char, '"' | '\\');
    if !text.is_empty() && text.chars().all(good) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("{} has characters that a name cannot have", quoted(text)),
        "use printable ASCII without spaces, `\"` and `\\`",
    ))
}

/// An absolute path without `.`, `..` and empty components; `${run_id}` is its only variable.
pub(crate) fn workspace(text: &str) -> Result<String, Fault> {
    let path = text.replace(RUN_ID, "run");
    let plain = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part
                .chars()
                .all(|char| char.is_ascii_graphic() && !matches!(char, '$' | '{' | '}' | '\\'))
    };
    let fault = |hint: &str| {
        Fault::new(
            format!("{} is not a path template for a workspace", quoted(text)),
            hint,
        )
    };
    match path.strip_prefix('/') {
        None => Err(fault("begin it with `/`")),
        Some(parts) if parts.split('/').all(plain) => Ok(text.to_owned()),
        Some(_) if path.contains('$') => Err(fault("`${run_id}` is the only variable")),
        Some(_) => Err(fault(
            "use printable ASCII without spaces, and no empty, `.` or `..` component",
        )),
    }
}

/// The name of an environment variable that a caller may declare.
pub(crate) fn variable(text: &str) -> Result<String, Fault> {
    let (why, hint) = match refused(text) {
        None => return Ok(text.to_owned()),
        // Which base URLs there are is read later; whoever leads a call out sets it.
        Some(Refused::Reserved) if text.starts_with(BASE_URL_VARIABLE) => {
            return Ok(text.to_owned());
        }
        Some(Refused::NotAName) => (
            "is not a name for an environment variable",
            format!(
                "use at most {} letters, digits and `_`, the first not a digit",
                environment::MAX_NAME_BYTES
            ),
        ),
        Some(Refused::Reserved) => (
            "is set by the sandbox",
            "leave it out: no caller can declare it".to_owned(),
        ),
        Some(Refused::Secret) => (
            "is the usual name of a secret",
            "leave it out: no secret enters a sandbox".to_owned(),
        ),
    };
    Err(Fault::new(format!("{} {why}", quoted(text)), hint))
}

/// The end of a file name, such as `.csv` or `.tar.gz`.
pub(crate) fn file_type(text: &str) -> Result<String, Fault> {
    let good = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-'))
    };
    if text
        .strip_prefix('.')
        .is_some_and(|ends| ends.split('.').all(good))
    {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("{} is not a file type", quoted(text)),
        "begin it with a dot, as in `.csv`",
    ))
}

/// One word of a closed set.
pub(crate) fn word<T: Copy>(
    text: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<T, Fault> {
    let names = || all.iter().map(|word| name(*word));
    match all.iter().find(|word| name(**word) == text) {
        Some(word) => Ok(*word),
        None => Err(Fault::new(
            format!("unknown word {}", quoted(text)),
            match nearest(text, names()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("use one of {}", listed(names())),
            },
        )),
    }
}

/// The candidate that `text` is probably a slip of.
pub(crate) fn nearest<'c>(
    text: &str,
    candidates: impl Iterator<Item = &'c str>,
) -> Option<&'c str> {
    /// Longer texts are no slips of our words, and cost more to compare.
    const MAX_CHARS: usize = 64;
    if text.chars().nth(MAX_CHARS).is_some() {
        return None;
    }
    let text = text.to_lowercase();
    candidates
        .map(|candidate| (strsim::osa_distance(&text, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Words in back quotes, with commas.
pub(crate) fn listed<'w>(words: impl Iterator<Item = &'w str>) -> String {
    words
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_takes_its_words_and_no_others() {
        type Case = (
            fn(&str) -> Result<String, Fault>,
            &'static [&'static str],
            &'static [&'static str],
        );
        let cases: [Case; 4] = [
            (
                route,
                &["run", "a.b-c_1"],
                &["", "-a", "a/b", "a b", "ä", "..", "a\n"],
            ),
            (
                token,
                &["orders:read", "https://id.example.com/a?b#c"],
                &[
                    "", "*", "orders:*", "a b", "a\"", "a\\", "ä", "a\t", "\u{7f}",
                ],
            ),
            (
                workspace,
                &["/runs/${run_id}", "/w", "/a-${run_id}-b/c"],
                &[
                    "",
                    "/",
                    "runs",
                    "/a/",
                    "//a",
                    "/a/../b",
                    "/.",
                    "/${user}",
                    "/$run_id",
                    "/${run_id",
                    "/a b",
                    "/${${run_id}}",
                    "/a\0",
                    "/ü",
                ],
            ),
            (
                file_type,
                &[".csv", ".tar.gz"],
                &["", "csv", ".", "..", "*.csv", ".c v", "./a", ".a."],
            ),
        ];
        for (rule, good, bad) in cases {
            for text in good {
                assert_eq!(rule(text).unwrap(), *text);
            }
            for text in bad {
                assert!(rule(text).is_err(), "{text:?}");
            }
        }
    }

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let words = || ["max_runtime_ms", "tier", "require"].into_iter();
        assert_eq!(nearest("max_runtime", words()), Some("max_runtime_ms"));
        assert_eq!(nearest("Teir", words()), Some("tier"));
        assert_eq!(nearest("network", words()), None);
        assert_eq!(nearest(&"tier".repeat(1000), words()), None);
    }
}

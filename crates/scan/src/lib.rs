//! What a program could do, by looking at its source before it runs: names of modules and functions, constants, ways to
//! hide them.
//!
//! A finding is a hint for people and policies. It protects nothing: code can spell everything in a way that no reader of
//! source understands, and what is not found is enforced by the sandbox all the same.
//!
//! Invariants:
//! - One pass over the tokens, without recursion: time and memory are linear in the source, whatever its nesting.
//! - What was not understood whole is never called complete: other languages, too much source, invalid UTF-8, a string
//!   without an end.
//! - A finding has names of closed lists and numbers of lines, and nothing of the source.
//!
//! Deliberately absent: a syntax tree (`docs/adr/0041`), a verdict.

mod commands;
mod lexer;
mod python;
mod report;
mod seen;
mod shell;
mod tables;

pub use self::{
    report::{Finding, Gap, Language, MAX_FINDINGS, MAX_SOURCE_BYTES, Report},
    seen::Seen,
};

/// Looks at a source.
#[must_use]
pub fn scan(language: Language, source: &[u8]) -> Report {
    let mut report = Report::new(language);
    if source.len() > MAX_SOURCE_BYTES {
        report.leave(Gap::TooLarge);
        return report;
    }
    match (language, std::str::from_utf8(source)) {
        (Language::Unknown, _) => report.leave(Gap::UnknownLanguage),
        (_, Err(_)) => report.leave(Gap::NotText),
        (Language::Python, Ok(text)) => python::scan(text, &mut report),
        (Language::Shell, Ok(text)) => shell::scan(text, &mut report),
    }
    report
}

//! Whatever the bytes are: an answer, never a panic, and every place in it exists.

use casemate_policy::{Profile, Syntax, render_diagnostics};
use proptest::prelude::*;

use crate::build::SEED;

const RUN: &[u8] = include_bytes!("../../profiles/run.toml");

fn check(source: &[u8], syntax: Syntax) {
    let Err(diagnostics) = Profile::parse(source, syntax) else {
        return;
    };
    assert!(!diagnostics.is_empty());
    for diagnostic in &diagnostics {
        let line = usize::try_from(diagnostic.line).unwrap();
        let text = source.split(|byte| *byte == b'\n').nth(line - 1).unwrap();
        let columns = String::from_utf8_lossy(text).chars().count() + 1;
        let column = usize::try_from(diagnostic.column).unwrap();
        assert!((1..=columns).contains(&column), "{diagnostic}");
    }
    let rendered = render_diagnostics("p", source, &diagnostics);
    assert!(
        rendered
            .chars()
            .all(|char| char == '\n' || !char.is_control())
    );
}

/// Characters that mean something to one of the two languages, and some that are odd in both.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "[[",
    "]]",
    ",",
    ":",
    "=",
    ".",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "\\",
    "\\u",
    "\\ud800",
    "#",
    "//",
    "/*",
    "\n",
    "\r",
    "\r\n",
    "\t",
    " ",
    "\0",
    "\u{feff}",
    "\u{a0}",
    "\u{202e}",
    "é",
    "😀",
    "0",
    "-",
    "+",
    "1e999",
    "0x",
    "99999999999999999999",
    "nan",
    "inf",
    "true",
    "null",
    "1979-05-27",
    "route",
    "sandbox",
    "sandbox.limits",
    "tools",
    "scopes",
    "${run_id}",
    "a",
];

proptest! {
    #[test]
    fn any_bytes(source in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(&source, Syntax::Json);
        check(&source, Syntax::Toml);
    }

    #[test]
    fn any_pieces(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..60)) {
        let source = pieces.concat();
        check(source.as_bytes(), Syntax::Json);
        check(source.as_bytes(), Syntax::Toml);
    }

    #[test]
    fn a_good_profile_with_a_piece_put_in_and_some_bytes_cut_out(
        at in 0_usize..1000,
        cut in 0_usize..40,
        piece in proptest::sample::select(PIECES),
    ) {
        for (source, syntax) in [(SEED, Syntax::Json), (RUN, Syntax::Toml)] {
            let at = at % source.len();
            let rest = source.get(at + cut..).unwrap_or_default();
            let source = [&source[..at], piece.as_bytes(), rest].concat();
            check(&source, syntax);
        }
    }
}

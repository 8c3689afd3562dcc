//! Checks of Rust files.

use anyhow::{Context, Result};

use crate::{Tree, source};

/// The most lines of a file of code.
const MOST_LINES: usize = 800;
/// The lines from which a file of code is worth a thought.
const MANY_LINES: usize = 400;
/// The most lines of a file of tests.
const MOST_TEST_LINES: usize = 1_500;

/// The one crate that may say `unsafe`.
const UNSAFE_CRATE: &str = "crates/sys/";

/// Files with too many lines, and (second) those that come near it.
///
/// # Errors
/// When a file cannot be read.
pub fn oversized_files(tree: &Tree) -> Result<(Vec<String>, Vec<String>)> {
    let (mut too_long, mut long) = (Vec::new(), Vec::new());
    for file in tree.below("", ".rs") {
        let lines = tree.read(file)?.lines().count();
        let is_test = file.ends_with("tests.rs") || file.contains("/tests/");
        let most = if is_test { MOST_TEST_LINES } else { MOST_LINES };
        if lines > most {
            too_long.push(format!(
                "{file} has {lines} lines, the most is {most}: one idea per file"
            ));
        } else if lines > MANY_LINES && !is_test {
            long.push(format!("{file} has {lines} lines"));
        }
    }
    Ok((too_long, long))
}

/// Files named `mod.rs`.
#[must_use]
pub fn misplaced_modules(tree: &Tree) -> Vec<String> {
    tree.below("", ".rs")
        .filter(|file| file.rsplit('/').next() == Some("mod.rs"))
        .map(|file| format!("{file}: name the file after the module"))
        .collect()
}

/// `unsafe` outside the one crate that may say it, and inside it without a `// SAFETY:`.
///
/// # Errors
/// When a file cannot be read or parsed.
pub fn misplaced_unsafe(tree: &Tree) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for file in tree.below("", ".rs") {
        let text = tree.read(file)?;
        let code = source::unsafe_code(&text).with_context(|| file.to_owned())?;
        let reasons = text
            .lines()
            .filter(|line| line.contains("// SAFETY:"))
            .count();
        if !file.starts_with(UNSAFE_CRATE) {
            if code.words > 0 {
                findings.push(format!("{file} says `unsafe`: only {UNSAFE_CRATE} may"));
            }
        } else if reasons < code.claims {
            findings.push(format!(
                "{file} has {} unsafe blocks and implementations and {reasons} `// SAFETY:`",
                code.claims
            ));
        }
    }
    Ok(findings)
}

/// Tests that do not run.
///
/// # Errors
/// When a file cannot be read or parsed.
pub fn ignored_tests(tree: &Tree) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for file in tree.below("", ".rs") {
        let tests = source::tests(&tree.read(file)?).with_context(|| file.to_owned())?;
        findings.extend(
            tests
                .iter()
                .filter(|test| test.ignored)
                .map(|test| format!("{file}: {} is ignored: mend it or delete it", test.name)),
        );
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_of_a_file_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let many = "\n".repeat(MANY_LINES + 1);
        let most = "\n".repeat(MOST_LINES + 1);
        let tests = "\n".repeat(MOST_TEST_LINES + 1);
        let tree = Tree::sample(
            directory.path(),
            &[
                ("crates/a/src/many.rs", &many),
                ("crates/a/src/most.rs", &most),
                ("crates/a/src/fine/tests.rs", &most),
                ("crates/a/tests/long.rs", &tests),
                ("crates/a/src/mod.rs", "fn f() { unsafe { g() } }"),
                ("crates/a/tests/skip.rs", "#[test] #[ignore] fn f() {}"),
                (
                    "crates/sys/src/good.rs",
                    "// SAFETY: it is.\nunsafe impl Send for A {}",
                ),
                ("crates/sys/src/bad.rs", "fn f() { unsafe { g() } }"),
            ],
        );
        let (too_long, long) = oversized_files(&tree).unwrap();
        assert_eq!(
            (too_long.len(), long.len()),
            (2, 1),
            "{too_long:?} {long:?}"
        );
        assert!(too_long[0].contains("most.rs") && too_long[1].contains("long.rs"));
        assert_eq!(misplaced_modules(&tree).len(), 1);
        let unsafe_code = misplaced_unsafe(&tree).unwrap();
        assert_eq!(unsafe_code.len(), 2, "{unsafe_code:?}");
        assert_eq!(ignored_tests(&tree).unwrap().len(), 1);
    }
}

//! Which holes of others have a test: those of research/governance.md §9, by number.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::{Tree, source};

/// How many there are.
const HOLES: u32 = 18;

/// How the name of a test of one begins.
const PREFIX: &str = "hole_";

/// The holes that no test tries, and the tests of holes that there are not.
///
/// # Errors
/// When a file cannot be read or parsed.
pub fn holes(tree: &Tree) -> Result<Vec<String>> {
    let mut tried: BTreeMap<String, u32> = BTreeMap::new();
    for file in tree.below("crates/", ".rs") {
        let text = tree.read(file)?;
        if !text.contains(PREFIX) {
            continue;
        }
        let tests = source::tests(&text).with_context(|| file.to_owned())?;
        let names = tests.iter().filter(|test| !test.ignored);
        let numbers = names.filter_map(|test| {
            let name = test.name.rsplit("::").next()?;
            let (number, rest) = name.strip_prefix(PREFIX)?.split_once('_')?;
            (!rest.is_empty()).then_some(number)
        });
        for number in numbers {
            *tried.entry(number.to_owned()).or_default() += 1;
        }
    }
    let mut findings: Vec<_> = (1..=HOLES)
        .filter(|number| tried.remove(&number.to_string()).is_none())
        .map(|number| format!("no test is called `{PREFIX}{number}_…`"))
        .collect();
    findings.extend(
        tried
            .keys()
            .map(|number| format!("`{PREFIX}{number}_…`: there is no such hole")),
    );
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        holes(&Tree::sample(directory.path(), files)).unwrap()
    }

    #[test]
    fn a_hole_without_a_test_is_found() {
        let all: String = (1..=HOLES)
            .map(|number| format!("#[test]\nfn hole_{number}_is_closed() {{}}\n"))
            .collect();
        assert_eq!(
            found(&[("crates/a/tests/a.rs", &all)]),
            Vec::<String>::new()
        );
        // Gone, not a test any more, not run any more, or only in a comment.
        for (from, to) in [
            ("#[test]\nfn hole_7_is_closed() {}\n", ""),
            ("#[test]\nfn hole_7_is_closed", "fn hole_7_is_closed"),
            ("#[test]\nfn hole_7_is", "#[test]\n#[ignore]\nfn hole_7_is"),
            (
                "#[test]\nfn hole_7_is_closed() {}\n",
                "// hole_7_is_closed\n",
            ),
        ] {
            let without = all.replace(from, to);
            assert_ne!(without, all);
            let findings = found(&[("crates/a/tests/a.rs", &without)]);
            assert_eq!(findings, ["no test is called `hole_7_…`"]);
        }
    }

    #[test]
    fn a_test_of_no_hole_is_found() {
        let findings = found(&[("crates/a/tests/a.rs", "#[test]\nfn hole_19_new() {}\n")]);
        assert_eq!(findings.len(), 19);
        assert_eq!(
            findings.last().unwrap(),
            "`hole_19_…`: there is no such hole"
        );
    }
}

//! The numbers that tests carry.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};

use super::Id;
use crate::{Tree, source};

/// The key that makes a table of a data file an entry.
const KEY: &str = "requirements";

/// For each number, the tests that carry it.
pub(super) type Evidence = BTreeMap<Id, BTreeSet<String>>;

/// Every number that a test function or an entry of a test's data file carries.
pub(super) fn of(tree: &Tree) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    let mut claim = |ids: Vec<Id>, test: &str| {
        for id in ids {
            evidence.entry(id).or_default().insert(test.to_owned());
        }
    };
    for file in tree.below("crates/", ".rs") {
        let tests = source::tests(&tree.read(file)?).with_context(|| file.to_owned())?;
        let module = module(file);
        for test in tests {
            let name = test.name.rsplit("::").next().unwrap_or_default();
            let mut ids = Id::of_name(name);
            ids.extend(Id::of_comment(&test.doc).with_context(|| format!("{file}: {name}"))?);
            claim(ids, &format!("{module}::{}", test.name));
        }
    }
    let data = tree
        .below("crates/", ".toml")
        .filter(|file| file.contains("/tests/"));
    for file in data {
        // Some tests read files that are broken on purpose; those claim nothing.
        let Ok(text) = tree.read(file) else { continue };
        if !text.contains(KEY) {
            continue;
        }
        let table: toml::Table = text.parse().with_context(|| file.to_owned())?;
        let place = file.trim_start_matches("crates/");
        walk(&table, place, &mut claim).with_context(|| file.to_owned())?;
    }
    Ok(evidence)
}

/// The module that a file is: `crates/ledger/src/log/tests.rs` is `ledger::log::tests`, and
/// `crates/ledger/tests/tamper.rs` is `ledger::tamper`.
fn module(file: &str) -> String {
    let mut parts: Vec<&str> = file
        .trim_start_matches("crates/")
        .trim_end_matches(".rs")
        .split('/')
        .collect();
    if parts.len() > 1 {
        parts.remove(1);
    }
    if parts.len() > 1 {
        parts.pop_if(|last| matches!(*last, "lib" | "main"));
    }
    parts.join("::")
}

/// Walks the tables of a data file; one with a key `requirements` is an entry.
fn walk(table: &toml::Table, place: &str, claim: &mut dyn FnMut(Vec<Id>, &str)) -> Result<()> {
    if let Some(requirements) = table.get(KEY) {
        let entry = table
            .get("name")
            .and_then(toml::Value::as_str)
            .map_or_else(|| place.to_owned(), |name| format!("{place}: {name}"));
        claim(ids(requirements).with_context(|| entry.clone())?, &entry);
    }
    for value in table.values() {
        match value {
            toml::Value::Table(inner) => walk(inner, place, claim)?,
            toml::Value::Array(values) => {
                for inner in values.iter().filter_map(toml::Value::as_table) {
                    walk(inner, place, claim)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn ids(requirements: &toml::Value) -> Result<Vec<Id>> {
    let numbers = requirements
        .as_array()
        .context("`requirements` is a list of numbers")?;
    ensure!(!numbers.is_empty(), "`requirements` is empty: leave it out");
    numbers
        .iter()
        .map(|number| {
            number
                .as_str()
                .context("a number is text, such as \"R24\"")?
                .parse()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::module;

    #[test]
    fn files_become_modules() {
        for (file, expected) in [
            ("crates/ledger/src/lib.rs", "ledger"),
            ("crates/ledger/src/log.rs", "ledger::log"),
            ("crates/ledger/src/log/tests.rs", "ledger::log::tests"),
            ("crates/ledger/tests/tamper.rs", "ledger::tamper"),
            ("crates/ledger/tests/it/main.rs", "ledger::it"),
        ] {
            assert_eq!(module(file), expected);
        }
    }
}

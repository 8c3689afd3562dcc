//! `cargo xtask bench ledger`: how many records a second become durable.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::{Deserializer, Value};

use super::host::Host;
use crate::{Page, Tree, process};

const PAGE: &str = "docs/benchmarks/ledger.md";
const HEADER: &str = "# What a record costs\n\n\
    Appended by `cargo xtask bench ledger`, which runs the benchmark `append` of the ledger.\n";

/// Runs the ledger's benchmark, appends what it measured to the page and prints it.
///
/// # Errors
/// When the benchmark fails or prints no JSON object, or the page cannot be written.
pub fn ledger(tree: &Tree) -> Result<()> {
    append(tree, ("casemate-ledger", "append"), (PAGE, HEADER))
}

/// Runs a benchmark of a package, appends what it measured to a page, which begins with a header if there was none, and prints it.
pub(super) fn append(
    tree: &Tree,
    (package, bench): (&str, &str),
    (path, header): (&str, &str),
) -> Result<()> {
    let args = ["bench", "--package", package, "--bench", bench];
    let output = process::capture(process::cargo().args(args))?;
    let section = section(&measured(&output)?, &Host::of(tree)?);
    println!("{section}");
    let before = tree.read(path).unwrap_or_else(|_| header.to_owned());
    let page = Page {
        path: path.to_owned(),
        content: before + &section,
    };
    page.write(tree)
}

/// The JSON object that the benchmark prints, whatever is printed around it.
pub(super) fn measured(output: &str) -> Result<Value> {
    output
        .find('{')
        .and_then(|start| output.get(start..))
        .and_then(|rest| Deserializer::from_str(rest).into_iter().next())
        .context("the benchmark printed no JSON object")?
        .context("the benchmark printed JSON with a fault")
}

/// What was measured, as a section of a page.
fn section(measured: &Value, host: &Host) -> String {
    let mut section = format!(
        "\n## {}\n\nCommit {}, {} cores of {}, Linux {}.\n\n| Measured | Value |\n|---|---:|\n",
        host.date, host.commit, host.cores, host.cpu, host.kernel
    );
    rows(measured, "", &mut section);
    section
}

/// A row for each number or word in `value`, named by the way to it.
fn rows(value: &Value, name: &str, section: &mut String) {
    let inner = |key: &str| {
        format!("{name} {}", key.replace('_', " "))
            .trim()
            .to_owned()
    };
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(key, value)| rows(value, &inner(key), section)),
        Value::Array(values) => values
            .iter()
            .zip(1..)
            .for_each(|(value, place)| rows(value, &inner(&format!("{place}")), section)),
        value => {
            let _ = writeln!(section, "| {name} | {value} |");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_found_between_other_lines_and_becomes_rows() {
        let output =
            "running\n{\n \"writers\": 64,\n \"runs\": [{\"records_per_second\": 21000}]}\ndone\n";
        let mut section = String::new();
        rows(&measured(output).unwrap(), "", &mut section);
        // The order of an object's keys depends on what else is built with us.
        let mut rows: Vec<_> = section.lines().collect();
        rows.sort_unstable();
        assert_eq!(
            rows,
            ["| runs 1 records per second | 21000 |", "| writers | 64 |"]
        );
        assert!(measured("nothing").is_err());
        assert!(measured("{\"writers\": ").is_err());
    }
}

//! Which requirement has a test: `docs/requirements.md`.
//!
//! The requirements are the rows of `docs/requirements-table.md`. A test shows one by carrying its number
//! in its name (`r24_…`), at the start of its doc comment (`/// R24, R26: …`), or, as an entry of a data
//! file, in a key `requirements`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use anyhow::{Context, Result, ensure};

use crate::{Page, Tree};

mod evidence;
mod id;
mod table;
#[cfg(test)]
mod tests;

pub use self::id::Id;
use self::{evidence::Evidence, table::Requirement};

const TABLE: &str = "docs/requirements-table.md";
const PAGE: &str = "docs/requirements.md";
/// The page whose claims need tests.
const CLAIMS: &str = "docs/threat-model.md";

/// What the tree shows.
#[derive(Debug)]
pub struct Coverage {
    /// The generated page.
    pub page: Page,
    /// Requirements that the committed page lists as tested and that have no test any more.
    pub lost: BTreeSet<Id>,
    /// Requirements that the threat model names and that have no test.
    pub unproven: BTreeSet<Id>,
}

/// Joins the requirements with the tests of `tree`.
///
/// # Errors
/// When a file cannot be read or parsed, or a test carries a number that no requirement has.
pub fn coverage(tree: &Tree) -> Result<Coverage> {
    let requirements = table::parse(&tree.read(TABLE)?).with_context(|| TABLE)?;
    let evidence = evidence::of(tree)?;
    let known: BTreeSet<Id> = requirements.iter().map(|row| row.id).collect();
    for (id, tests) in &evidence {
        ensure!(
            known.contains(id),
            "{id} is no requirement, but these tests carry it: {}",
            tests.iter().cloned().collect::<Vec<_>>().join(", ")
        );
    }
    let tested_before = match tree.read(PAGE) {
        Ok(committed) => table::tested(&committed).with_context(|| PAGE)?,
        Err(_) => BTreeSet::new(),
    };
    let untested = |ids: BTreeSet<Id>| -> BTreeSet<Id> {
        ids.into_iter()
            .filter(|id| !evidence.contains_key(id))
            .collect()
    };
    Ok(Coverage {
        lost: untested(tested_before),
        unproven: untested(named_in(&tree.read(CLAIMS)?)),
        page: Page {
            path: PAGE.to_owned(),
            content: render(&requirements, &evidence),
        },
    })
}

/// Every number in a text.
fn named_in(text: &str) -> BTreeSet<Id> {
    text.split(|character: char| !character.is_ascii_alphanumeric())
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// What is wrong with the committed pages.
///
/// # Errors
/// As [`coverage`].
pub fn findings(tree: &Tree) -> Result<Vec<String>> {
    let coverage = coverage(tree)?;
    let mut findings: Vec<String> = coverage
        .lost
        .iter()
        .map(|id| format!("{id} was tested and has no test any more"))
        .collect();
    findings.extend(
        coverage
            .unproven
            .iter()
            .map(|id| format!("{CLAIMS} names {id}, and no test carries it")),
    );
    findings.extend(coverage.page.stale(tree, "requirements"));
    Ok(findings)
}

/// Writes the page. A requirement loses its last test only when `given_up` names it.
///
/// # Errors
/// As [`coverage`]; when a requirement would silently lose its last test; when the page cannot be written.
pub fn write(tree: &Tree, given_up: &[Id]) -> Result<()> {
    let coverage = coverage(tree)?;
    let lost: Vec<String> = coverage
        .lost
        .iter()
        .filter(|id| !given_up.contains(id))
        .map(Id::to_string)
        .collect();
    ensure!(
        lost.is_empty(),
        "these were tested and have no test any more: {} (if that is right, name each with --give-up)",
        lost.join(", ")
    );
    coverage.page.write(tree)
}

fn render(requirements: &[Requirement], evidence: &Evidence) -> String {
    let mut page = String::from(
        "# Requirements and the tests that show them\n\n\
         Written by `cargo xtask requirements` from [the table](requirements-table.md) and the numbers that tests\n\
         carry. A number in this list means that a test claims it, not that nothing is left to do.\n",
    );
    let (demands, invariants): (Vec<_>, Vec<_>) =
        requirements.iter().partition(|row| !row.id.is_invariant());
    for (title, rows) in [("Requirements", &demands), ("Invariants", &invariants)] {
        let tested = rows
            .iter()
            .filter(|row| evidence.contains_key(&row.id))
            .count();
        let _ = write!(
            page,
            "\n## {title}\n\n{tested} of {} have a test.\n\n| # | Plane | Requirement | Tests |\n|---|---|---|---|\n",
            rows.len(),
        );
        for row in rows {
            let tests = evidence.get(&row.id).map_or_else(String::new, |tests| {
                tests
                    .iter()
                    .map(|test| format!("`{test}`"))
                    .collect::<Vec<_>>()
                    .join("<br>")
            });
            let _ = writeln!(
                page,
                "| {} | {} | {} | {tests} |",
                row.id, row.plane, row.text
            );
        }
    }
    page.push_str(&render_gaps(requirements, evidence));
    page
}

fn render_gaps(requirements: &[Requirement], evidence: &Evidence) -> String {
    let mut planes: Vec<&str> = Vec::new();
    let mut by_plane: BTreeMap<&str, Vec<&Requirement>> = BTreeMap::new();
    for row in requirements {
        let rows = by_plane.entry(&row.plane).or_default();
        if rows.is_empty() {
            planes.push(&row.plane);
        }
        rows.push(row);
    }
    let mut gaps = String::from(
        "\n## Without a test\n\n| Plane | With a test | Of | Without a test |\n|---|---|---|---|\n",
    );
    for plane in planes {
        let rows = by_plane.get(plane).map_or(&[][..], Vec::as_slice);
        let missing: Vec<String> = rows
            .iter()
            .filter(|row| !evidence.contains_key(&row.id))
            .map(|row| row.id.to_string())
            .collect();
        let _ = writeln!(
            gaps,
            "| {plane} | {} | {} | {} |",
            rows.len() - missing.len(),
            rows.len(),
            missing.join(", ")
        );
    }
    gaps
}

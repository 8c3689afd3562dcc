//! Pages of `docs/reference` that are generated from the sources.

use anyhow::Result;

use crate::{Page, Tree, process};

mod words;

/// Every reference page, as it should be.
///
/// # Errors
/// When a source cannot be read or parsed.
pub fn pages(tree: &Tree) -> Result<Vec<Page>> {
    Ok(vec![words::page(tree)?])
}

/// The pages in `tree` that are not what they should be.
///
/// # Errors
/// As [`pages`].
pub fn findings(tree: &Tree) -> Result<Vec<String>> {
    Ok(pages(tree)?
        .iter()
        .filter_map(|page| page.stale(tree, "reference"))
        .collect())
}

/// Pages that are made of types, and written by the tests that compare them: a package, and the name of its test.
const MADE_OF_TYPES: &[(&str, &str)] = &[
    ("casemate", "the_page_of_the_configuration_is_current"),
    (
        "casemate-api",
        "the_description_of_the_interface_is_current",
    ),
];

/// Writes every page.
///
/// # Errors
/// As [`pages`]; when a page cannot be written.
pub fn write(tree: &Tree) -> Result<()> {
    pages(tree)?.iter().try_for_each(|page| page.write(tree))?;
    for (package, test) in MADE_OF_TYPES {
        let mut command = process::cargo();
        command.args(["test", "--quiet", "--package", package, test]);
        process::run(command.env("BLESS", "1"))?;
    }
    Ok(())
}

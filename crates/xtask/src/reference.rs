//! Pages of `docs/reference` that are generated from the sources.

use anyhow::Result;

use crate::{Page, Tree};

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

/// Writes every page.
///
/// # Errors
/// As [`pages`]; when a page cannot be written.
pub fn write(tree: &Tree) -> Result<()> {
    pages(tree)?.iter().try_for_each(|page| page.write(tree))
}

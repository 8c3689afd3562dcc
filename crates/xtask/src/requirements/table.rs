//! Tables of requirements in Markdown: the committed list, and the generated page.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};

use super::Id;

/// One row of the committed list.
#[derive(Debug)]
pub(super) struct Requirement {
    pub(super) id: Id,
    pub(super) plane: String,
    pub(super) text: String,
}

/// The rows of the committed list: number, plane, requirement, source.
pub(super) fn parse(page: &str) -> Result<Vec<Requirement>> {
    let mut seen = BTreeSet::new();
    let rows = rows(page)?
        .into_iter()
        .map(|(id, plane, text, _)| {
            ensure!(seen.insert(id), "{id} stands there twice");
            Ok(Requirement { id, plane, text })
        })
        .collect::<Result<Vec<_>>>()?;
    ensure!(!rows.is_empty(), "it holds no requirement");
    Ok(rows)
}

/// The numbers with a test in a generated page.
pub(super) fn tested(page: &str) -> Result<BTreeSet<Id>> {
    Ok(rows(page)?
        .into_iter()
        .filter(|(_, _, _, tests)| !tests.is_empty())
        .map(|(id, ..)| id)
        .collect())
}

type Row = (Id, String, String, String);

/// Every table row of four cells whose first cell is a number.
fn rows(page: &str) -> Result<Vec<Row>> {
    page.lines()
        .enumerate()
        .filter(|(_, line)| {
            line.strip_prefix("| R")
                .or_else(|| line.strip_prefix("| I"))
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
        .map(|(index, line)| row(line).with_context(|| format!("line {}", index + 1)))
        .collect()
}

fn row(line: &str) -> Result<Row> {
    let inner = line
        .strip_prefix('|')
        .and_then(|rest| rest.strip_suffix('|'))
        .context("a row starts and ends with |")?;
    let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
    let [id, plane, text, last] = cells.as_slice() else {
        bail!("a row has four cells, this one has {}", cells.len());
    };
    Ok((
        id.parse()?,
        (*plane).to_owned(),
        (*text).to_owned(),
        (*last).to_owned(),
    ))
}

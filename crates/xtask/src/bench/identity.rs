//! `cargo xtask bench identity`: what it costs to lend a credential to a request.

use anyhow::Result;

use super::{
    host::Host,
    ledger::{measured, section},
};
use crate::{Page, Tree, process};

const PAGE: &str = "docs/benchmarks/identity.md";
const HEADER: &str = "# What a grant costs\n\n\
    Appended by `cargo xtask bench identity`, which runs the benchmark `grants` of identity: a grant is the question and the answer over a socket, as the process of\n\
    egress asks for each request with a credential, checked against its lease, the switches and the store on disk. A fetched token is one that is there already.\n";

/// Runs the benchmark of identity, appends what it measured to the page and prints it.
///
/// # Errors
/// When the benchmark fails or prints no JSON object, or the page cannot be written.
pub fn identity(tree: &Tree) -> Result<()> {
    let args = ["bench", "--package", "casemate-identity", "--bench"];
    let output = process::capture(process::cargo().args(args).arg("grants"))?;
    let section = section(&measured(&output)?, &Host::of(tree)?);
    println!("{section}");
    let before = tree.read(PAGE).unwrap_or_else(|_| HEADER.to_owned());
    let page = Page {
        path: PAGE.to_owned(),
        content: before + &section,
    };
    page.write(tree)
}

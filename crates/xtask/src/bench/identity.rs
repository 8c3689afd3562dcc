//! `cargo xtask bench identity`: what it costs to lend a credential to a request.

use anyhow::Result;

use super::ledger::append;
use crate::Tree;

const PAGE: &str = "docs/benchmarks/identity.md";
const HEADER: &str = "# What a grant costs\n\n\
    Appended by `cargo xtask bench identity`, which runs the benchmark `grants` of identity: a grant is the question and the answer over a socket, as the process of\n\
    egress asks for each request with a credential, checked against its lease, the switches and the store on disk. A fetched token is one that is there already.\n";

/// Runs the benchmark of identity, appends what it measured to the page and prints it.
///
/// # Errors
/// When the benchmark fails or prints no JSON object, or the page cannot be written.
pub fn identity(tree: &Tree) -> Result<()> {
    append(tree, ("casemate-identity", "grants"), (PAGE, HEADER))
}

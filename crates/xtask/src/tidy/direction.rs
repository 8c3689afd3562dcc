//! The direction of the dependencies: the real graph is the committed list, no more and no less.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use anyhow::{Context, Result, bail};
use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::Tree;

const LIST: &str = "docs/dependencies.txt";
const PREFIX: &str = "casemate-";

/// Who depends, and for what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edges {
    package: String,
    kind: &'static str,
}

type Graph = BTreeMap<Edges, BTreeSet<String>>;

/// Where the dependencies among our crates and `docs/dependencies.txt` differ.
///
/// # Errors
/// When `cargo metadata` fails or the list cannot be read.
pub fn direction(tree: &Tree) -> Result<Vec<String>> {
    let committed = parse(&tree.read(LIST)?).with_context(|| LIST)?;
    Ok(differences(&committed, &real(tree)?))
}

/// The graph as cargo sees it. Without dependencies of others cargo needs neither lock file nor network.
fn real(tree: &Tree) -> Result<Graph> {
    let metadata = MetadataCommand::new()
        .current_dir(tree.root())
        .no_deps()
        .exec()?;
    let ours: BTreeSet<&str> = metadata
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let mut graph = Graph::new();
    for package in &metadata.packages {
        graph.entry(Edges::new(&package.name, "")).or_default();
        for dependency in &package.dependencies {
            if ours.contains(dependency.name.as_str()) {
                let kind = match dependency.kind {
                    DependencyKind::Development => "dev",
                    DependencyKind::Build => "build",
                    _ => "",
                };
                graph
                    .entry(Edges::new(&package.name, kind))
                    .or_default()
                    .insert(short(&dependency.name));
            }
        }
    }
    Ok(graph)
}

/// Lines of `crate: crate crate`, `crate (dev): crate` or `crate (build): crate`; `#` starts a comment.
fn parse(list: &str) -> Result<Graph> {
    let mut graph = Graph::new();
    for line in list.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let (left, right) = line
            .split_once(':')
            .with_context(|| format!("{line:?} has no colon"))?;
        let (package, kind) = match left.split_once(' ') {
            None => (left, ""),
            Some((package, "(dev)")) => (package, "dev"),
            Some((package, "(build)")) => (package, "build"),
            Some(_) => bail!("{left:?} is neither a crate nor a crate with (dev) or (build)"),
        };
        let targets = right.split_whitespace().map(String::from).collect();
        if graph.insert(Edges::new(package, kind), targets).is_some() {
            bail!("{left} stands there twice");
        }
    }
    Ok(graph)
}

fn differences(committed: &Graph, real: &Graph) -> Vec<String> {
    let mut findings = Vec::new();
    let none = BTreeSet::new();
    let all: BTreeSet<&Edges> = committed.keys().chain(real.keys()).collect();
    for edges in all {
        if edges.kind.is_empty() && !committed.contains_key(edges) {
            findings.push(format!("{edges} is not in {LIST}"));
        }
        if edges.kind.is_empty() && !real.contains_key(edges) {
            findings.push(format!("{edges} is in {LIST} and not in the workspace"));
        }
        let allowed = committed.get(edges).unwrap_or(&none);
        let used = real.get(edges).unwrap_or(&none);
        for target in used.difference(allowed) {
            findings.push(format!(
                "{edges} depends on {target}: {LIST} does not allow it"
            ));
        }
        for target in allowed.difference(used) {
            findings.push(format!(
                "{edges} does not depend on {target}: take it out of {LIST}"
            ));
        }
    }
    findings
}

fn short(package: &str) -> String {
    package.strip_prefix(PREFIX).unwrap_or(package).to_owned()
}

impl Edges {
    fn new(package: &str, kind: &'static str) -> Self {
        Self {
            package: short(package),
            kind,
        }
    }
}

impl fmt::Display for Edges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.package)?;
        if self.kind.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", self.kind)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_that_is_the_graph_has_no_differences() {
        let graph =
            parse("# us\nmodel:\nports: model # the port\nports (dev): sys\nsys:\n").unwrap();
        assert_eq!(differences(&graph, &graph), Vec::<String>::new());
    }

    #[test]
    fn a_new_edge_a_lost_edge_and_a_new_crate_are_found() {
        let committed = parse("gateway: model ports\nmodel:\nports: model").unwrap();
        let real =
            parse("gateway: model sandbox\ngateway (dev): sys\nmodel:\nports: model\nsandbox:")
                .unwrap();
        let findings = differences(&committed, &real);
        for expected in [
            "gateway depends on sandbox",
            "gateway does not depend on ports",
            "gateway (dev) depends on sys",
            "sandbox is not in",
        ] {
            assert!(
                findings.iter().any(|finding| finding.starts_with(expected)),
                "{expected}: {findings:?}"
            );
        }
        assert_eq!(findings.len(), 4, "{findings:?}");
        assert_eq!(differences(&real, &committed).len(), 4);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_an_error() {
        for list in ["model", "model (test): sys", "model:\nmodel:"] {
            assert!(parse(list).is_err(), "{list}");
        }
    }
}

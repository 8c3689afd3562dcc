//! Checks of the crates' manifests.

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::Tree;

/// Crates that take the workspace's lints with exceptions, spelt out in their manifest.
const OWN_LINTS: [&str; 1] = ["crates/sys/Cargo.toml"];

/// Keys that every package takes from the workspace.
const INHERITED: [&str; 5] = ["version", "edition", "rust-version", "license", "publish"];

/// Crates that do not take what they must from the workspace.
///
/// # Errors
/// When a manifest cannot be read or parsed.
pub fn manifests(tree: &Tree) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for file in tree.below("crates/", "/Cargo.toml") {
        let manifest: Table = tree.read(file)?.parse().with_context(|| file.to_owned())?;
        for key in INHERITED {
            if !inherits(manifest.get("package").and_then(|package| package.get(key))) {
                findings.push(format!("{file}: write `{key}.workspace = true`"));
            }
        }
        if OWN_LINTS.contains(&file) {
            if !manifest.contains_key("lints") {
                findings.push(format!("{file}: it has no lints of its own"));
            }
        } else if !inherits(manifest.get("lints")) {
            findings.push(format!("{file}: write `[lints]` and `workspace = true`"));
        }
    }
    Ok(findings)
}

fn inherits(value: Option<&Value>) -> bool {
    value
        .and_then(|value| value.get("workspace"))
        .and_then(Value::as_bool)
        == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_inherited_is_found() {
        let good = "[package]\nname = \"a\"\nversion.workspace = true\nedition.workspace = true\n\
                    rust-version.workspace = true\nlicense.workspace = true\npublish.workspace = true\n";
        let lints = format!("{good}[lints]\nworkspace = true\n");
        let own = format!("{good}[lints.rust]\nunsafe_code = \"allow\"\n");
        let version = lints.replace("version.workspace = true", "version = \"1\"");
        let directory = tempfile::tempdir().unwrap();
        let tree = Tree::sample(
            directory.path(),
            &[
                ("crates/good/Cargo.toml", &lints),
                ("crates/sys/Cargo.toml", &own),
                ("crates/own/Cargo.toml", &own),
                ("crates/none/Cargo.toml", good),
                ("crates/version/Cargo.toml", &version),
            ],
        );
        let findings = manifests(&tree).unwrap();
        assert_eq!(findings.len(), 4, "{findings:?}");
        assert!(
            !findings
                .iter()
                .any(|finding| finding.contains("good") || finding.contains("sys"))
        );
    }
}

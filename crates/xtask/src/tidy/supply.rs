//! What is locked against what `deny.toml` allows: the part of cargo-deny that needs no download, so that
//! it holds where cargo-deny is not installed.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::Tree;

const RULES: &str = "deny.toml";
const LOCK: &str = "Cargo.lock";

/// Banned crates, duplicates without a reason, reasons without a duplicate, and unknown sources.
///
/// # Errors
/// When either file cannot be read or parsed.
pub fn supply(tree: &Tree) -> Result<Vec<String>> {
    let read =
        |file: &str| -> Result<Table> { tree.read(file)?.parse().with_context(|| file.to_owned()) };
    differences(&read(RULES)?, &read(LOCK)?)
}

fn differences(rules: &Table, lock: &Table) -> Result<Vec<String>> {
    let bans = table(rules, "bans")?;
    let allowed: BTreeSet<String> = list(table(rules, "sources")?, "allow-registry")?
        .iter()
        .filter_map(Value::as_str)
        .map(|registry| format!("registry+{registry}"))
        .collect();
    let banned = crates(bans, "deny")?;
    let wrapped = wrappers(bans)?;
    let skipped = crates(bans, "skip")?;
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut findings = Vec::new();
    for package in list(lock, "package")? {
        let text = |key| package.get(key).and_then(Value::as_str);
        let (Some(name), Some(version)) = (text("name"), text("version")) else {
            continue;
        };
        if banned.contains(name) && !only_wrapped(name, &wrapped, lock)? {
            findings.push(format!("{name} is locked, and {RULES} bans it"));
        }
        if let Some(source) = text("source")
            && !allowed.contains(source)
        {
            findings.push(format!(
                "{name} comes from a source that {RULES} does not allow"
            ));
        }
        versions.entry(name).or_default().insert(version);
    }
    for (name, versions) in &versions {
        let unexplained: Vec<_> = versions
            .iter()
            .filter(|version| !skipped.contains(&format!("{name}@{version}")))
            .collect();
        if versions.len() > 1 && unexplained.len() > 1 {
            findings.push(format!(
                "{name} is locked more than once, {unexplained:?}: give one a reason in {RULES}"
            ));
        }
    }
    for skip in &skipped {
        let still = skip.split_once('@').is_some_and(|(name, version)| {
            versions
                .get(name)
                .is_some_and(|versions| versions.len() > 1 && versions.contains(version))
        });
        if !still {
            findings.push(format!("{skip} is no duplicate: take it out of {RULES}"));
        }
    }
    Ok(findings)
}

fn table<'a>(parent: &'a Table, key: &str) -> Result<&'a Table> {
    parent
        .get(key)
        .and_then(Value::as_table)
        .with_context(|| format!("{key} is missing"))
}

fn list<'a>(parent: &'a Table, key: &str) -> Result<&'a Vec<Value>> {
    parent
        .get(key)
        .and_then(Value::as_array)
        .with_context(|| format!("{key} is missing"))
}

/// The entries of a list of bans; each has a reason.
fn crates(bans: &Table, key: &str) -> Result<BTreeSet<String>> {
    list(bans, key)?
        .iter()
        .map(|entry| {
            let text = |key: &str| entry.get(key).and_then(Value::as_str);
            text("reason").with_context(|| format!("an entry of {key} has no reason"))?;
            let name = text("crate").with_context(|| format!("an entry of {key} has no crate"))?;
            Ok(name.to_owned())
        })
        .collect()
}

/// Through which crates alone a banned one may be locked: those that name it as an option which is not built.
fn wrappers(bans: &Table) -> Result<BTreeMap<&str, BTreeSet<&str>>> {
    let mut all = BTreeMap::new();
    for entry in list(bans, "deny")? {
        let name = entry.get("crate").and_then(Value::as_str);
        let wrappers = entry.get("wrappers").and_then(Value::as_array);
        if let (Some(name), Some(wrappers)) = (name, wrappers) {
            let names = wrappers.iter().filter_map(Value::as_str).collect();
            all.insert(name, names);
        }
    }
    Ok(all)
}

/// Whether nothing but its wrappers asks for a crate, as far as the lock tells.
fn only_wrapped(
    name: &str,
    wrapped: &BTreeMap<&str, BTreeSet<&str>>,
    lock: &Table,
) -> Result<bool> {
    let Some(wrappers) = wrapped.get(name) else {
        return Ok(false);
    };
    let asks = |package: &&Value| {
        let wanted = package.get("dependencies").and_then(Value::as_array);
        let mut wanted = wanted.into_iter().flatten().filter_map(Value::as_str);
        wanted.any(|wanted| wanted.split(' ').next() == Some(name))
    };
    let mut asking = list(lock, "package")?.iter().filter(asks);
    Ok(asking.all(|package| {
        let asks = package.get("name").and_then(Value::as_str);
        asks.is_some_and(|asks| wrappers.contains(asks))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
        [bans]
        deny = [{ crate = "ring", reason = "no" }]
        skip = [{ crate = "old@1.0.0", reason = "a laggard" }, { crate = "gone@1.0.0", reason = "?" }]
        [sources]
        allow-registry = ["https://registry.example/index"]
    "#;
    const LOCK: &str = r#"
        package = [
            { name = "ours", version = "0.1.0" },
            { name = "ring", version = "0.17.0", source = "registry+https://registry.example/index" },
            { name = "old", version = "1.0.0" },
            { name = "old", version = "2.0.0" },
            { name = "twice", version = "1.0.0" },
            { name = "twice", version = "2.0.0" },
            { name = "stray", version = "1.0.0", source = "git+https://example.org/stray" },
        ]
    "#;

    #[test]
    fn each_fault_is_found() {
        let findings = differences(&RULES.parse().unwrap(), &LOCK.parse().unwrap()).unwrap();
        for (finding, name) in findings
            .iter()
            .zip(["ring ", "stray ", "twice ", "gone@1.0.0 "])
        {
            assert!(finding.starts_with(name), "{findings:?}");
        }
        assert_eq!(findings.len(), 4, "{findings:?}");
    }

    #[test]
    fn a_banned_crate_is_let_in_by_its_wrappers_alone() {
        let rules = RULES.replace("\"ring\",", "\"ring\", wrappers = [\"wrap\"],");
        let asked = |by: &str| {
            LOCK.replace(
                "{ name = \"ours\", version = \"0.1.0\" }",
                &format!(
                    "{{ name = \"{by}\", version = \"1.0.0\", dependencies = [\"ring 0.17.0\"] }}"
                ),
            )
        };
        let findings =
            |lock: &str| differences(&rules.parse().unwrap(), &lock.parse().unwrap()).unwrap();
        assert_eq!(findings(&asked("wrap")).len(), 3);
        assert_eq!(findings(&asked("other")).len(), 4);
    }

    #[test]
    fn an_entry_without_a_reason_is_an_error() {
        let rules = RULES.replace(", reason = \"no\"", "");
        assert!(differences(&rules.parse().unwrap(), &LOCK.parse().unwrap()).is_err());
    }
}

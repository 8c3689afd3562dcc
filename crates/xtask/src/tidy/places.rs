//! Nothing in the tree says on which machine it was written.
//!
//! What to look for is read from this machine's own configuration when the check runs.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::Tree;

/// Hosts that everybody uses: naming them says nothing about a machine.
const PUBLIC_HOSTS: [&str; 3] = ["crates.io", "github.com", "localhost"];

/// Variables whose value can be a registry's address.
const ADDRESS_VARIABLES: [&str; 5] = [
    "CARGO_REGISTRIES_CRATES_IO_INDEX",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "NPM_CONFIG_REGISTRY",
];

/// Files of `tree` that hold its own place on this machine, cargo's home, or the host of a registry
/// that this machine is configured to use.
///
/// # Errors
/// When a file of the tree cannot be read.
pub fn places(tree: &Tree) -> Result<Vec<String>> {
    let mut traces = own_paths(tree.root());
    traces.extend(registry_hosts(&configuration(tree.root())));
    search(tree, &traces)
}

fn search(tree: &Tree, traces: &BTreeSet<String>) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for file in tree.files() {
        let bytes = fs::read(tree.root().join(file))?;
        let text = String::from_utf8_lossy(&bytes);
        for (number, line) in text.lines().enumerate() {
            for trace in traces.iter().filter(|trace| line.contains(trace.as_str())) {
                findings.push(format!("{file}:{}: {trace}", number + 1));
            }
        }
    }
    Ok(findings)
}

/// The checkout and cargo's home. A path of one component, such as `/src`, is too common to look for.
fn own_paths(root: &Path) -> BTreeSet<String> {
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    [Some(root.to_path_buf()), home, cargo_home]
        .into_iter()
        .flatten()
        .filter(|path| path.is_absolute() && path.components().count() > 2)
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

/// The text of every configuration that can name a registry.
fn configuration(root: &Path) -> Vec<String> {
    let mut files: Vec<PathBuf> = root
        .ancestors()
        .skip(1)
        .map(|directory| directory.join(".cargo/config.toml"))
        .collect();
    files.extend(["/etc/pip.conf", "/etc/npmrc", "/etc/apt/sources.list"].map(PathBuf::from));
    if let Some(home) = env::var_os("HOME").map(PathBuf::from) {
        files.extend(
            [
                ".cargo/config.toml",
                ".config/pip/pip.conf",
                ".pip/pip.conf",
                ".npmrc",
            ]
            .map(|file| home.join(file)),
        );
    }
    if let Some(cargo_home) = env::var_os("CARGO_HOME") {
        files.push(Path::new(&cargo_home).join("config.toml"));
    }
    if let Ok(sources) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(sources.flatten().map(|entry| entry.path()));
    }
    let texts = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    let variables = ADDRESS_VARIABLES
        .iter()
        .filter_map(|name| env::var(name).ok());
    texts.chain(variables).collect()
}

/// The hosts of the addresses in `texts`, except those that everybody uses.
fn registry_hosts(texts: &[String]) -> BTreeSet<String> {
    texts
        .iter()
        .flat_map(|text| text.split("://").skip(1))
        .filter_map(|rest| {
            let authority = rest.split(['/', '"', '\'', ' ', '\n', '?', '#']).next()?;
            let host = authority.rsplit('@').next()?.split(':').next()?;
            Some(host.to_ascii_lowercase())
        })
        .filter(|host| {
            host.contains('.')
                && !host.starts_with("127.")
                && !PUBLIC_HOSTS.contains(&host.as_str())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_from_addresses_and_public_ones_left_out() {
        let texts = [
            "index = \"sparse+https://user:pw@mirror.example.com:8443/index/\"".to_owned(),
            "[global]\nindex-url = http://pip.example.org/simple\nextra = http://127.0.0.1:9/x"
                .to_owned(),
            "URIs: https://github.com/debian\nregistry=https://localhost:4873/".to_owned(),
        ];
        let hosts: Vec<_> = registry_hosts(&texts).into_iter().collect();
        assert_eq!(hosts, ["mirror.example.com", "pip.example.org"]);
    }

    #[test]
    fn a_file_with_a_trace_is_found_even_if_it_is_not_text() {
        let directory = tempfile::tempdir().unwrap();
        let mut tree = Tree::sample(directory.path(), &[("a.md", "fine\n")]);
        let traces = own_paths(directory.path());
        let place = directory.path().to_string_lossy().into_owned();
        assert!(traces.contains(&place));
        assert_eq!(search(&tree, &traces).unwrap(), Vec::<String>::new());

        tree = Tree::sample(directory.path(), &[("a.md", "fine\n"), ("b.bin", "")]);
        let mut bytes = vec![0xff, b'\n'];
        bytes.extend_from_slice(place.as_bytes());
        fs::write(directory.path().join("b.bin"), bytes).unwrap();
        assert_eq!(
            search(&tree, &traces).unwrap(),
            [format!("b.bin:2: {place}")]
        );
    }

    #[test]
    fn a_short_path_is_not_looked_for() {
        assert!(!own_paths(Path::new("/src")).contains("/src"));
    }
}

//! Rules by host: a tree of labels, last one first.

use std::collections::BTreeMap;

use crate::domain::DomainRule;

#[derive(Debug, Default)]
pub(super) struct Hosts {
    root: Branch,
}

#[derive(Debug, Default)]
struct Branch {
    below: BTreeMap<String, Branch>,
    /// Rules for the host that ends here.
    exact: Level,
    /// Rules for every host below.
    wildcard: Level,
}

/// Rules for the same host, as the table of rules numbers them.
#[derive(Debug, Default)]
pub(super) struct Level {
    pub(super) allow: Vec<usize>,
    pub(super) deny: Vec<usize>,
}

impl Hosts {
    /// The rules for exactly this pattern.
    pub(super) fn level(&mut self, pattern: &DomainRule) -> &mut Level {
        let (host, wildcard) = match pattern.as_str().strip_prefix("*.") {
            Some(suffix) => (suffix, true),
            None => (pattern.as_str(), false),
        };
        let mut branch = &mut self.root;
        for label in host.rsplit('.') {
            branch = branch.below.entry(label.to_owned()).or_default();
        }
        if wildcard {
            &mut branch.wildcard
        } else {
            &mut branch.exact
        }
    }

    /// All rules for a host, by how close they are: those for the host itself last.
    pub(super) fn levels(&self, host: &str) -> Vec<&Level> {
        let mut levels = Vec::new();
        let mut branch = &self.root;
        let mut labels = host.rsplit('.').peekable();
        while let Some(label) = labels.next() {
            let Some(next) = branch.below.get(label) else {
                return levels;
            };
            branch = next;
            levels.push(match labels.peek() {
                Some(_) => &branch.wildcard,
                None => &branch.exact,
            });
        }
        levels
    }
}

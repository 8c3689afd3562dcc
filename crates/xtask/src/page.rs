//! A page of the documentation that is generated from the tree.

use std::fs;

use anyhow::{Context, Result};

use crate::Tree;

/// A generated page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its path, relative to the root.
    pub path: String,
    /// What it should hold.
    pub content: String,
}

impl Page {
    /// Why the page in `tree` is not what it should be, if it is not; `verb` is how to write it.
    #[must_use]
    pub fn stale(&self, tree: &Tree, verb: &str) -> Option<String> {
        let current = tree
            .read(&self.path)
            .is_ok_and(|committed| committed == self.content);
        (!current).then(|| format!("{} is not current: run `cargo xtask {verb}`", self.path))
    }

    /// Writes the page into `tree`.
    ///
    /// # Errors
    /// When the file or its directory cannot be written.
    pub fn write(&self, tree: &Tree) -> Result<()> {
        let path = tree.root().join(&self.path);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create the directory of {}", self.path))?;
        }
        fs::write(path, &self.content).with_context(|| format!("cannot write {}", self.path))
    }
}

//! The files of the checkout.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::process;

/// A checkout: its root and every file in it that is committed or would be.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
    files: Vec<String>,
}

impl Tree {
    /// The checkout that holds the current directory.
    ///
    /// # Errors
    /// When `cargo` or `git` cannot be run or the directory is in no checkout.
    pub fn current() -> Result<Self> {
        let manifest = process::capture(process::cargo().args([
            "locate-project",
            "--workspace",
            "--message-format=plain",
        ]))?;
        let root = Path::new(manifest.trim())
            .parent()
            .context("the workspace's manifest has no directory")?;
        Self::at(root)
    }

    /// The checkout at `root`. Files that git ignores are left out.
    ///
    /// # Errors
    /// When `git` cannot be run there or lists nothing, or a file's name is not UTF-8.
    pub fn at(root: &Path) -> Result<Self> {
        let listed = process::capture(Command::new("git").current_dir(root).args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]))?;
        let mut files: Vec<String> = listed
            .split_terminator('\0')
            .filter(|file| root.join(file).is_file())
            .map(String::from)
            .collect();
        files.sort();
        files.dedup();
        ensure!(!files.is_empty(), "git lists no file in this checkout");
        Ok(Self {
            root: root.to_path_buf(),
            files,
        })
    }

    /// Its directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its files, sorted, relative to the root.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    /// Its files below `directory` (written with a closing slash) whose names end in `suffix`.
    pub fn below(&self, directory: &str, suffix: &str) -> impl Iterator<Item = &str> {
        self.files()
            .filter(move |file| file.starts_with(directory) && file.ends_with(suffix))
    }

    /// The text of `file`.
    ///
    /// # Errors
    /// When it cannot be read or is not UTF-8.
    pub fn read(&self, file: &str) -> Result<String> {
        fs::read_to_string(self.root.join(file)).with_context(|| format!("cannot read {file}"))
    }

    /// A tree of these files in `root`, for the tests of the checks.
    #[cfg(test)]
    pub(crate) fn sample(root: &Path, files: &[(&str, &str)]) -> Self {
        for (file, content) in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let mut files: Vec<String> = files.iter().map(|(file, _)| (*file).to_owned()).collect();
        files.sort();
        Self {
            root: root.to_path_buf(),
            files,
        }
    }
}

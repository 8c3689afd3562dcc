//! The image that tests, benchmarks and soaks share.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{Tree, process};

const RECIPE: &str = "images/python-data.toml";

/// The state directory with the shared image, in cargo's target directory. Its store is `images` in it.
const STATE: &str = "casemate-images";

/// The shared image.
#[derive(Debug)]
pub(crate) struct Built {
    /// The store that it is in.
    pub(crate) store: PathBuf,
    /// Its files.
    pub(crate) tree: PathBuf,
}

/// Builds the image, unless it is there, and prints its digest.
///
/// # Errors
/// When it cannot be built.
pub fn image(tree: &Tree) -> Result<()> {
    process::run(process::cargo().args(["build", "--quiet", "--package", "casemate"]))?;
    let casemate = process::target_directory()?.join("debug/casemate");
    process::run(&mut command(tree, &casemate)?)
}

/// Builds the image with this `casemate`, unless it is there.
pub(crate) fn build(tree: &Tree, casemate: &Path) -> Result<Built> {
    let said = process::capture(&mut command(tree, casemate)?)?;
    let digest = said
        .split_whitespace()
        .find_map(|word| Some(word.strip_prefix("sha256:")?.trim_end_matches(':')))
        .context("casemate names no image")?;
    let store = process::target_directory()?.join(STATE).join("images");
    let files = store.join(digest).join("tree");
    ensure!(files.is_dir(), "the image has no files");
    Ok(Built { store, tree: files })
}

fn command(tree: &Tree, casemate: &Path) -> Result<Command> {
    let mut command = Command::new(casemate);
    command
        .args(["image", "build", RECIPE])
        .current_dir(tree.root())
        .env(
            "CASEMATE_STATE_DIR",
            process::target_directory()?.join(STATE),
        );
    Ok(command)
}

//! The image that tests, benchmarks and soaks share.

use anyhow::Result;

use crate::{Tree, process};

const RECIPE: &str = "images/python-data.toml";

/// The state directory with the shared image, in cargo's target directory. Its store is `images` in it.
const STATE: &str = "casemate-images";

/// Builds the image, unless it is there, and prints its digest.
///
/// # Errors
/// When it cannot be built.
pub fn image(tree: &Tree) -> Result<()> {
    let mut casemate = process::cargo();
    casemate
        .args(["run", "--quiet", "--package", "casemate", "--"])
        .args(["image", "build", RECIPE])
        .current_dir(tree.root())
        .env(
            "CASEMATE_STATE_DIR",
            process::target_directory()?.join(STATE),
        );
    process::run(&mut casemate)
}

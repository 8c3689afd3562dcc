//! What an image is for, and where it came from.

use std::{collections::BTreeMap, path::PathBuf};

use casemate_model::Digest;
use serde::{Deserialize, Serialize};

use crate::ImageName;

/// The form of manifests, indexes and trees that this version makes and reads.
pub(crate) const FORMAT: u32 = 1;

/// What an image is for, and where it came from. Its bytes, hashed, are the image's digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The form of the image.
    pub format: u32,
    /// The name under which it was built.
    pub name: ImageName,
    /// The interpreter that it was built for.
    pub python: Python,
    /// Where its Python packages are, below the tree.
    pub site: String,
    /// The modules that a warm interpreter imports.
    pub preload: Vec<String>,
    /// Variables of programs that set no others.
    pub env: BTreeMap<String, String>,
    /// What was installed, by name.
    pub packages: Vec<Package>,
    /// The digest of the recipe.
    pub recipe: Digest,
    /// The tree.
    pub tree: Tree,
}

/// An interpreter of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Python {
    /// Where it is, on the host and in sandboxes.
    pub path: PathBuf,
    /// Its major and minor version, such as `3.11`: packages with compiled code fit no other.
    pub version: String,
    /// The machine that compiled code is for, such as `x86_64`.
    pub machine: String,
}

/// A package in an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The file that it was installed from, as PyPI names it.
    pub wheel: String,
    /// The SHA-256 of that file, one of those that the recipe names.
    pub sha256: Digest,
}

/// What a manifest says about the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    /// The SHA-256 of the index.
    pub index: Digest,
    /// How many directories, files and links there are.
    pub entries: u64,
    /// How many bytes the files have.
    pub bytes: u64,
}

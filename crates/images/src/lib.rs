//! Images: immutable directory trees that sandboxes show read-only, at [`MOUNT_POINT`].
//!
//! An image in an [`ImageStore`] is a directory named after its digest:
//!
//! ```text
//! <store>/<64 hex digits>/manifest.json   what it is for, and the digest of `index`
//! <store>/<64 hex digits>/index           each directory, file and link of the tree, one JSON object a line
//! <store>/<64 hex digits>/tree/           the tree
//! <store>/names/<name>                    the digest of the newest image that was built under the name
//! ```
//!
//! The digest is the SHA-256 of `manifest.json`. The manifest holds the SHA-256 of the index, and the index, sorted by
//! the bytes of the paths, holds each entry's path and kind, and of a file the executable bit, the size and the SHA-256,
//! of a link the target. So the digest is a function of the manifest and the tree, and of nothing else: no time, no
//! owner, no order of the disk.
//!
//! Invariants:
//! - An image is visible only when it is complete and on disk. A build that ends in the middle leaves nothing that counts,
//!   and the next one removes what it left.
//! - A tree holds directories, files and links that stay inside it. Nobody has the right to write to any of it.
//! - A build executes no code of the packages that it installs: it takes wheels whose digests the recipe names, and nothing else.
//! - [`ImageStore::get`] checks the manifest, [`ImageStore::verify`] everything.
//!
//! Deliberately absent: a resolver, source distributions, hosts of registries (pip and its own configuration know them),
//! a way to change an image.

mod build;
mod build_error;
mod compile;
mod dir;
mod error;
mod index;
mod install;
mod manifest;
mod name;
mod pip;
mod program;
mod python;
mod recipe;
#[cfg(test)]
mod sample;
mod settle;
mod staging;
mod store;
mod verify;

pub use self::{
    build::{Made, Step, build, build_missing},
    build_error::BuildError,
    error::ImageError,
    manifest::{Manifest, Package, Python, Tree},
    name::{ImageName, MAX_NAME_BYTES, MIN_PREFIX_DIGITS, ParseNameError},
    recipe::{Locked, MAX_RECIPE_BYTES, Recipe},
    store::{Hold, Image, ImageStore, Listed},
    verify::{Difference, Finding},
};

/// Where a sandbox shows an image's tree. Compiled Python files name their sources below it.
pub const MOUNT_POINT: &str = "/opt/image";

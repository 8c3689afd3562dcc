//! What can go wrong when an image is built, by step.

use std::{io, path::PathBuf};

use casemate_model::Digest;

use crate::ImageError;

/// Why no image was built. Nothing of it is in the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The recipe cannot be read.
    #[error("cannot read the recipe {path:?}")]
    ReadRecipe {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ImageError,
    },
    /// The recipe is not TOML of the right form.
    #[error("the recipe {path:?} is not of the right form")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Something in the recipe cannot be followed.
    #[error("the recipe {path:?} cannot be followed: {what}")]
    Recipe {
        /// The file.
        path: PathBuf,
        /// What, and why.
        what: String,
    },
    /// A value that could not be written down.
    #[error("cannot write the manifest")]
    Json {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The store.
    #[error("cannot build in the store")]
    Store(#[from] ImageError),
    /// The recipe's interpreter cannot be asked.
    #[error("cannot run the interpreter {path:?}: install it, or name another in the recipe")]
    NoPython {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The recipe's interpreter is another one.
    #[error("{path:?} is {found}, the recipe is for CPython {wanted}")]
    OtherPython {
        /// Where it is.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What the recipe asks for.
        wanted: String,
    },
    /// Nothing here can install packages.
    #[error(
        "no pip can install for {path:?}: install pip for it (on Debian: `apt install python3-pip`), or have a `python3` \
         with pip 22.3 or newer in PATH"
    )]
    NoPip {
        /// The interpreter.
        path: PathBuf,
    },
    /// A program of the build cannot be run.
    #[error("cannot run {program}")]
    Run {
        /// Which.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program of the build took too long.
    #[error("{program} did not end in {limit_s} s")]
    TimedOut {
        /// Which.
        program: &'static str,
        /// How long it was given.
        limit_s: u64,
    },
    /// The index gave a file that the recipe does not name.
    #[error(
        "a package does not have any of the SHA-256 digests in the recipe: the recipe is wrong, or the file was tampered with\n{log}"
    )]
    HashMismatch {
        /// What pip said.
        log: String,
    },
    /// A package needs one that the recipe does not have, or not in this version.
    #[error("the recipe lacks a package that others need, or has another version of it\n{log}")]
    NotLocked {
        /// What pip said.
        log: String,
    },
    /// A package has no wheel for this interpreter and machine.
    #[error(
        "a package has no wheel for this interpreter and machine: it is a source distribution only, does not exist, was \
         withdrawn, or the index that pip is configured to use cannot be reached\n{log}"
    )]
    NoWheel {
        /// What pip said.
        log: String,
    },
    /// The index does not answer.
    #[error("the index that pip is configured to use cannot be reached\n{log}")]
    Unreachable {
        /// What pip said.
        log: String,
    },
    /// A program of the build failed otherwise.
    #[error("{program} failed\n{log}")]
    Failed {
        /// Which.
        program: &'static str,
        /// What it said.
        log: String,
    },
    /// A file that pip brought and the recipe does not name.
    #[error("pip brought {file:?} with {found}, which the recipe does not name")]
    Unexpected {
        /// The file.
        file: String,
        /// Its digest.
        found: Digest,
    },
    /// Pip said that it was done, but something is missing.
    #[error("pip brought no wheel of {package}")]
    Missing {
        /// The package.
        package: String,
    },
    /// The packages bring something that no image may hold.
    #[error("the packages do not fit into an image")]
    Tree(#[source] ImageError),
}

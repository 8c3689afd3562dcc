//! What can go wrong with stored images, by step.

use std::{io, path::PathBuf};

use casemate_model::{Digest, Text};

use crate::{ImageName, ParseNameError};

/// Why an image could not be found, read, added or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The system refused a step.
    #[error("cannot {step} {path:?}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A file or a device stands where a directory should be.
    #[error("{path:?} is not a directory: move it away")]
    NotADirectory {
        /// Where.
        path: PathBuf,
    },
    /// Somebody else owns the store and could change what is in it.
    #[error("{path:?} belongs to uid {owner}, not to uid {user}: run as its owner")]
    ForeignOwner {
        /// What.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user that this process runs as.
        user: u32,
    },
    /// Others can put files into the store.
    #[error(
        "others can write to {path:?} (mode {mode:04o}): run `casemate image verify`, then `chmod go-w` on it"
    )]
    WritableByOthers {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another process holds the store's lock for longer than it could need.
    #[error("{path:?} stayed locked for {waited_ms} ms: end the process that holds it")]
    Locked {
        /// The store.
        path: PathBuf,
        /// How long this process waited.
        waited_ms: u64,
    },
    /// A word that can mean no image.
    #[error("no image can be meant")]
    Word(#[source] ParseNameError),
    /// Nothing was built under this name, or it was removed.
    #[error("there is no image `{name}`: `casemate image list` shows those that there are")]
    UnknownName {
        /// The name.
        name: ImageName,
    },
    /// No image has this digest.
    #[error("there is no image {digits}: `casemate image list` shows those that there are")]
    UnknownDigest {
        /// The digest, or its first digits.
        digits: String,
    },
    /// Several images have digests that start so.
    #[error("{digits} could mean {} images: give more digits ({})", found.len(), list(found))]
    Ambiguous {
        /// The first digits.
        digits: String,
        /// Whose they are.
        found: Vec<Digest>,
    },
    /// The file of a name does not hold a digest.
    #[error("{path:?} does not hold the digest of an image: remove it and build the image again")]
    NameFile {
        /// Where.
        path: PathBuf,
    },
    /// The manifest is not the one that was hashed.
    #[error(
        "the manifest of image {digest} was changed: `casemate image rm` it and build it again"
    )]
    ManifestChanged {
        /// The image.
        digest: Digest,
    },
    /// The manifest is genuine, but not one that this version reads.
    #[error("image {digest} has a manifest that this version cannot read: build it again")]
    Manifest {
        /// The image.
        digest: Digest,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Another form of images.
    #[error("image {digest} has format {format}, this version reads {known}: build it again")]
    Format {
        /// The image.
        digest: Digest,
        /// Its format.
        format: u32,
        /// The one that this version knows.
        known: u32,
    },
    /// A file of the store is larger than it could have been made.
    #[error("{path:?} has more than {max} bytes, which none of ours has")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        max: u64,
    },
    /// Sandboxes use it.
    #[error("image {digest} is in use: end the sessions that use it, or stop the keeper")]
    InUse {
        /// The image.
        digest: Digest,
    },
    /// It is being removed.
    #[error("image {digest} is being removed")]
    Leaving {
        /// The image.
        digest: Digest,
    },
    /// The same image is there, but not as it was built.
    #[error(
        "image {digest} is there, but was changed since: see `casemate image verify`, `casemate image rm` it and build it again"
    )]
    Damaged {
        /// The image.
        digest: Digest,
    },
    /// Something that no image may hold.
    #[error("{path} is {what}: an image holds directories, files and links that stay inside it")]
    Entry {
        /// Where, in the tree.
        path: Text,
        /// What it is.
        what: &'static str,
    },
    /// More than an image may hold.
    #[error("the tree has more than {max} entries")]
    TooManyEntries {
        /// The limit.
        max: usize,
    },
    /// A value of ours that could not be written down.
    #[error("cannot write {what} as JSON")]
    Json {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl ImageError {
    pub(crate) fn io<E: Into<io::Error>>(
        step: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io {
            step,
            path,
            source: source.into(),
        }
    }
}

fn list(found: &[Digest]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<_> = found.iter().take(SHOWN).map(Digest::to_string).collect();
    shown.join(", ")
}

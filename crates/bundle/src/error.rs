//! What can be wrong with a bundle, and why one is not staged, loaded or activated.

use std::{io, path::PathBuf};

use casemate_files::FileError;
use casemate_model::{Digest, Text};

use crate::{
    Activation, ApproverError, KeyError, NoteError, OpenError, TrustedError,
    limits::{MAX_DESCRIPTION_BYTES, MAX_FILE_NAME_BYTES, MAX_FILES, MAX_NAME_BYTES, MAX_VERSION},
    place::{MANIFEST, README, SIGNATURE},
};

/// Why something is not a bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
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
    /// There is no directory.
    #[error("{path:?} is not a directory")]
    NotADirectory {
        /// Where it should be.
        path: PathBuf,
    },
    /// A name that does not survive every file system and terminal.
    #[error(
        "`{path}` has a name that a bundle cannot hold: use up to {MAX_FILE_NAME_BYTES} of A-Z, a-z, 0-9, `.`, `-`, `_`"
    )]
    Name {
        /// What.
        path: Text,
    },
    /// A hidden file, which nobody would review.
    #[error("`{path}` is hidden: a bundle shows everything that it holds")]
    Hidden {
        /// What.
        path: Text,
    },
    /// A link: what it leads to can change.
    #[error("{path:?} is a link: put the file itself into the bundle")]
    Link {
        /// What.
        path: PathBuf,
    },
    /// A pipe, a socket or a device.
    #[error("{path:?} is neither a file nor a directory")]
    Special {
        /// What.
        path: PathBuf,
    },
    /// A directory where only files may be.
    #[error("{path:?} is a directory: only files may be here")]
    Directory {
        /// What.
        path: PathBuf,
    },
    /// A file or directory that no bundle has.
    #[error(
        "{path:?} does not belong into a bundle, which has `{MANIFEST}`, `profiles/*.toml|*.json`, \
         `tools/*.toml|*.json`, `policies/*.cedar`, `tests/*.toml`, `{README}` and `{SIGNATURE}`"
    )]
    Unexpected {
        /// What.
        path: PathBuf,
    },
    /// Too many files.
    #[error("{path:?} is one file too many: a bundle has at most {MAX_FILES}")]
    TooMany {
        /// The first that is too many.
        path: PathBuf,
    },
    /// A file that is too large.
    #[error("{path:?} has more than {max} bytes")]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// How many it may have.
        max: u64,
    },
    /// Files that are too large together.
    #[error("with {path:?} the bundle has more than {max} bytes")]
    BundleTooLarge {
        /// The file with which they are.
        path: PathBuf,
        /// How many they may have.
        max: u64,
    },
    /// There is no manifest.
    #[error("{path:?} is missing: it holds the bundle's `name` and `version`")]
    NoManifest {
        /// Where it should be.
        path: PathBuf,
    },
    /// The manifest is not one.
    #[error("{path:?} is not the manifest of a bundle")]
    Manifest {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The manifest or the signature is not text.
    #[error("{path:?} is not UTF-8")]
    NotText {
        /// Which.
        path: PathBuf,
    },
    /// The name cannot name a bundle.
    #[error(
        "the `name` in {path:?} cannot name a bundle: use 1 to {MAX_NAME_BYTES} of a-z, 0-9, `-`, `_`, starting with a \
         letter or a digit"
    )]
    BundleName {
        /// The manifest.
        path: PathBuf,
    },
    /// The version is not one.
    #[error("the `version` in {path:?} is {version}: it goes from 1 to {MAX_VERSION}")]
    Version {
        /// The manifest.
        path: PathBuf,
        /// What it says.
        version: u64,
    },
    /// The description is too long or could drive a terminal.
    #[error(
        "the `description` in {path:?} has more than {MAX_DESCRIPTION_BYTES} bytes, or control characters"
    )]
    Description {
        /// The manifest.
        path: PathBuf,
    },
    /// The digest cannot be computed, which no bundle causes.
    #[error("the bundle's digest cannot be computed")]
    Identity(#[source] serde_json::Error),
}

/// Why the store did not do what was asked.
///
/// After any of these the same bundle is in force as before, with one exception that [`Self::Unsettled`] names.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyStoreError {
    /// A file or directory of the store cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store's key cannot be used.
    #[error("the key of the policy store cannot be used")]
    Key(#[from] KeyError),
    /// The store has activations but no key that could have signed them.
    #[error(
        "{path:?} is gone, but it signed what is in force: restore it from a backup, or move the whole store away and \
         activate a bundle anew"
    )]
    KeyLost {
        /// Where the key was.
        path: PathBuf,
    },
    /// The key was exchanged since the store was opened.
    #[error("{path:?} is not the key that the store was opened with: restart to use it")]
    OtherKey {
        /// Where the key is.
        path: PathBuf,
    },
    /// The list of trusted keys cannot be read.
    #[error("the list of trusted keys {path:?} cannot be used")]
    Trusted {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: TrustedError,
    },
    /// The list of approvers cannot be read.
    #[error("the list of approvers {path:?} cannot be used")]
    Approvers {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: ApproverError,
    },
    /// The counters of passkeys cannot be read.
    #[error(
        "line {line} of {path:?} is not a credential, a number and a hash: restore it, or remove it and look at who may approve"
    )]
    Counters {
        /// Where they are.
        path: PathBuf,
        /// Which line, from 1 on.
        line: usize,
    },
    /// An answer is of nobody who may approve calls.
    #[error(transparent)]
    Answer(#[from] OpenError),
    /// The record of an activation is not what the store signed.
    #[error("{path:?} was changed: it is not an activation that this store signed")]
    Record {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: NoteError,
    },
    /// A record stands under another number than its own.
    #[error("{path:?} is the record of activation {found}, which belongs elsewhere")]
    Misplaced {
        /// Where it is.
        path: PathBuf,
        /// The number in it.
        found: u64,
    },
    /// Bundles were active, but nothing says which one is.
    #[error("{path:?} is gone: restore it, or the newest file of `history` under its name")]
    CurrentLost {
        /// Where it was.
        path: PathBuf,
    },
    /// The record in force is older than another that was in force.
    #[error(
        "{path:?} was put back to activation {found}: activation {newest} was in force. Restore the newest file of \
         `history` under its name"
    )]
    WentBack {
        /// Where it is.
        path: PathBuf,
        /// What it says.
        found: u64,
        /// What is known to have been in force.
        newest: u64,
    },
    /// The record of an activation is missing.
    #[error("{path:?} is gone: the history of the policy store is not complete")]
    HistoryLost {
        /// Where it was.
        path: PathBuf,
    },
    /// No such bundle.
    #[error("the policy store has no bundle {digest}")]
    Unknown {
        /// Its digest.
        digest: Digest,
    },
    /// A stored bundle is not a bundle any more.
    #[error(
        "the stored bundle {digest} was changed: remove its directory and stage the bundle again"
    )]
    Stored {
        /// Its digest.
        digest: Digest,
        /// What is wrong with it.
        #[source]
        source: BundleError,
    },
    /// A stored bundle is not the one of its name.
    #[error(
        "the stored bundle {digest} was changed: its files have the digest {found}. Remove its directory and stage the \
         bundle again"
    )]
    Tampered {
        /// The digest that it should have.
        digest: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// A bundle without a signature.
    #[error("the bundle {digest} is not signed: let one of the trusted publishers sign it")]
    Unsigned {
        /// Its digest.
        digest: Digest,
    },
    /// A bundle with a signature that does not count.
    #[error("the signature of the bundle {digest} does not count")]
    Signature {
        /// Its digest.
        digest: Digest,
        /// Why.
        #[source]
        source: NoteError,
    },
    /// Another writer was faster.
    #[error(
        "another bundle came into force meanwhile ({}): look at it and try again", shown(.found)
    )]
    Changed {
        /// What is in force.
        found: Option<Digest>,
    },
    /// A version that is not newer than the last one in force of the same name.
    #[error(
        "`{name}` version {version} is not newer than version {active}, which was in force: raise the version, or roll \
         back"
    )]
    Older {
        /// The name of the bundle.
        name: String,
        /// Its version.
        version: u64,
        /// The version that was in force.
        active: u64,
    },
    /// A rollback to a bundle that was never in force.
    #[error("the bundle {digest} was never in force: activate it")]
    NeverActive {
        /// Its digest.
        digest: Digest,
    },
    /// A rollback to what is in force.
    #[error("the bundle {digest} is in force already")]
    Active {
        /// Its digest.
        digest: Digest,
    },
    /// A rollback from the first bundle.
    #[error("no bundle was in force before this one")]
    NothingBefore,
    /// The record of an activation cannot be written down, which no activation causes.
    #[error("the activation cannot be written down")]
    Encode(#[source] serde_json::Error),
    /// No room for another activation.
    #[error(
        "the policy store has had {activations} activations and takes no more: start a new one"
    )]
    Full {
        /// How many.
        activations: u64,
    },
    /// No room for another key.
    #[error("the policy store trusts {keys} keys and takes no more: remove some")]
    TooManyKeys {
        /// How many.
        keys: usize,
    },
    /// The activation is in force, but a power cut could take it back.
    #[error("the bundle {} is in force, but whether it stays so after a power cut is not known", .activation.digest)]
    Unsettled {
        /// What is in force.
        activation: Box<Activation>,
        /// Why.
        #[source]
        source: FileError,
    },
}

fn shown(digest: &Option<Digest>) -> String {
    digest.map_or_else(|| "none".into(), |digest| digest.to_string())
}

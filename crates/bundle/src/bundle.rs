//! A bundle in memory: its files, and what follows from them.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use casemate_model::Digest;
use serde::{Deserialize, Serialize};

use crate::{
    BundleError, NoteError, PolicyKey, PublicKey,
    limits::{
        MAX_BUNDLE_BYTES, MAX_DESCRIPTION_BYTES, MAX_FILE_BYTES, MAX_FILES, MAX_NAME_BYTES,
        MAX_NOTE_BYTES, MAX_VERSION,
    },
    note,
    place::{self, MANIFEST, NameFault, README, SIGNATURE},
    read,
};

/// The form of digests.
const FORMAT: &str = "casemate policy bundle v1";

/// A policy bundle. Its files are what its digest says.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    name: String,
    version: u64,
    description: Option<String>,
    files: BTreeMap<String, Vec<u8>>,
    digest: Digest,
    signature: Option<String>,
}

/// What stands in [`MANIFEST`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    version: u64,
    description: Option<String>,
}

/// What a digest is of.
#[derive(Serialize)]
struct Identity<'b> {
    format: &'static str,
    name: &'b str,
    version: u64,
    files: BTreeMap<&'b str, Digest>,
}

impl Bundle {
    /// Reads the bundle in the directory `dir`, each file once.
    ///
    /// # Errors
    /// When it is not a bundle; the error says which file is wrong.
    pub fn read(dir: &Path) -> Result<Self, BundleError> {
        read::read(dir)
    }

    /// The bundle of these files by their paths, such as `policies/base.cedar`, and the note that signs it, which is not
    /// verified.
    ///
    /// # Errors
    /// When they are not a bundle.
    pub fn from_files(
        files: BTreeMap<String, Vec<u8>>,
        signature: Option<String>,
    ) -> Result<Self, BundleError> {
        Self::below(Path::new(""), files, signature)
    }

    /// As [`Self::from_files`]; errors name the files below `base`.
    pub(crate) fn below(
        base: &Path,
        files: BTreeMap<String, Vec<u8>>,
        signature: Option<String>,
    ) -> Result<Self, BundleError> {
        check_files(base, &files)?;
        let too_long = |note: &String| note.len() as u64 > MAX_NOTE_BYTES;
        if signature.as_ref().is_some_and(too_long) {
            return Err(BundleError::TooLarge {
                path: base.join(SIGNATURE),
                max: MAX_NOTE_BYTES,
            });
        }
        let path = base.join(MANIFEST);
        let Some(manifest) = files.get(MANIFEST) else {
            return Err(BundleError::NoManifest { path });
        };
        let Manifest {
            name,
            version,
            description,
        } = manifest_of(path, manifest)?;
        let hashes = files
            .iter()
            .map(|(path, bytes)| (path.as_str(), Digest::of(bytes)));
        let identity = Identity {
            format: FORMAT,
            name: &name,
            version,
            files: hashes.collect(),
        };
        let identity =
            serde_json_canonicalizer::to_vec(&identity).map_err(BundleError::Identity)?;
        Ok(Self {
            digest: Digest::of(&identity),
            name,
            version,
            description,
            files,
            signature,
        })
    }

    /// Its name: successive versions have the same.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version, from 1 on.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// What its author says about it.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// All of its files by their paths, [`MANIFEST`] too, without the signature.
    #[must_use]
    pub const fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }

    /// The files in one of its directories, such as `profiles`, by their names.
    pub fn section<'b>(&'b self, section: &'b str) -> impl Iterator<Item = (&'b str, &'b [u8])> {
        self.files.iter().filter_map(move |(path, bytes)| {
            let name = path.strip_prefix(section)?.strip_prefix('/')?;
            Some((name, bytes.as_slice()))
        })
    }

    /// The SHA-256 of what it is.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The note that came with it, not verified.
    #[must_use]
    pub fn signature(&self) -> Option<&str> {
        self.signature.as_deref()
    }

    /// The same bundle with another note, not verified.
    #[must_use]
    pub fn with_signature(self, note: Option<String>) -> Self {
        Self {
            signature: note,
            ..self
        }
    }

    /// Which of the `trusted` keys signed this bundle with `note`: the first, if several did.
    ///
    /// # Errors
    /// When none did, the note is of another bundle, or it is broken.
    pub fn verify(&self, note: &str, trusted: &[PublicKey]) -> Result<PublicKey, NoteError> {
        note::verify(&self.statement(), note, trusted)
    }

    /// What a publisher signs.
    fn statement(&self) -> String {
        format!(
            "{FORMAT}\n{}\n{}\n{}\n",
            self.name, self.version, self.digest
        )
    }
}

impl PolicyKey {
    /// The signed note with which this key publishes a bundle: the content of [`SIGNATURE`].
    #[must_use]
    pub fn sign(&self, bundle: &Bundle) -> String {
        note::sign(self, &bundle.statement())
    }
}

impl fmt::Debug for Bundle {
    /// Without the content of its files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("digest", &self.digest)
            .field("files", &self.files.keys())
            .finish_non_exhaustive()
    }
}

/// Whether each path may be in a bundle, and all of them fit the limits.
fn check_files(base: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<(), BundleError> {
    let mut total = 0;
    for (nth, (path, bytes)) in files.iter().enumerate() {
        let place = || base.join(path);
        match path.split_once('/') {
            None if path == MANIFEST || path == README => {}
            Some((section, name)) if place::is_section(section) => {
                place::check_name(name.as_bytes()).map_err(|fault| misnamed(fault, place()))?;
                if !place::fits(section, name) {
                    return Err(BundleError::Unexpected { path: place() });
                }
            }
            _ => return Err(BundleError::Unexpected { path: place() }),
        }
        let len = bytes.len() as u64;
        total += len;
        if nth >= MAX_FILES {
            return Err(BundleError::TooMany { path: place() });
        } else if len > MAX_FILE_BYTES {
            return Err(BundleError::TooLarge {
                path: place(),
                max: MAX_FILE_BYTES,
            });
        } else if total > MAX_BUNDLE_BYTES {
            return Err(BundleError::BundleTooLarge {
                path: place(),
                max: MAX_BUNDLE_BYTES,
            });
        }
    }
    Ok(())
}

pub(crate) fn misnamed(fault: NameFault, path: PathBuf) -> BundleError {
    let path = path.into_os_string().into();
    match fault {
        NameFault::Hidden => BundleError::Hidden { path },
        NameFault::Odd => BundleError::Name { path },
    }
}

fn manifest_of(path: PathBuf, bytes: &[u8]) -> Result<Manifest, BundleError> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(BundleError::NotText { path });
    };
    let manifest: Manifest = match toml::from_str(text) {
        Ok(manifest) => manifest,
        Err(source) => {
            let source = Box::new(source);
            return Err(BundleError::Manifest { path, source });
        }
    };
    let version = manifest.version;
    let description = manifest.description.as_deref().unwrap_or_default();
    let control = |c: char| c.is_control() && c != '\n';
    if !is_name(&manifest.name) {
        Err(BundleError::BundleName { path })
    } else if !(1..=MAX_VERSION).contains(&version) {
        Err(BundleError::Version { path, version })
    } else if description.len() > MAX_DESCRIPTION_BYTES || description.contains(control) {
        Err(BundleError::Description { path })
    } else {
        Ok(manifest)
    }
}

fn is_name(name: &str) -> bool {
    let letter_or_digit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut bytes = name.bytes();
    name.len() <= MAX_NAME_BYTES
        && bytes.next().is_some_and(letter_or_digit)
        && bytes.all(|byte| letter_or_digit(byte) || byte == b'-' || byte == b'_')
}

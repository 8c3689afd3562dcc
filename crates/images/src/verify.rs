//! Whether an image is what it was when it was built.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use casemate_model::{Digest, Text};
use serde::Serialize;

use crate::{
    ImageError, Manifest, dir,
    index::{self, Entry, Found, Kind, Sight},
    store::{INDEX, MANIFEST, MAX_MANIFEST_BYTES, TREE},
};

/// Something that is not as it was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Where, below the image's directory.
    pub path: Text,
    /// How it differs.
    pub difference: Difference,
}

/// How something differs from what was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Difference {
    /// The content, the target of a link, or what it is.
    Changed,
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
    /// The permission bits.
    Mode,
    /// The owner.
    Owner,
    /// It cannot be part of any image: a device, a link that leads out, something unreadable.
    Foreign,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "changed",
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Mode => "permissions changed",
            Self::Owner => "owner changed",
            Self::Foreign => "not a part of any image",
        })
    }
}

impl Finding {
    fn of(path: impl Into<Text>, difference: Difference) -> Self {
        let path = path.into();
        Self { path, difference }
    }

    fn in_tree(path: &Text, difference: Difference) -> Self {
        let mut full = TREE.as_bytes().to_vec();
        if !path.as_bytes().is_empty() {
            full.push(b'/');
            full.extend_from_slice(path.as_bytes());
        }
        Self::of(full, difference)
    }
}

/// Everything in the image's directory `place` that is not what `digest` means.
pub(crate) fn findings(place: &Path, digest: &Digest) -> Result<Vec<Finding>, ImageError> {
    let mut findings = strangers(place)?;
    let manifest = part(place, MANIFEST, MAX_MANIFEST_BYTES, &mut findings)?;
    let index = part(place, INDEX, index::MAX_INDEX_BYTES, &mut findings)?;
    if let Some(bytes) = &manifest
        && Digest::of(bytes) != *digest
    {
        findings.push(Finding::of(MANIFEST, Difference::Changed));
    }
    // An edited manifest still says which index it was made with, unless that is what was edited.
    let manifest = manifest.and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok());
    if let (Some(manifest), Some(bytes)) = (manifest, &index)
        && Digest::of(bytes) != manifest.tree.index
    {
        findings.push(Finding::of(INDEX, Difference::Changed));
    }
    match index.as_deref().and_then(index::parse) {
        Some(entries) => compare(&place.join(TREE), entries, &mut findings)?,
        // Not to be compared with anything: that is a finding of its own already, unless it parsed before.
        None if findings.is_empty() => findings.push(Finding::of(INDEX, Difference::Changed)),
        None => {}
    }
    Ok(findings)
}

/// A file of the image's directory, if it is there and could be one of ours.
fn part(
    place: &Path,
    name: &'static str,
    max: u64,
    findings: &mut Vec<Finding>,
) -> Result<Option<Vec<u8>>, ImageError> {
    let path = place.join(name);
    match fs::symlink_metadata(&path) {
        Ok(found) if found.is_file() && found.len() <= max => dir::read(&path, max).map(Some),
        Ok(_) => {
            findings.push(Finding::of(name, Difference::Changed));
            Ok(None)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            findings.push(Finding::of(name, Difference::Removed));
            Ok(None)
        }
        Err(error) => Err(ImageError::io("look at", path)(error)),
    }
}

/// What lies beside the parts of the image.
fn strangers(place: &Path) -> Result<Vec<Finding>, ImageError> {
    let failed = || ImageError::io("list", place);
    let mut findings = Vec::new();
    for entry in fs::read_dir(place).map_err(failed())? {
        let name = entry.map_err(failed())?.file_name();
        if ![MANIFEST, INDEX, TREE].iter().any(|part| name == *part) {
            findings.push(Finding::of(name, Difference::Added));
        }
    }
    Ok(findings)
}

fn compare(
    tree: &Path,
    entries: Vec<Entry>,
    findings: &mut Vec<Finding>,
) -> Result<(), ImageError> {
    let mut expected: BTreeMap<Text, Kind> = entries
        .into_iter()
        .map(|entry| (entry.path, entry.kind))
        .collect();
    let sights = match fs::symlink_metadata(tree) {
        Ok(_) => index::scan(tree)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(ImageError::io("look at", tree)(error)),
    };
    for sight in sights {
        let kind = expected.remove(sight.path());
        if let Some(difference) = difference(&sight, kind.as_ref()) {
            findings.push(Finding::in_tree(sight.path(), difference));
        }
    }
    let gone = expected.keys();
    findings.extend(gone.map(|path| Finding::in_tree(path, Difference::Removed)));
    Ok(())
}

fn difference(sight: &Sight, expected: Option<&Kind>) -> Option<Difference> {
    let Sight::Fine(Found { entry, mode, owner }) = sight else {
        return Some(Difference::Foreign);
    };
    let Some(expected) = expected else {
        return Some(Difference::Added);
    };
    if !same_content(&entry.kind, expected) {
        Some(Difference::Changed)
    } else if expected.mode().is_some_and(|expected| expected != *mode) {
        Some(Difference::Mode)
    } else if *owner != rustix::process::geteuid().as_raw() {
        Some(Difference::Owner)
    } else {
        None
    }
}

/// Whether two entries are the same but for their permission bits.
fn same_content(one: &Kind, other: &Kind) -> bool {
    match (one, other) {
        (Kind::File { sha256: one, .. }, Kind::File { sha256: other, .. }) => one == other,
        (one, other) => one == other,
    }
}

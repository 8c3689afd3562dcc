//! What is in a tree: one entry for each directory, file and link, sorted by the bytes of the paths.

use std::{
    fs::{self, Metadata},
    io::{self, Read as _},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::MetadataExt as _,
    },
    path::{Component, Path, PathBuf},
};

use casemate_model::{Digest, Hasher, Text};
use serde::{Deserialize, Serialize};

use crate::{ImageError, dir};

/// The most entries of a tree.
pub(crate) const MAX_ENTRIES: usize = 500_000;
/// The largest index.
pub(crate) const MAX_INDEX_BYTES: u64 = 256 * 1024 * 1024;
/// How much of a file is hashed at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// A directory, file or link of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Relative to the tree, whose own path is empty.
    pub(crate) path: Text,
    #[serde(flatten)]
    pub(crate) kind: Kind,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Directory {},
    File {
        sha256: Digest,
        bytes: u64,
        executable: bool,
    },
    Link {
        target: Text,
    },
}

impl Kind {
    /// The permission bits that it has in a store; a link's mean nothing.
    pub(crate) const fn mode(&self) -> Option<u32> {
        match self {
            Self::Directory {}
            | Self::File {
                executable: true, ..
            } => Some(0o555),
            Self::File {
                executable: false, ..
            } => Some(0o444),
            Self::Link { .. } => None,
        }
    }
}

/// An entry as it is on the disk.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) entry: Entry,
    pub(crate) mode: u32,
    pub(crate) owner: u32,
}

/// What an entry on the disk is: one that an image may hold, or not.
#[derive(Clone, Debug)]
pub(crate) enum Sight {
    Fine(Found),
    Foreign { path: Text, what: &'static str },
}

impl Sight {
    pub(crate) const fn path(&self) -> &Text {
        match self {
            Self::Fine(found) => &found.entry.path,
            Self::Foreign { path, .. } => path,
        }
    }
}

/// Everything in `tree`, sorted. No link is followed.
pub(crate) fn scan(tree: &Path) -> Result<Vec<Sight>, ImageError> {
    let mut sights = Vec::new();
    let mut paths = vec![Text::default()];
    while let Some(path) = paths.pop() {
        if sights.len() >= MAX_ENTRIES {
            return Err(ImageError::TooManyEntries { max: MAX_ENTRIES });
        }
        let mut sight = look(tree, path)?;
        if let Sight::Fine(Found {
            entry:
                Entry {
                    path,
                    kind: Kind::Directory {},
                },
            ..
        }) = &sight
            && unless_denied(children(tree, path, &mut paths))?.is_none()
        {
            sight = unreadable(path.clone());
        }
        sights.push(sight);
    }
    sights.sort_by(|one, other| one.path().cmp(other.path()));
    Ok(sights)
}

fn unreadable(path: Text) -> Sight {
    let what = "not readable";
    Sight::Foreign { path, what }
}

/// Nothing, if even its owner has no right to read something.
fn unless_denied<T>(done: Result<T, ImageError>) -> Result<Option<T>, ImageError> {
    match done {
        Err(ImageError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
            Ok(None)
        }
        done => done.map(Some),
    }
}

fn children(tree: &Path, path: &Text, into: &mut Vec<Text>) -> Result<(), ImageError> {
    let directory = place(tree, path);
    let failed = || ImageError::io("list", &directory);
    for child in fs::read_dir(&directory).map_err(failed())? {
        let name = child.map_err(failed())?.file_name();
        into.push(
            Path::new(path.as_os_str())
                .join(name)
                .into_os_string()
                .into(),
        );
    }
    Ok(())
}

fn look(tree: &Path, path: Text) -> Result<Sight, ImageError> {
    let place = place(tree, &path);
    let found = fs::symlink_metadata(&place).map_err(ImageError::io("look at", &place))?;
    let kind = if found.is_dir() {
        Kind::Directory {}
    } else if found.is_file() {
        let content = content(&place, &found).map_err(ImageError::io("read", &place));
        match unless_denied(content)? {
            Some(kind) => kind,
            None => return Ok(unreadable(path)),
        }
    } else if found.is_symlink() {
        let target = fs::read_link(&place).map_err(ImageError::io("read", &place))?;
        if !stays_inside(&path, &target) {
            return Ok(Sight::Foreign {
                path,
                what: "a link that leads out",
            });
        }
        Kind::Link {
            target: target.into_os_string().into_vec().into(),
        }
    } else {
        return Ok(Sight::Foreign {
            path,
            what: "a pipe, a socket or a device",
        });
    };
    Ok(Sight::Fine(Found {
        entry: Entry { path, kind },
        mode: found.mode() & 0o7777,
        owner: found.uid(),
    }))
}

/// Where an entry is. Joining the empty path would add a slash, and with it follow a link.
fn place(tree: &Path, path: &Text) -> PathBuf {
    if path.as_bytes().is_empty() {
        tree.to_owned()
    } else {
        tree.join(path.as_os_str())
    }
}

fn content(place: &Path, found: &Metadata) -> io::Result<Kind> {
    let (sha256, bytes) = hash_file(place)?;
    let executable = found.mode() & 0o111 != 0;
    Ok(Kind::File {
        sha256,
        bytes,
        executable,
    })
}

/// The digest and the size of a regular file.
pub(crate) fn hash_file(place: &Path) -> io::Result<(Digest, u64)> {
    let mut file = dir::open_file(place)?;
    let mut hasher = Hasher::default();
    let mut bytes = 0_u64;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = match file.read(&mut chunk) {
            Ok(0) => return Ok((hasher.finish(), bytes)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(chunk.get(..read).unwrap_or_default());
        bytes = bytes.saturating_add(read as u64);
    }
}

/// Whether a link at `path` leads to somewhere below the tree. It may go up at its beginning only: what is before a
/// later `..` could be a link itself, and then that `..` would lead elsewhere.
fn stays_inside(path: &Text, target: &Path) -> bool {
    let depth = Path::new(path.as_os_str())
        .components()
        .count()
        .saturating_sub(1);
    let mut ups = 0;
    let mut downs = 0;
    for component in target.components() {
        match component {
            Component::ParentDir if downs == 0 => ups += 1,
            Component::Normal(_) => downs += 1,
            Component::CurDir => {}
            _ => return false,
        }
    }
    ups <= depth && !target.as_os_str().as_bytes().is_empty()
}

/// The entries of a tree that an image may be made of.
pub(crate) fn entries(tree: &Path) -> Result<Vec<Entry>, ImageError> {
    let fine = |sight| match sight {
        Sight::Fine(found) => Ok(found.entry),
        Sight::Foreign { path, what } => Err(ImageError::Entry { path, what }),
    };
    scan(tree)?.into_iter().map(fine).collect()
}

/// The index's bytes.
pub(crate) fn write(entries: &[Entry]) -> Result<Vec<u8>, ImageError> {
    let mut lines = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut lines, entry).map_err(|source| ImageError::Json {
            what: "an entry",
            source,
        })?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// The entries of an index; nothing if it is not one.
pub(crate) fn parse(lines: &[u8]) -> Option<Vec<Entry>> {
    let lines = lines.strip_suffix(b"\n")?;
    let entries: Option<Vec<Entry>> = lines
        .split(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).ok())
        .collect();
    entries.filter(|entries| entries.is_sorted_by(|one, next| one.path < next.path))
}

#[cfg(test)]
mod tests;

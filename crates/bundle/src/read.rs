//! Reading the directory of a bundle: each file once, no link followed, nothing skipped.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::File,
    io::{self, Read as _},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use crate::{
    Bundle, BundleError,
    bundle::misnamed,
    limits::{MAX_BUNDLE_BYTES, MAX_FILE_BYTES, MAX_FILES, MAX_NOTE_BYTES},
    place::{self, MANIFEST, README, SIGNATURE},
};

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// The bundle in the directory `dir`, or in what it is a link to.
pub(crate) fn read(dir: &Path) -> Result<Bundle, BundleError> {
    match rustix::fs::open(dir, DIRECTORY, Mode::empty()) {
        Ok(opened) => read_from(&opened, dir),
        Err(Errno::NOTDIR | Errno::NOENT) => Err(BundleError::NotADirectory {
            path: dir.to_owned(),
        }),
        Err(error) => Err(io("open", dir)(error)),
    }
}

/// The bundle in an open directory, which is at `base`.
pub(crate) fn read_from(dir: &OwnedFd, base: &Path) -> Result<Bundle, BundleError> {
    let mut reader = Reader {
        base,
        files: BTreeMap::new(),
        signature: None,
        bytes: 0,
    };
    reader.top(dir)?;
    Bundle::below(base, reader.files, reader.signature)
}

struct Reader<'b> {
    base: &'b Path,
    files: BTreeMap<String, Vec<u8>>,
    signature: Option<String>,
    bytes: u64,
}

impl Reader<'_> {
    fn top(&mut self, dir: &OwnedFd) -> Result<(), BundleError> {
        for name in list(dir, self.base)? {
            let path = self.base.join(&name);
            match (name.as_str(), kind(dir, &name, &path)?) {
                (section, FileType::Directory) if place::is_section(section) => {
                    self.section(dir, section, &path)?;
                }
                (MANIFEST | README, FileType::RegularFile) => {
                    self.file(dir, &name, &path, name.clone())?
                }
                (SIGNATURE, FileType::RegularFile) => {
                    let bytes = content(dir, &name, &path, MAX_NOTE_BYTES)?;
                    let text = String::from_utf8(bytes);
                    self.signature = Some(text.map_err(|_| BundleError::NotText { path })?);
                }
                _ => return Err(BundleError::Unexpected { path }),
            }
        }
        Ok(())
    }

    fn section(&mut self, top: &OwnedFd, section: &str, base: &Path) -> Result<(), BundleError> {
        let flags = DIRECTORY | OFlags::NOFOLLOW;
        let dir =
            rustix::fs::openat(top, section, flags, Mode::empty()).map_err(io("open", base))?;
        for name in list(&dir, base)? {
            let path = base.join(&name);
            match kind(&dir, &name, &path)? {
                FileType::Directory => return Err(BundleError::Directory { path }),
                _ if !place::fits(section, &name) => return Err(BundleError::Unexpected { path }),
                _ => self.file(&dir, &name, &path, format!("{section}/{name}"))?,
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        dir: &OwnedFd,
        name: &str,
        path: &Path,
        key: String,
    ) -> Result<(), BundleError> {
        let path = || path.to_owned();
        if self.files.len() >= MAX_FILES {
            return Err(BundleError::TooMany { path: path() });
        }
        let bytes = content(dir, name, &path(), MAX_FILE_BYTES)?;
        self.bytes += bytes.len() as u64;
        if self.bytes > MAX_BUNDLE_BYTES {
            return Err(BundleError::BundleTooLarge {
                path: path(),
                max: MAX_BUNDLE_BYTES,
            });
        }
        self.files.insert(key, bytes);
        Ok(())
    }
}

/// The names in a directory in order, each one that a bundle may have.
fn list(dir: &OwnedFd, base: &Path) -> Result<Vec<String>, BundleError> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir).map_err(io("list", base))? {
        let entry = entry.map_err(io("list", base))?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let path = || base.join(OsStr::from_bytes(name));
        // More names than files cannot end well: nothing else is looked at.
        if names.len() > MAX_FILES {
            return Err(BundleError::TooMany { path: path() });
        }
        let name = place::check_name(name).map_err(|fault| misnamed(fault, path()))?;
        names.push(name.to_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether a name is of a file or a directory; anything else is refused without being opened.
fn kind(dir: &OwnedFd, name: &str, path: &Path) -> Result<FileType, BundleError> {
    let stat =
        rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(io("look at", path))?;
    let path = path.to_owned();
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => Err(BundleError::Link { path }),
        kind @ (FileType::RegularFile | FileType::Directory) => Ok(kind),
        _ => Err(BundleError::Special { path }),
    }
}

/// The content of a regular file, of at most `max` bytes.
fn content(dir: &OwnedFd, name: &str, path: &Path, max: u64) -> Result<Vec<u8>, BundleError> {
    // It may have become something else since it was looked at: neither follow it nor wait for it.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(io("open", path))?;
    let file = File::from(opened);
    let found = file.metadata().map_err(io("look at", path))?;
    if !found.is_file() {
        let path = path.to_owned();
        return Err(BundleError::Special { path });
    }
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(io("read", path))?;
    if bytes.len() as u64 > max {
        let path = path.to_owned();
        return Err(BundleError::TooLarge { path, max });
    }
    Ok(bytes)
}

fn io<E: Into<io::Error>>(
    step: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(E) -> BundleError {
    let path = path.into();
    move |source| BundleError::Io {
        step,
        path,
        source: source.into(),
    }
}

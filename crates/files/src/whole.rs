//! Reading and writing a file as a whole.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::{fd::AsFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags},
    io::Errno,
};

use crate::{
    FileError, Pinned, Privacy, Stamp,
    dir::{CREATE_FLAGS, FILE_MODE, sync_parent},
};

/// The most bytes that are set aside before a file is read.
const MAX_ROOM: u64 = 4_096;

/// A file with everything in it.
#[derive(Debug)]
pub struct ReadFile {
    /// The file, open.
    pub file: File,
    /// What was in it.
    pub content: Vec<u8>,
    /// As it was before it was read.
    stamp: Stamp,
}

impl ReadFile {
    /// Everything in the file at `path`, which is open as `file`: at most `max` bytes.
    ///
    /// # Errors
    /// When it is larger or cannot be read.
    pub fn of(file: File, path: &Path, max: u64) -> Result<Self, FileError> {
        let found = file.metadata().map_err(FileError::io("look at", path))?;
        let room = usize::try_from(max.min(MAX_ROOM)).unwrap_or(0);
        // Room for everything at once: a vector that grows leaves copies of a key behind.
        let mut content = Vec::with_capacity(room + 1);
        (&file)
            .take(max.saturating_add(1))
            .read_to_end(&mut content)
            .map_err(FileError::io("read", path))?;
        if content.len() as u64 > max {
            let path = path.to_owned();
            return Err(FileError::TooLarge { path, max });
        }
        Ok(Self {
            file,
            content,
            stamp: Stamp::from(&found),
        })
    }

    /// By what it is known again, and what was in it.
    #[must_use]
    pub fn pin(self) -> (Pinned, Vec<u8>) {
        (Pinned::new(self.stamp, self.file), self.content)
    }
}

/// The content of the file at `path`.
///
/// # Errors
/// When there is none, it is no regular file, others have more access to it than `privacy` lets them, or it has more than
/// `max` bytes.
pub fn read_file(path: &Path, max: u64, privacy: Privacy) -> Result<Vec<u8>, FileError> {
    let file = open(CWD, path, path.to_owned(), OFlags::RDONLY, privacy)?
        .ok_or_else(|| FileError::io("open", path)(Errno::NOENT))?;
    Ok(ReadFile::of(file, path, max)?.content)
}

/// Writes a new file that only this user can read, durably.
///
/// # Errors
/// When something has this name, or it cannot be written.
pub fn create_file(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let mut file = rustix::fs::open(path, CREATE_FLAGS, FILE_MODE)
        .map(File::from)
        .map_err(FileError::io("create", path))?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(FileError::io("write", path))?;
    sync_parent(path)
}

/// The regular file `name` in `dir`, or nothing if there is none.
pub(crate) fn open(
    dir: impl AsFd,
    name: &Path,
    path: PathBuf,
    access: OFlags,
    privacy: Privacy,
) -> Result<Option<File>, FileError> {
    let follow = match privacy {
        Privacy::Secret | Privacy::Readable => OFlags::NOFOLLOW,
        Privacy::Configured => OFlags::empty(),
    };
    // NONBLOCK: opening a pipe that stands in a file's place must not wait for its other end.
    let flags = access | follow | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT) => return Ok(None),
        // A link, a socket, a directory.
        Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => {
            return Err(FileError::NotAFile { path });
        }
        Err(error) => return Err(FileError::io("open", path)(error)),
    };
    let found = file.metadata().map_err(FileError::io("look at", &path))?;
    if !found.is_file() {
        return Err(FileError::NotAFile { path });
    }
    privacy.check(found.uid(), found.mode(), &path)?;
    Ok(Some(file))
}

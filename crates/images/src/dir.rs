//! Directories that are ours, their locks, and how trees go away.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    },
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, OFlags},
    io::Errno,
};

use crate::ImageError;

/// How long to wait for the store's lock, which is held for a few operations only.
const LOCK_WAIT_MS: u64 = 10_000;
/// Time between two attempts.
const LOCK_RETRY_MS: u64 = 5;

pub(crate) const PRIVATE_DIR: u32 = 0o700;
const OTHERS_WRITE: u32 = 0o022;

/// The directory at `path`, made if it is missing, checked to be ours, with its real path.
pub(crate) fn open(path: &Path) -> Result<PathBuf, ImageError> {
    make(path)?;
    let real = fs::canonicalize(path).map_err(ImageError::io("find", path))?;
    let found = fs::symlink_metadata(&real).map_err(ImageError::io("look at", &real))?;
    check(&real, &found)?;
    Ok(real)
}

/// Makes the directory `path` and its missing parents, for this user only.
pub(crate) fn make(path: &Path) -> Result<(), ImageError> {
    let made = DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIR)
        .create(path);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(ImageError::NotADirectory {
                path: path.to_owned(),
            })
        }
        made => made.map_err(ImageError::io("create", path)),
    }
}

fn check(path: &Path, found: &Metadata) -> Result<(), ImageError> {
    let path = path.to_owned();
    let user = rustix::process::geteuid().as_raw();
    let mode = found.mode() & 0o7777;
    if !found.is_dir() {
        Err(ImageError::NotADirectory { path })
    } else if found.uid() != user {
        let owner = found.uid();
        Err(ImageError::ForeignOwner { path, owner, user })
    } else if mode & OTHERS_WRITE != 0 {
        Err(ImageError::WritableByOthers { path, mode })
    } else {
        Ok(())
    }
}

/// A handle on a directory, for its locks.
pub(crate) fn handle(path: &Path) -> io::Result<File> {
    let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits();
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)
}

/// Whether a lock was to be had at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    Taken,
    Busy,
}

/// Takes a lock on an open directory, unless somebody else's is in the way.
pub(crate) fn try_lock(handle: &File, operation: FlockOperation) -> io::Result<Lock> {
    match rustix::fs::flock(handle, operation) {
        Ok(()) => Ok(Lock::Taken),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(Lock::Busy),
        Err(error) => Err(error.into()),
    }
}

/// Waits until nobody else changes the names in the directory `path`. Dropping the handle ends it.
pub(crate) fn lock(path: &Path) -> Result<File, ImageError> {
    let handle = handle(path).map_err(ImageError::io("open", path))?;
    wait(&handle, path, LOCK_WAIT_MS)?;
    Ok(handle)
}

/// Waits for the lock of an open file or directory.
pub(crate) fn wait(handle: &File, path: &Path, max_ms: u64) -> Result<(), ImageError> {
    for _ in 0..max_ms / LOCK_RETRY_MS {
        let lock = try_lock(handle, FlockOperation::NonBlockingLockExclusive)
            .map_err(ImageError::io("lock", path))?;
        if lock == Lock::Taken {
            return Ok(());
        }
        sleep(Duration::from_millis(LOCK_RETRY_MS));
    }
    Err(ImageError::Locked {
        path: path.to_owned(),
        waited_ms: max_ms,
    })
}

/// Makes the names in the directory `path` durable.
pub(crate) fn sync(path: &Path) -> Result<(), ImageError> {
    handle(path)
        .and_then(|handle| handle.sync_all())
        .map_err(ImageError::io("sync", path))
}

/// A regular file, opened without following a link or waiting for the other end of a pipe.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

/// The content of a regular file of at most `max` bytes.
pub(crate) fn read(path: &Path, max: u64) -> Result<Vec<u8>, ImageError> {
    let failed = || ImageError::io("read", path);
    let file = open_file(path).map_err(failed())?;
    let mut content = Vec::new();
    file.take(max.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(failed())?;
    if content.len() as u64 > max {
        let path = path.to_owned();
        return Err(ImageError::TooLarge { path, max });
    }
    Ok(content)
}

/// Removes a tree whose directories nobody may write to. Others may be removing it too.
pub(crate) fn remove_tree(path: &Path) -> Result<(), ImageError> {
    let failed = || ImageError::io("remove", path);
    unless_gone(open_up(path)).map_err(failed())?;
    unless_gone(fs::remove_dir_all(path)).map_err(failed())
}

/// Gives this user the right to remove what is in the directory `path`, if it is one, and below. No link is followed.
fn open_up(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(PRIVATE_DIR))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unless_gone(open_up(&entry.path()))?;
        }
    }
    Ok(())
}

fn unless_gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

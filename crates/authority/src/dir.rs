//! A directory that only this user has access to, and files in it that appear whole and durable, or not at all.
//!
//! Everything is opened relative to a checked directory and never through a link.

use std::{
    fs::{DirBuilder, File, Metadata},
    io::{Read as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use rustix::{
    fs::{AtFlags, FlockOperation, Mode, OFlags},
    io::Errno,
};

use crate::FileError;

/// The name of what is not complete yet. One is enough: only the holder of the lock writes it, and what a killed process
/// left behind is replaced by the next.
const UNFINISHED: &str = ".new";
/// Time between two attempts to take a lock.
const LOCK_RETRY_MS: u64 = 1;
const DIR_FLAGS: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// NONBLOCK: opening a pipe that stands in a file's place must not wait for its other end.
const OPEN_FLAGS: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);
const CREATE_FLAGS: OFlags = OFlags::RDWR
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const OTHERS: u32 = 0o077;

/// A directory that is ours, open.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// Nobody else changes the directory while this value lives.
#[derive(Debug)]
pub(crate) struct Held(OwnedFd);

/// What a file is opened for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A file that was read.
#[derive(Debug)]
pub(crate) struct ReadFile {
    pub(crate) file: File,
    /// As it was before it was read.
    pub(crate) opened: Metadata,
    pub(crate) content: Vec<u8>,
}

impl Dir {
    /// The directory at `path`, made with its missing parents if there is none.
    pub(crate) fn open_or_make(path: &Path) -> Result<Self, FileError> {
        if let Some(parent) = path.parent().filter(|_| !path.exists()) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(FileError::io("create", path))?;
            let parent = match parent.as_os_str().is_empty() {
                true => Path::new("."),
                false => parent,
            };
            File::open(parent)
                .and_then(|parent| parent.sync_all())
                .map_err(FileError::io("sync", parent))?;
        }
        Self::open(path)
    }

    /// The directory at `path`, which must be there and not be a link.
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let path = path.to_owned();
        let fd = match rustix::fs::open(&path, DIR_FLAGS, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(FileError::NotADirectory { path }),
            Err(error) => return Err(FileError::io("open", path)(error)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(FileError::io("look at", &path))?;
        check_owner(stat.st_uid, stat.st_mode, &path)?;
        Ok(Self { fd, path })
    }

    /// Where `name` in this directory is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The regular file `name`, or nothing if there is none.
    pub(crate) fn open_file(&self, name: &str, access: Access) -> Result<Option<File>, FileError> {
        let path = self.path(name);
        let flags = match access {
            Access::Read => OPEN_FLAGS,
            Access::Write => OPEN_FLAGS | OFlags::RDWR,
        };
        let file = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            // A link, a socket or a directory.
            Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => {
                return Err(FileError::NotAFile { path });
            }
            Err(error) => return Err(FileError::io("open", path)(error)),
        };
        let found = file.metadata().map_err(FileError::io("look at", &path))?;
        if !found.is_file() {
            return Err(FileError::NotAFile { path });
        }
        check_owner(found.uid(), found.mode(), &path)?;
        Ok(Some(file))
    }

    /// The file `name` of at most `max` bytes with everything in it, or nothing if there is none.
    pub(crate) fn read(&self, name: &str, max: u64) -> Result<Option<ReadFile>, FileError> {
        match self.open_file(name, Access::Read)? {
            None => Ok(None),
            Some(file) => read_all(file, &self.path(name), max).map(Some),
        }
    }

    /// Waits until no other process or thread changes this directory.
    pub(crate) fn lock(&self, wait_ms: u64) -> Result<Held, FileError> {
        // A handle of its own: the threads of one process would share the lock of one handle.
        let handle = rustix::fs::openat(&self.fd, ".", DIR_FLAGS, Mode::empty())
            .map_err(FileError::io("open", &self.path))?;
        for _ in 0..=wait_ms / LOCK_RETRY_MS {
            match rustix::fs::flock(&handle, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Held(handle)),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    sleep(Duration::from_millis(LOCK_RETRY_MS));
                }
                Err(error) => return Err(FileError::io("lock", &self.path)(error)),
            }
        }
        Err(FileError::Locked {
            path: self.path.clone(),
            waited_ms: wait_ms,
        })
    }

    /// Writes `content` to a file that has no name yet, durably.
    pub(crate) fn prepare(&self, _: &Held, content: &[u8]) -> Result<File, FileError> {
        let path = self.path(UNFINISHED);
        match rustix::fs::unlinkat(&self.fd, UNFINISHED, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(FileError::io("remove", path)(error)),
        }
        let file = rustix::fs::openat(&self.fd, UNFINISHED, CREATE_FLAGS, FILE_MODE)
            .map_err(FileError::io("create", &path))?;
        let mut file = File::from(file);
        file.write_all(content)
            .and_then(|()| file.sync_all())
            .map_err(FileError::io("write", path))?;
        Ok(file)
    }

    /// Gives what was prepared the name `to`, in place of a file that has it. Durable after [`Dir::sync`].
    pub(crate) fn publish(&self, _: &Held, to: &str) -> Result<(), FileError> {
        rustix::fs::renameat(&self.fd, UNFINISHED, &self.fd, to)
            .map_err(FileError::io("create", self.path(to)))
    }

    /// Writes a file, or replaces it, durably.
    pub(crate) fn replace(&self, held: &Held, name: &str, content: &[u8]) -> Result<(), FileError> {
        self.prepare(held, content)?;
        self.publish(held, name)?;
        self.sync()
    }

    /// Makes the names in this directory durable.
    pub(crate) fn sync(&self) -> Result<(), FileError> {
        rustix::fs::fsync(&self.fd).map_err(FileError::io("sync", &self.path))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Explicit, because a forked child may still hold a copy of the descriptor. If it fails, closing it does it.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// Everything in a file of at most `max` bytes.
pub(crate) fn read_all(file: File, path: &Path, max: u64) -> Result<ReadFile, FileError> {
    let opened = file.metadata().map_err(FileError::io("look at", path))?;
    let mut content = Vec::new();
    (&file)
        .take(max.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(FileError::io("read", path))?;
    if content.len() as u64 > max {
        let path = path.to_owned();
        return Err(FileError::TooLarge { path, max });
    }
    Ok(ReadFile {
        file,
        opened,
        content,
    })
}

fn check_owner(owner: u32, mode: u32, path: &Path) -> Result<(), FileError> {
    let path = path.to_owned();
    let user = rustix::process::geteuid().as_raw();
    if owner != user {
        return Err(FileError::ForeignOwner { path, owner, user });
    }
    match mode & 0o7777 {
        mode if mode & OTHERS != 0 => Err(FileError::OpenToOthers { path, mode }),
        _ => Ok(()),
    }
}

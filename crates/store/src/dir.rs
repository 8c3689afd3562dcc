//! Directories that only this user can change, and files in them that only this user can read.
//!
//! Everything is opened relative to a checked directory and never through a link. A file appears whole
//! and durable, or not at all; whoever adds or removes one holds the directory's lock.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    ops::Deref,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use rustix::{
    fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat},
    io::Errno,
};
use zeroize::Zeroizing;

use crate::StoreError;

/// How long to wait for a directory's lock, which is held for a few writes only.
const LOCK_WAIT_MS: u64 = 10_000;
/// Time between two attempts.
const LOCK_RETRY_MS: u64 = 1;

/// The name of a file that is not complete yet.
///
/// One name is enough, because only the holder of the lock writes it; what a killed process left behind
/// is replaced by the next.
pub(crate) const UNFINISHED: &str = "new";

const DIR_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const OTHERS_WRITE: u32 = 0o022;
const OTHERS: u32 = 0o077;

/// A directory that is ours, open.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// The directory at `path`, or nothing if there is none. `path` must not end in a link.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, StoreError> {
        Self::checked(rustix::fs::open(path, dir_flags(), Mode::empty()), path)
    }

    /// The directory `name` in this one, or nothing if there is none.
    pub(crate) fn open_sub(&self, name: &str) -> Result<Option<Self>, StoreError> {
        let opened = rustix::fs::openat(&self.fd, name, dir_flags(), Mode::empty());
        Self::checked(opened, &self.path.join(name))
    }

    /// The directory `name` in this one, made durable if it is missing.
    pub(crate) fn make_sub(&self, name: &str) -> Result<Self, StoreError> {
        let path = self.path.join(name);
        match rustix::fs::mkdirat(&self.fd, name, DIR_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(StoreError::io("create", path)(error)),
        }
        // Also when it was there: whoever made it may not have come to this line yet.
        self.sync()?;
        self.open_sub(name)?
            .ok_or_else(|| StoreError::io("open", path)(Errno::NOENT))
    }

    fn checked(opened: Result<OwnedFd, Errno>, path: &Path) -> Result<Option<Self>, StoreError> {
        let path = path.to_owned();
        let fd = match opened {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(StoreError::NotADirectory { path }),
            Err(error) => return Err(StoreError::io("open", path)(error)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(StoreError::io("look at", &path))?;
        check_owner(&stat, &path)?;
        match stat.st_mode & 0o7777 {
            mode if mode & OTHERS_WRITE != 0 => Err(StoreError::WritableByOthers { path, mode }),
            _ => Ok(Some(Self { fd, path })),
        }
    }

    /// Where this directory is.
    pub(crate) fn as_path(&self) -> &Path {
        &self.path
    }

    /// Where `name` in this directory is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether anything has this name.
    pub(crate) fn has(&self, name: &str) -> Result<bool, StoreError> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(StoreError::io("look at", self.path(name))(error)),
        }
    }

    /// The names in this directory that are UTF-8, as all of ours are.
    pub(crate) fn names(&self) -> Result<Vec<String>, StoreError> {
        let failed = || StoreError::io("list", &self.path);
        let entries = rustix::fs::Dir::read_from(&self.fd).map_err(failed())?;
        let mut names = Vec::new();
        for entry in entries {
            if let Ok(name) = entry.map_err(failed())?.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Whether there is a file `name`, which then is private. Does not open it.
    pub(crate) fn has_file(&self, name: &str) -> Result<bool, StoreError> {
        let path = self.path(name);
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => check_private(&stat, path).map(|_| true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(StoreError::io("look at", path)(error)),
        }
    }

    /// A new, empty file. Its name is not durable before [`Dir::sync`].
    pub(crate) fn create_new(&self, name: &str) -> Result<File, StoreError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, FILE_MODE)
            .map(File::from)
            .map_err(StoreError::io("create", self.path(name)))
    }

    /// A private file to be read, and its size; nothing if there is none.
    pub(crate) fn open_file(&self, name: &str) -> Result<Option<(File, u64)>, StoreError> {
        let Some((file, stat)) = self.open_regular(name, OFlags::RDONLY)? else {
            return Ok(None);
        };
        let bytes = check_private(&stat, self.path(name))?;
        Ok(Some((file, bytes)))
    }

    /// Removes a file, if it is there, durably.
    pub(crate) fn remove_file(&self, name: &str) -> Result<(), StoreError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) => self.sync(),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(StoreError::io("remove", self.path(name))(error)),
        }
    }

    fn open_regular(&self, name: &str, access: OFlags) -> Result<Option<(File, Stat)>, StoreError> {
        let path = self.path(name);
        // NONBLOCK: opening a pipe that stands in the file's place must not wait for its other end.
        let flags = access | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            // A link, a pipe or a socket, a directory.
            Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => {
                return Err(StoreError::NotAFile { path });
            }
            Err(error) => return Err(StoreError::io("open", path)(error)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(StoreError::io("look at", &path))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Some((fd.into(), stat))),
            _ => Err(StoreError::NotAFile { path }),
        }
    }

    /// The content of the key file `name`, or nothing if there is none.
    pub(crate) fn read(
        &self,
        name: &str,
        max_bytes: usize,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let Some((file, stat)) = self.open_regular(name, OFlags::RDONLY)? else {
            return Ok(None);
        };
        let bytes = check_private(&stat, self.path(name))?;
        let max = max_bytes as u64;
        if bytes == 0 || bytes > max {
            let path = self.path(name);
            return Err(StoreError::KeyFileSize { path, bytes });
        }
        // Room for everything at once: a vector that grows leaves copies behind.
        let mut content = Zeroizing::new(Vec::with_capacity(max_bytes + 1));
        file.take(max)
            .read_to_end(&mut content)
            .map_err(StoreError::io("read", self.path(name)))?;
        Ok(Some(content))
    }

    /// The content of the key file `name`, which `make` gives when there is none yet.
    pub(crate) fn read_or_write(
        &self,
        name: &str,
        max_bytes: usize,
        make: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, StoreError>,
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        if let Some(content) = self.read(name, max_bytes)? {
            return Ok(content);
        }
        let locked = self.lock()?;
        // Another process may have made it while this one waited.
        if let Some(content) = self.read(name, max_bytes)? {
            return Ok(content);
        }
        let content = make()?;
        locked.write(name, &content)?;
        Ok(content)
    }

    /// Waits until no other process or thread changes this directory.
    pub(crate) fn lock(&self) -> Result<LockedDir, StoreError> {
        // A handle of its own: the threads of one process would share the lock of one handle.
        let own = rustix::fs::openat(&self.fd, ".", dir_flags(), Mode::empty())
            .map_err(StoreError::io("open", &self.path))?;
        for _ in 0..LOCK_WAIT_MS / LOCK_RETRY_MS {
            match rustix::fs::flock(&own, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    let path = self.path.clone();
                    return Ok(LockedDir(Self { fd: own, path }));
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    sleep(Duration::from_millis(LOCK_RETRY_MS));
                }
                Err(error) => return Err(StoreError::io("lock", &self.path)(error)),
            }
        }
        Err(StoreError::Locked {
            path: self.path.clone(),
            waited_ms: LOCK_WAIT_MS,
        })
    }

    /// Makes what was added to and removed from this directory durable.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        rustix::fs::fsync(&self.fd).map_err(StoreError::io("sync", &self.path))
    }
}

/// A directory that nobody else changes while this value lives.
#[derive(Debug)]
pub(crate) struct LockedDir(Dir);

impl Deref for LockedDir {
    type Target = Dir;

    fn deref(&self) -> &Dir {
        &self.0
    }
}

impl LockedDir {
    /// An empty file for content that is not complete yet, named [`UNFINISHED`].
    pub(crate) fn create(&self) -> Result<File, StoreError> {
        self.remove(UNFINISHED)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, UNFINISHED, flags, FILE_MODE)
            .map(File::from)
            .map_err(StoreError::io("create", self.path(UNFINISHED)))
    }

    /// Gives the content of [`UNFINISHED`], complete and synced, its name, durably. Replaces nothing.
    pub(crate) fn publish(&self, name: &str) -> Result<(), StoreError> {
        rustix::fs::linkat(&self.fd, UNFINISHED, &self.fd, name, AtFlags::empty())
            .map_err(StoreError::io("create", self.path(name)))?;
        self.remove(UNFINISHED)?;
        self.sync()
    }

    /// A new file with this content, durable.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let mut file = self.create()?;
        file.write_all(content)
            .and_then(|()| file.sync_all())
            .map_err(StoreError::io("write", self.path(UNFINISHED)))?;
        self.publish(name)
    }

    /// Removes a file, if it is there. Not durable before [`Dir::sync`].
    pub(crate) fn remove(&self, name: &str) -> Result<(), StoreError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(StoreError::io("remove", self.path(name))(error)),
        }
    }

    /// Removes an empty directory, if it is there. Not durable before [`Dir::sync`].
    pub(crate) fn remove_sub(&self, name: &str) -> Result<(), StoreError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(StoreError::io("remove", self.path(name))(error)),
        }
    }

    /// Moves `name` to `to` in `target`. Not durable before both are synced.
    pub(crate) fn rename(&self, name: &str, target: &Dir, to: &str) -> Result<(), StoreError> {
        rustix::fs::renameat(&self.fd, name, &target.fd, to)
            .map_err(StoreError::io("move", self.path(name)))
    }

    /// Overwrites the file `name` in `sub`, a directory of this one, and empties it, durably.
    ///
    /// Returns whether there was anything to overwrite.
    pub(crate) fn scrub(&self, sub: &Dir, name: &str) -> Result<bool, StoreError> {
        let Some((mut file, stat)) = sub.open_regular(name, OFlags::WRONLY)? else {
            return Ok(false);
        };
        if stat.st_size == 0 {
            return Ok(false);
        }
        let bytes = stat.st_size.try_into().unwrap_or(0);
        std::io::copy(&mut std::io::repeat(0).take(bytes), &mut file)
            .and_then(|_| file.sync_all())
            .and_then(|()| file.set_len(0))
            .and_then(|()| file.sync_all())
            .map_err(StoreError::io("overwrite", sub.path(name)))?;
        Ok(true)
    }
}

/// Makes the directory `path` and its missing parents, durably.
pub(crate) fn make_all(path: &Path) -> Result<(), StoreError> {
    let failed = |source: Errno| StoreError::Create {
        path: path.to_owned(),
        source: source.into(),
    };
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    match rustix::fs::mkdir(path, DIR_MODE) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(()),
        Err(Errno::NOENT) => {
            make_all(parent.ok_or_else(|| failed(Errno::NOENT))?)?;
            match rustix::fs::mkdir(path, DIR_MODE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(error) => return Err(failed(error)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = parent.unwrap_or(Path::new("."));
    rustix::fs::open(parent, flags, Mode::empty())
        .and_then(rustix::fs::fsync)
        .map_err(StoreError::io("sync", parent))
}

fn check_owner(stat: &Stat, path: &Path) -> Result<(), StoreError> {
    let user = rustix::process::geteuid().as_raw();
    if stat.st_uid == user {
        return Ok(());
    }
    Err(StoreError::ForeignOwner {
        path: path.to_owned(),
        owner: stat.st_uid,
        user,
    })
}

/// The size of a regular file of this user that nobody else can use.
fn check_private(stat: &Stat, path: PathBuf) -> Result<u64, StoreError> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(StoreError::NotAFile { path });
    }
    check_owner(stat, &path)?;
    match stat.st_mode & 0o7777 {
        mode if mode & OTHERS != 0 => Err(StoreError::OpenToOthers { path, mode }),
        _ => Ok(stat.st_size.try_into().unwrap_or(0)),
    }
}

const fn dir_flags() -> OFlags {
    OFlags::RDONLY
        .union(OFlags::DIRECTORY)
        .union(OFlags::NOFOLLOW)
        .union(OFlags::CLOEXEC)
}

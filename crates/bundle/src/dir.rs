//! Directories that only this user can change, and files in them that appear whole and durable, or not at all.
//!
//! Everything is opened relative to a checked directory and never through a link.

use std::{
    fmt::Debug,
    fs::File,
    io::{self, Read as _, Write as _},
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    thread::sleep,
    time::Duration,
};

use rustix::{
    fs::{AtFlags, CWD, FlockOperation, Mode, OFlags},
    io::Errno,
};

use crate::{FileError, limits::LOCK_WAIT_MS};

/// Time between two attempts to take a lock.
const LOCK_RETRY_MS: u64 = 1;

/// The name of what is not complete yet.
///
/// One name is enough, because only the holder of the lock writes it; what a killed process left behind is replaced by
/// the next.
pub(crate) const UNFINISHED: &str = ".new";

const DIR_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const DIR_FLAGS: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// NONBLOCK: opening a pipe that stands in a file's place must not wait for its other end.
const READ_FLAGS: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);
const CREATE_FLAGS: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const OTHERS_WRITE: u32 = 0o022;
const OTHERS: u32 = 0o077;

/// Is asked before each step that changes something on disk, so that a test can see them, stop there or refuse.
pub(crate) trait Steps: Debug + Send + Sync {
    fn before(&self, step: &'static str, path: &Path) -> io::Result<()>;
}

/// Steps of which nobody asks to be told.
#[derive(Debug)]
pub(crate) struct Unseen;

impl Steps for Unseen {
    fn before(&self, _: &'static str, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// Who may read a file of ours. Nobody else may ever write to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privacy {
    Secret,
    Readable,
}

/// A directory that is ours, open.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    steps: Arc<dyn Steps>,
}

/// Nobody else changes a directory, or what is below it, while this value lives.
#[derive(Debug)]
pub(crate) struct Held(OwnedFd);

impl Dir {
    /// The directory at `path`, made with its missing parents if there is none. `path` may be a link.
    pub(crate) fn open_or_make(path: &Path, steps: Arc<dyn Steps>) -> Result<Self, FileError> {
        make_all(path)?;
        let real = path.canonicalize().map_err(FileError::io("open", path))?;
        Self::open(&real, steps)
    }

    /// The directory at `path`, which must be there and not be a link.
    pub(crate) fn open(path: &Path, steps: Arc<dyn Steps>) -> Result<Self, FileError> {
        Self::checked(
            rustix::fs::open(path, DIR_FLAGS, Mode::empty()),
            path.to_owned(),
            steps,
        )
    }

    /// The directory `name` in this one, or nothing if there is none.
    pub(crate) fn sub(&self, name: &str) -> Result<Option<Self>, FileError> {
        match rustix::fs::openat(&self.fd, name, DIR_FLAGS, Mode::empty()) {
            Err(Errno::NOENT) => Ok(None),
            opened => Self::checked(opened, self.path(name), Arc::clone(&self.steps)).map(Some),
        }
    }

    /// The directory `name` in this one, made durable if it is missing.
    pub(crate) fn sub_or_make(&self, name: &str) -> Result<Self, FileError> {
        if let Some(dir) = self.sub(name)? {
            return Ok(dir);
        }
        let dir = self.make_sub(name)?;
        self.sync()?;
        Ok(dir)
    }

    /// The directory `name` in this one, made if it is missing. Durable after [`Dir::sync`].
    pub(crate) fn make_sub(&self, name: &str) -> Result<Self, FileError> {
        let path = self.path(name);
        self.before("create", &path)?;
        match rustix::fs::mkdirat(&self.fd, name, DIR_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(FileError::io("create", path)(error)),
        }
        self.sub(name)?
            .ok_or_else(|| FileError::io("open", path)(Errno::NOENT))
    }

    fn checked(
        opened: Result<OwnedFd, Errno>,
        path: PathBuf,
        steps: Arc<dyn Steps>,
    ) -> Result<Self, FileError> {
        let fd = match opened {
            Ok(fd) => fd,
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(FileError::NotADirectory { path }),
            Err(error) => return Err(FileError::io("open", path)(error)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(FileError::io("look at", &path))?;
        check_owner(stat.st_uid, stat.st_mode, &path)?;
        Ok(Self { fd, path, steps })
    }

    /// Where this directory is.
    pub(crate) fn as_path(&self) -> &Path {
        &self.path
    }

    /// Where `name` in this directory is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The open directory.
    pub(crate) const fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Whether anything has this name.
    pub(crate) fn has(&self, name: &str) -> Result<bool, FileError> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(FileError::io("look at", self.path(name))(error)),
        }
    }

    /// The names in this directory that are UTF-8, as all of ours are.
    pub(crate) fn names(&self) -> Result<Vec<String>, FileError> {
        let failed = || FileError::io("list", &self.path);
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(failed())? {
            if let Ok(name) = entry.map_err(failed())?.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// The regular file `name`, or nothing if there is none.
    pub(crate) fn open_file(
        &self,
        name: &str,
        privacy: Privacy,
    ) -> Result<Option<File>, FileError> {
        open_checked(&self.fd, Path::new(name), self.path(name), privacy)
    }

    /// The content of the file `name`, or nothing if there is none.
    pub(crate) fn read(
        &self,
        name: &str,
        max: u64,
        privacy: Privacy,
    ) -> Result<Option<Vec<u8>>, FileError> {
        let file = self.open_file(name, privacy)?;
        file.map(|file| content(&file, &self.path(name), max))
            .transpose()
    }

    /// Waits until no other process or thread changes this directory.
    pub(crate) fn lock(&self) -> Result<Held, FileError> {
        // A handle of its own: the threads of one process would share the lock of one handle.
        let handle = rustix::fs::openat(&self.fd, ".", DIR_FLAGS, Mode::empty())
            .map_err(FileError::io("open", &self.path))?;
        for _ in 0..LOCK_WAIT_MS / LOCK_RETRY_MS {
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
            waited_ms: LOCK_WAIT_MS,
        })
    }

    /// Writes `content` to [`UNFINISHED`], complete and durable but for its name.
    pub(crate) fn prepare(&self, held: &Held, content: &[u8]) -> Result<(), FileError> {
        self.discard(held)?;
        let file = self.write(UNFINISHED, content)?;
        self.sync_open(UNFINISHED, &file)
    }

    /// Writes `content` to a new file. Durable after [`Dir::sync_file`] and [`Dir::sync`].
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<File, FileError> {
        let path = self.path(name);
        self.before("create", &path)?;
        let file = rustix::fs::openat(&self.fd, name, CREATE_FLAGS, FILE_MODE)
            .map_err(FileError::io("create", &path))?;
        let mut file = File::from(file);
        self.before("write", &path)?;
        file.write_all(content)
            .map_err(FileError::io("write", path))?;
        Ok(file)
    }

    /// Makes the content of a file durable.
    pub(crate) fn sync_file(&self, name: &str) -> Result<(), FileError> {
        let file = self.open_file(name, Privacy::Readable)?;
        let file = file.ok_or_else(|| FileError::io("open", self.path(name))(Errno::NOENT))?;
        self.sync_open(name, &file)
    }

    fn sync_open(&self, name: &str, file: &File) -> Result<(), FileError> {
        let path = self.path(name);
        self.before("sync", &path)?;
        file.sync_all().map_err(FileError::io("sync", path))
    }

    /// Gives [`UNFINISHED`] the name `to` in `target`, in place of a file that has it. Durable after [`Dir::sync`] there.
    pub(crate) fn publish(&self, _: &Held, target: &Self, to: &str) -> Result<(), FileError> {
        let path = target.path(to);
        self.before("rename", &path)?;
        rustix::fs::renameat(&self.fd, UNFINISHED, &target.fd, to)
            .map_err(FileError::io("create", path))
    }

    /// Writes a file, or replaces it, durably.
    pub(crate) fn replace(&self, held: &Held, name: &str, content: &[u8]) -> Result<(), FileError> {
        self.prepare(held, content)?;
        self.publish(held, self, name)?;
        self.sync()
    }

    /// Removes what somebody did not finish.
    pub(crate) fn discard(&self, _: &Held) -> Result<(), FileError> {
        let failed = || FileError::io("remove", self.path(UNFINISHED));
        match rustix::fs::unlinkat(&self.fd, UNFINISHED, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {
                std::fs::remove_dir_all(self.path(UNFINISHED)).map_err(failed())
            }
            Err(error) => Err(failed()(error.into())),
        }
    }

    /// Makes the names in this directory durable.
    pub(crate) fn sync(&self) -> Result<(), FileError> {
        self.before("sync", &self.path)?;
        rustix::fs::fsync(&self.fd).map_err(FileError::io("sync", &self.path))
    }

    fn before(&self, step: &'static str, path: &Path) -> Result<(), FileError> {
        self.steps
            .before(step, path)
            .map_err(FileError::io(step, path))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Explicit, because a forked child may still hold a copy of the descriptor. If it fails, closing it does it.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// The content of the file at `path`, which is this user's.
pub(crate) fn read_file(path: &Path, max: u64, privacy: Privacy) -> Result<Vec<u8>, FileError> {
    let file = open_checked(CWD, path, path.to_owned(), privacy)?
        .ok_or_else(|| FileError::io("open", path)(Errno::NOENT))?;
    content(&file, path, max)
}

/// Writes a new file that only this user can read, durably.
pub(crate) fn create_file(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let mut file = rustix::fs::open(path, CREATE_FLAGS, FILE_MODE)
        .map(File::from)
        .map_err(FileError::io("create", path))?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(FileError::io("write", path))?;
    sync_parent(path)
}

fn open_checked(
    dir: impl std::os::fd::AsFd,
    name: &Path,
    path: PathBuf,
    privacy: Privacy,
) -> Result<Option<File>, FileError> {
    let file = match rustix::fs::openat(dir, name, READ_FLAGS, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT) => return Ok(None),
        // A link or a socket.
        Err(Errno::LOOP | Errno::NXIO) => return Err(FileError::NotAFile { path }),
        Err(error) => return Err(FileError::io("open", path)(error)),
    };
    let found = file.metadata().map_err(FileError::io("look at", &path))?;
    if !found.is_file() {
        return Err(FileError::NotAFile { path });
    }
    check_owner(found.uid(), found.mode(), &path)?;
    match found.mode() & 0o7777 {
        mode if privacy == Privacy::Secret && mode & OTHERS != 0 => {
            Err(FileError::OpenToOthers { path, mode })
        }
        _ => Ok(Some(file)),
    }
}

/// Everything in a file of at most `max` bytes.
pub(crate) fn content(file: &File, path: &Path, max: u64) -> Result<Vec<u8>, FileError> {
    let room = usize::try_from(max.min(MAX_ROOM)).unwrap_or(0);
    // Room for everything at once: a vector that grows leaves copies of a key behind.
    let mut content = Vec::with_capacity(room + 1);
    file.take(max.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(FileError::io("read", path))?;
    if content.len() as u64 > max {
        let path = path.to_owned();
        return Err(FileError::TooLarge { path, max });
    }
    Ok(content)
}

/// The most bytes that are set aside before a file is read.
const MAX_ROOM: u64 = 4_096;

/// Makes the directory `path` and its missing parents, durably.
fn make_all(path: &Path) -> Result<(), FileError> {
    match rustix::fs::mkdir(path, DIR_MODE) {
        Ok(()) => sync_parent(path),
        Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) => {
            let parent = path.parent().filter(|parent| *parent != Path::new(""));
            let parent = parent.ok_or_else(|| FileError::io("create", path)(Errno::NOENT))?;
            make_all(parent)?;
            match rustix::fs::mkdir(path, DIR_MODE) {
                Ok(()) | Err(Errno::EXIST) => sync_parent(path),
                Err(error) => Err(FileError::io("create", path)(error)),
            }
        }
        Err(error) => Err(FileError::io("create", path)(error)),
    }
}

fn sync_parent(path: &Path) -> Result<(), FileError> {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let parent = parent.unwrap_or(Path::new("."));
    rustix::fs::open(parent, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .and_then(rustix::fs::fsync)
        .map_err(FileError::io("sync", parent))
}

fn check_owner(owner: u32, mode: u32, path: &Path) -> Result<(), FileError> {
    let path = path.to_owned();
    let user = rustix::process::geteuid().as_raw();
    if owner != user {
        return Err(FileError::ForeignOwner { path, owner, user });
    }
    match mode & 0o7777 {
        mode if mode & OTHERS_WRITE != 0 => Err(FileError::WritableByOthers { path, mode }),
        _ => Ok(()),
    }
}

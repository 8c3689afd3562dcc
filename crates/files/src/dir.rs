//! A directory of ours, its lock, and how files get into it.

use std::{
    fmt::Debug,
    fs::File,
    io::{self, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    thread::sleep,
    time::Duration,
};

use rustix::{
    fs::{AtFlags, FlockOperation, Mode, OFlags},
    io::Errno,
};

use crate::{FileError, Privacy, ReadFile, whole};

/// Time between two attempts to take a lock.
const LOCK_RETRY_MS: u64 = 1;

/// The name of what is not complete yet.
///
/// One name is enough, because only the holder of the lock writes it; what a killed process left behind is replaced by
/// the next.
pub const UNFINISHED: &str = ".new";

const DIR_MODE: Mode = Mode::RWXU;
pub(crate) const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const DIR_FLAGS: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
pub(crate) const CREATE_FLAGS: OFlags = OFlags::RDWR
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Is asked before each step that changes something on disk, so that a test can see them, stop there or refuse.
pub trait Steps: Debug + Send + Sync {
    /// Before `step` on `path`.
    ///
    /// # Errors
    /// The step fails with this, and is not done.
    fn before(&self, step: &'static str, path: &Path) -> io::Result<()>;
}

/// A directory that is ours, open.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    privacy: Privacy,
    steps: Option<Arc<dyn Steps>>,
}

/// Nobody else changes a directory, or what is below it, while this value lives.
#[derive(Debug)]
pub struct Held(OwnedFd);

impl Dir {
    /// The directory at `path`, which must be there and not be a link.
    ///
    /// # Errors
    /// When it is not, or others have more access to it than `privacy` lets them.
    pub fn open(path: &Path, privacy: Privacy) -> Result<Self, FileError> {
        let opened = rustix::fs::open(path, DIR_FLAGS, Mode::empty());
        Self::checked(opened, path.to_owned(), privacy, None)
    }

    /// As [`Dir::open`], also if `path` is a link to it. Its path is then the one without links.
    ///
    /// # Errors
    /// As [`Dir::open`].
    pub fn find(path: &Path, privacy: Privacy) -> Result<Self, FileError> {
        let real = path.canonicalize().map_err(FileError::io("open", path))?;
        Self::open(&real, privacy)
    }

    /// Asks `steps` before each step.
    #[must_use]
    pub fn with_steps(self, steps: Option<Arc<dyn Steps>>) -> Self {
        Self { steps, ..self }
    }

    /// The directory `name` in this one, or nothing if there is none.
    ///
    /// # Errors
    /// When it is not one of ours, as for [`Dir::open`].
    pub fn sub(&self, name: &str) -> Result<Option<Self>, FileError> {
        match rustix::fs::openat(&self.fd, name, DIR_FLAGS, Mode::empty()) {
            Err(Errno::NOENT) => Ok(None),
            opened => {
                let steps = self.steps.clone();
                Self::checked(opened, self.path(name), self.privacy, steps).map(Some)
            }
        }
    }

    /// The directory `name` in this one, made durable if it is missing.
    ///
    /// # Errors
    /// When it is not one of ours or cannot be made.
    pub fn sub_or_make(&self, name: &str) -> Result<Self, FileError> {
        if let Some(dir) = self.sub(name)? {
            return Ok(dir);
        }
        let dir = self.make_sub(name)?;
        self.sync()?;
        Ok(dir)
    }

    /// The directory `name` in this one, made if it is missing. Durable after [`Dir::sync`].
    ///
    /// # Errors
    /// When it is not one of ours or cannot be made.
    pub fn make_sub(&self, name: &str) -> Result<Self, FileError> {
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
        privacy: Privacy,
        steps: Option<Arc<dyn Steps>>,
    ) -> Result<Self, FileError> {
        let fd = match opened {
            Ok(fd) => fd,
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(FileError::NotADirectory { path }),
            Err(error) => return Err(FileError::io("open", path)(error)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(FileError::io("look at", &path))?;
        privacy.check(stat.st_uid, stat.st_mode, &path)?;
        Ok(Self {
            fd,
            path,
            privacy,
            steps,
        })
    }

    /// Where this directory is.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.path
    }

    /// Where `name` in this directory is.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The open directory.
    #[must_use]
    pub const fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Whether anything has this name.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn has(&self, name: &str) -> Result<bool, FileError> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(FileError::io("look at", self.path(name))(error)),
        }
    }

    /// The names in this directory that are UTF-8, as all of ours are.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn names(&self) -> Result<Vec<String>, FileError> {
        let failed = || FileError::io("list", &self.path);
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(failed())? {
            if let Ok(name) = entry.map_err(failed())?.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// The regular file `name`, to read it, or nothing if there is none.
    fn open_file(&self, name: &str, privacy: Privacy) -> Result<Option<File>, FileError> {
        let path = self.path(name);
        whole::open(&self.fd, Path::new(name), path, OFlags::RDONLY, privacy)
    }

    /// The file `name` of at most `max` bytes, or nothing if there is none.
    ///
    /// # Errors
    /// When it is no regular file, others have more access to it than `privacy` lets them, or it is larger.
    pub fn read(
        &self,
        name: &str,
        max: u64,
        privacy: Privacy,
    ) -> Result<Option<ReadFile>, FileError> {
        let file = self.open_file(name, privacy)?;
        file.map(|file| ReadFile::of(file, &self.path(name), max))
            .transpose()
    }

    /// As [`Dir::read`], open to write to it afterwards. Nobody else may have access to it.
    ///
    /// # Errors
    /// As [`Dir::read`].
    pub fn read_to_change(&self, name: &str, max: u64) -> Result<Option<ReadFile>, FileError> {
        let path = self.path(name);
        let name = Path::new(name);
        let file = whole::open(&self.fd, name, path.clone(), OFlags::RDWR, Privacy::Secret)?;
        file.map(|file| ReadFile::of(file, &path, max)).transpose()
    }

    /// Waits until no other process or thread changes this directory, for at most `wait_ms` milliseconds.
    ///
    /// # Errors
    /// [`FileError::Locked`] when that was not long enough.
    pub fn lock(&self, wait_ms: u64) -> Result<Held, FileError> {
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

    /// Writes `content` to [`UNFINISHED`], complete and durable but for its name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn prepare(&self, held: &Held, content: &[u8]) -> Result<File, FileError> {
        self.discard(held)?;
        let file = self.write(UNFINISHED, content)?;
        self.sync_open(UNFINISHED, &file)?;
        Ok(file)
    }

    /// Writes `content` to a new file. Durable after [`Dir::sync_file`] and [`Dir::sync`].
    ///
    /// # Errors
    /// When something has this name, or it cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<File, FileError> {
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
    ///
    /// # Errors
    /// When there is none or it cannot be synced.
    pub fn sync_file(&self, name: &str) -> Result<(), FileError> {
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
    ///
    /// # Errors
    /// When it cannot be renamed: the old one keeps its name.
    pub fn publish(&self, _: &Held, target: &Self, to: &str) -> Result<(), FileError> {
        let path = target.path(to);
        self.before("rename", &path)?;
        rustix::fs::renameat(&self.fd, UNFINISHED, &target.fd, to)
            .map_err(FileError::io("create", path))
    }

    /// Writes a file, or replaces it, durably.
    ///
    /// # Errors
    /// The old one is there, or the new one.
    pub fn replace(&self, held: &Held, name: &str, content: &[u8]) -> Result<(), FileError> {
        self.prepare(held, content)?;
        self.publish(held, self, name)?;
        self.sync()
    }

    /// Removes what somebody did not finish.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn discard(&self, _: &Held) -> Result<(), FileError> {
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
    ///
    /// # Errors
    /// When they cannot be synced.
    pub fn sync(&self) -> Result<(), FileError> {
        self.before("sync", &self.path)?;
        rustix::fs::fsync(&self.fd).map_err(FileError::io("sync", &self.path))
    }

    fn before(&self, step: &'static str, path: &Path) -> Result<(), FileError> {
        match &self.steps {
            Some(steps) => steps.before(step, path).map_err(FileError::io(step, path)),
            None => Ok(()),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Explicit, because a forked child may still hold a copy of the descriptor. If it fails, closing it does it.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// Makes the directory `path` and its missing parents, durably.
///
/// # Errors
/// When one of them cannot be made.
pub fn make(path: &Path) -> Result<(), FileError> {
    match rustix::fs::mkdir(path, DIR_MODE) {
        Ok(()) => sync_parent(path),
        Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) => {
            let parent = path.parent().filter(|parent| *parent != Path::new(""));
            let parent = parent.ok_or_else(|| FileError::io("create", path)(Errno::NOENT))?;
            make(parent)?;
            match rustix::fs::mkdir(path, DIR_MODE) {
                Ok(()) | Err(Errno::EXIST) => sync_parent(path),
                Err(error) => Err(FileError::io("create", path)(error)),
            }
        }
        Err(error) => Err(FileError::io("create", path)(error)),
    }
}

pub(crate) fn sync_parent(path: &Path) -> Result<(), FileError> {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let parent = parent.unwrap_or(Path::new("."));
    rustix::fs::open(parent, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .and_then(rustix::fs::fsync)
        .map_err(FileError::io("sync", parent))
}

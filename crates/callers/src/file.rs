//! Files that only this user can change. They appear whole and durable, or not at all.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread::sleep,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, OFlags},
    io::Errno,
};

use zeroize::Zeroizing;

use crate::{key_cache::lock, limits::LOCK_WAIT_MS};

const LOCK_RETRY_MS: u64 = 1;
const OTHERS_WRITE: u32 = 0o022;
const OTHERS: u32 = 0o077;
const ROOT: u32 = 0;

/// Why a file of ours cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system refused a step.
    #[error("cannot {step} {path:?}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A link, a directory, a pipe or a device stands where a file should be.
    #[error("{path:?} is not a regular file")]
    NotAFile {
        /// Where.
        path: PathBuf,
    },
    /// Others own it, can write to it, or can read a secret in it.
    #[error("others have access to {path:?} (owner {owner}, mode {mode:04o})")]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// The user id of its owner.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// It is larger than any file of its kind.
    #[error("{path:?} has more than {max} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How many it may have.
        max: u64,
    },
    /// Its content is not what it should be.
    #[error("line {line} of {path:?} is not what it should be: restore the file from a backup")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where, from 1 on.
        line: usize,
    },
    /// It has as many entries as it may have.
    #[error("{path:?} has {max} entries, and may not have more")]
    Full {
        /// The file.
        path: PathBuf,
        /// How many it may have.
        max: usize,
    },
    /// Another process holds a lock for longer than it could need.
    #[error("{path:?} stayed locked for {waited_ms} ms: end the process that holds it")]
    Locked {
        /// The file.
        path: PathBuf,
        /// How long this process waited.
        waited_ms: u64,
    },
}

/// Who else may have to do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privacy {
    /// Nobody.
    Secret,
    /// Others may read it. It may be root's, and reached by a link, as mounted configuration is.
    Readable,
    /// It is the system's.
    Public,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// The stamp of the file at `path`.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn of(path: &Path) -> Result<Self, FileError> {
        let found = fs::metadata(path).map_err(failed("look at", path))?;
        Ok(Self::from(&found))
    }
}

impl From<&Metadata> for FileStamp {
    fn from(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// The line that is not what it should be, from 1 on.
pub(crate) type BadLine = usize;

/// A file that is read again when it changed.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    path: PathBuf,
    max: u64,
    parse: fn(&[u8]) -> Result<T, BadLine>,
    read: Mutex<Option<Version<T>>>,
}

#[derive(Debug)]
struct Version<T> {
    stamp: FileStamp,
    /// While it is open its inode is nobody else's, so that a stamp cannot come again by chance.
    _open: File,
    value: Arc<T>,
}

impl<T> Kept<T> {
    /// The file at `path`, made empty if there is none.
    pub(crate) fn open(
        path: &Path,
        max: u64,
        parse: fn(&[u8]) -> Result<T, BadLine>,
    ) -> Result<Self, FileError> {
        create(path, || Ok::<_, FileError>(Zeroizing::default()))?;
        let kept = Self {
            path: path.to_owned(),
            max,
            parse,
            read: Mutex::new(None),
        };
        kept.get()?;
        Ok(kept)
    }

    /// What is in the file now.
    pub(crate) fn get(&self) -> Result<Arc<T>, FileError> {
        let stamp = FileStamp::of(&self.path)?;
        let mut read = lock(&self.read);
        if let Some(version) = read.as_ref().filter(|version| version.stamp == stamp) {
            return Ok(Arc::clone(&version.value));
        }
        let open = open(&self.path, Privacy::Secret)?;
        let found = open.metadata().map_err(failed("look at", &self.path))?;
        let value = Arc::new(self.parsed(&content(&open, &self.path, self.max)?)?);
        *read = Some(Version {
            stamp: FileStamp::from(&found),
            _open: open,
            value: Arc::clone(&value),
        });
        Ok(value)
    }

    /// Replaces what is in the file by what `change` makes of it, alone among all processes.
    pub(crate) fn update<R, E: From<FileError>>(
        &self,
        change: impl FnOnce(&T) -> Result<(Vec<u8>, R), E>,
    ) -> Result<R, E> {
        let held = Held::take(&self.path)?;
        let now = self.parsed(&read(&self.path, self.max, Privacy::Secret)?)?;
        let (content, result) = change(&now)?;
        if content.len() as u64 > self.max {
            let (path, max) = (self.path.clone(), self.max);
            return Err(FileError::TooLarge { path, max }.into());
        }
        replace(&held, &self.path, &content)?;
        Ok(result)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn parsed(&self, content: &[u8]) -> Result<T, FileError> {
        (self.parse)(content).map_err(|line| FileError::Corrupt {
            path: self.path.clone(),
            line,
        })
    }
}

/// Nobody else changes a file while this value lives.
#[derive(Debug)]
struct Held {
    lock: File,
}

impl Held {
    fn take(path: &Path) -> Result<Self, FileError> {
        // A file of its own: the file itself is another one after each change.
        let path = beside(path, ".lock");
        let lock = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags(OFlags::NOFOLLOW))
            .open(&path)
            .map_err(failed("open", &path))?;
        for _ in 0..LOCK_WAIT_MS / LOCK_RETRY_MS {
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { lock }),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    sleep(Duration::from_millis(LOCK_RETRY_MS));
                }
                Err(error) => return Err(failed("lock", &path)(error)),
            }
        }
        let waited_ms = LOCK_WAIT_MS;
        Err(FileError::Locked { path, waited_ms })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Explicit, because a forked child may still hold a copy of the descriptor. If it fails, closing it does it.
        let _ = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
    }
}

/// Everything in the file at `path`.
pub(crate) fn read(path: &Path, max: u64, privacy: Privacy) -> Result<Vec<u8>, FileError> {
    content(&open(path, privacy)?, path, max)
}

/// Makes the file at `path` with what `content` gives, if there is none.
pub(crate) fn create<E: From<FileError>>(
    path: &Path,
    content: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, E>,
) -> Result<(), E> {
    check_directory(path)?;
    let held = Held::take(path)?;
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(replace(&held, path, &content()?)?)
        }
        Err(error) => Err(failed("look at", path)(error).into()),
    }
}

/// Who can write to a directory can put another file in the place of ours.
fn check_directory(path: &Path) -> Result<(), FileError> {
    let path = directory(path);
    let found = fs::metadata(path).map_err(failed("look at", path))?;
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    let user = rustix::process::geteuid().as_raw();
    if (owner == user || owner == ROOT) && mode & OTHERS_WRITE == 0 {
        return Ok(());
    }
    let path = path.to_owned();
    Err(FileError::OpenToOthers { path, owner, mode })
}

fn directory(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    parent.unwrap_or(Path::new("."))
}

fn replace(_: &Held, path: &Path, content: &[u8]) -> Result<(), FileError> {
    let new = beside(path, ".new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", &new)(error));
        }
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(failed("create", &new))?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(failed("write", &new))?;
    fs::rename(&new, path).map_err(failed("replace", path))?;
    let parent = directory(path);
    File::open(parent)
        .and_then(|parent| parent.sync_all())
        .map_err(failed("sync", parent))
}

fn open(path: &Path, privacy: Privacy) -> Result<File, FileError> {
    let follow = match privacy {
        Privacy::Secret => OFlags::NOFOLLOW,
        Privacy::Readable | Privacy::Public => OFlags::empty(),
    };
    // NONBLOCK: opening a pipe that stands in a file's place must not wait for its other end.
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags(follow | OFlags::NONBLOCK))
        .open(path)
        .map_err(failed("open", path))?;
    let found = file.metadata().map_err(failed("look at", path))?;
    let path = path.to_owned();
    if !found.is_file() {
        return Err(FileError::NotAFile { path });
    }
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    let user = rustix::process::geteuid().as_raw();
    let good = match privacy {
        Privacy::Secret => owner == user && mode & OTHERS == 0,
        Privacy::Readable => (owner == user || owner == ROOT) && mode & OTHERS_WRITE == 0,
        Privacy::Public => true,
    };
    if !good {
        return Err(FileError::OpenToOthers { path, owner, mode });
    }
    Ok(file)
}

fn content(file: &File, path: &Path, max: u64) -> Result<Vec<u8>, FileError> {
    let mut content = Vec::new();
    file.take(max.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(failed("read", path))?;
    if content.len() as u64 > max {
        let path = path.to_owned();
        return Err(FileError::TooLarge { path, max });
    }
    Ok(content)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

fn failed<E: Into<io::Error>>(
    step: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(E) -> FileError {
    let path = path.into();
    move |source| FileError::Io {
        step,
        path,
        source: source.into(),
    }
}

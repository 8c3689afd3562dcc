//! Where an image is built: a directory in the store that counts for nothing, locked while its build lives.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::{fs::FlockOperation, rand::GetRandomFlags};

use crate::{
    ImageError,
    dir::{self, Lock, PRIVATE_DIR},
};

/// How the names of such directories begin; the name of no image does.
const BUILD: &str = ".build-";
/// The file in such a directory that is locked while anything writes there.
const LOCK: &str = "lock";
/// How the names of images that are being removed begin; their directories are locked themselves.
const LEAVING: &str = ".leaving-";

/// A directory to build in. It is gone with this value.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
    lock: File,
}

/// What an image that is being removed is called.
pub(crate) fn leaving(store: &Path) -> Result<PathBuf, ImageError> {
    unused(store, LEAVING)
}

/// A name that nothing ever had: whoever still removes something under a name removes nothing of ours.
fn unused(store: &Path, start: &str) -> Result<PathBuf, ImageError> {
    let mut number = [0; 16];
    rustix::rand::getrandom(&mut number, GetRandomFlags::empty())
        .map_err(ImageError::io("name something in", store))?;
    let number = u128::from_ne_bytes(number);
    Ok(store.join(format!("{start}{number:032x}")))
}

impl Staging {
    /// A new one. Whoever calls holds the store's lock.
    pub(crate) fn new(store: &Path) -> Result<Self, ImageError> {
        remove_leftovers(store)?;
        let path = unused(store, BUILD)?;
        DirBuilder::new()
            .mode(PRIVATE_DIR)
            .create(&path)
            .map_err(ImageError::io("create", &path))?;
        let file = path.join(LOCK);
        let lock = File::create_new(&file).map_err(ImageError::io("create", &file))?;
        dir::try_lock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(ImageError::io("lock", file))?;
        Ok(Self { path, lock })
    }

    /// A directory in it.
    pub(crate) fn make(&self, name: &str) -> Result<PathBuf, ImageError> {
        let path = self.path.join(name);
        dir::make(&path)?;
        Ok(path)
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The lock, as the standard input of a program that writes here, which finds no input in it: if this process dies before that program does, nobody
    /// takes the directory for a leftover.
    pub(crate) fn stdin(&self) -> Result<Stdio, ImageError> {
        let own = self.lock.try_clone();
        own.map(Stdio::from)
            .map_err(ImageError::io("share", &self.path))
    }

    /// Waits until everything that was written in it is on disk.
    pub(crate) fn sync(&self) -> Result<(), ImageError> {
        rustix::fs::syncfs(&self.lock).map_err(ImageError::io("sync", &self.path))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now the next build removes.
        drop(dir::remove_tree(&self.path));
    }
}

/// Removes what nobody holds a lock on any more.
fn remove_leftovers(store: &Path) -> Result<(), ImageError> {
    let failed = || ImageError::io("list", store);
    for entry in fs::read_dir(store).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let (name, path) = (entry.file_name(), entry.path());
        let lock = match name.to_str() {
            Some(name) if name.starts_with(BUILD) => dir::open_file(&path.join(LOCK)),
            Some(name) if name.starts_with(LEAVING) => dir::handle(&path),
            _ => continue,
        };
        if is_free(lock).map_err(ImageError::io("lock", &path))? {
            dir::remove_tree(&path)?;
        }
    }
    Ok(())
}

/// Whether nobody else has this lock. Nobody does if it is not there: it is made under the store's lock.
fn is_free(lock: io::Result<File>) -> io::Result<bool> {
    match lock {
        Ok(lock) => dir::try_lock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map(|lock| lock == Lock::Taken),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

//! What this gateway keeps about callers: files that are read again when they changed.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use casemate_files::{Dir, FileError, Pinned, Privacy};
use zeroize::Zeroizing;

use crate::{key_cache::lock, limits::LOCK_WAIT_MS};

/// Why what this gateway keeps about callers cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeptError {
    /// The file, or the directory that it is in, cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The path is not one of a file, or not UTF-8.
    #[error("{path:?} cannot be the path of a file of ours")]
    Path {
        /// The path.
        path: PathBuf,
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
    file: Pinned,
    value: Arc<T>,
}

impl<T> Kept<T> {
    /// The file at `path`, made empty if there is none.
    pub(crate) fn open(
        path: &Path,
        max: u64,
        parse: fn(&[u8]) -> Result<T, BadLine>,
    ) -> Result<Self, KeptError> {
        read_or_make(path, max, || Ok::<_, KeptError>(Zeroizing::default()))?;
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
    pub(crate) fn get(&self) -> Result<Arc<T>, KeptError> {
        let found =
            fs::symlink_metadata(&self.path).map_err(FileError::io("look at", &self.path))?;
        let mut read = lock(&self.read);
        if let Some(version) = read.as_ref().filter(|version| version.file.is(&found)) {
            return Ok(Arc::clone(&version.value));
        }
        let (dir, name) = place(&self.path)?;
        let (file, value) = self.read(&dir, name)?;
        let value = Arc::new(value);
        *read = Some(Version {
            file,
            value: Arc::clone(&value),
        });
        Ok(value)
    }

    /// Replaces what is in the file by what `change` makes of it, alone among all processes.
    pub(crate) fn update<R, E: From<KeptError>>(
        &self,
        change: impl FnOnce(&T) -> Result<(Vec<u8>, R), E>,
    ) -> Result<R, E> {
        let (dir, name) = place(&self.path)?;
        let held = dir.lock(LOCK_WAIT_MS).map_err(KeptError::from)?;
        let (content, result) = change(&self.read(&dir, name)?.1)?;
        if content.len() as u64 > self.max {
            let (path, max) = (self.path.clone(), self.max);
            return Err(KeptError::from(FileError::TooLarge { path, max }).into());
        }
        dir.replace(&held, name, &content)
            .map_err(KeptError::from)?;
        Ok(result)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn read(&self, dir: &Dir, name: &str) -> Result<(Pinned, T), KeptError> {
        let read = dir.read(name, self.max, Privacy::Secret)?;
        let (file, content) = read.ok_or_else(|| gone(&self.path))?.pin();
        let value = (self.parse)(&content).map_err(|line| KeptError::Corrupt {
            path: self.path.clone(),
            line,
        })?;
        Ok((file, value))
    }
}

/// What is in the file at `path`, which is made with what `content` gives if there is none.
pub(crate) fn read_or_make<E: From<KeptError>>(
    path: &Path,
    max: u64,
    content: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, E>,
) -> Result<Zeroizing<Vec<u8>>, E> {
    let (dir, name) = place(path)?;
    let held = dir.lock(LOCK_WAIT_MS).map_err(KeptError::from)?;
    let found = dir.read(name, max, Privacy::Secret);
    if let Some(found) = found.map_err(KeptError::from)? {
        return Ok(Zeroizing::new(found.content));
    }
    let content = content()?;
    dir.replace(&held, name, &content)
        .map_err(KeptError::from)?;
    Ok(content)
}

/// The directory of a file, and its name there.
fn place(path: &Path) -> Result<(Dir, &str), KeptError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| KeptError::Path {
        path: path.to_owned(),
    })?;
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let dir = Dir::find(parent.unwrap_or(Path::new(".")), Privacy::Readable)?;
    Ok((dir, name))
}

fn gone(path: &Path) -> FileError {
    FileError::io("open", path)(std::io::Error::from(std::io::ErrorKind::NotFound))
}

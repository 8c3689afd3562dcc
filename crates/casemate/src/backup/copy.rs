//! Copies files of one directory into another, and remembers what each was.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use casemate_model::{Digest, Hasher};

use super::{
    make_dir,
    manifest::{Entry, MAX_FILES},
};

const BUFFER_BYTES: usize = 64 << 10;
/// What is being written when it is copied, and not there for anybody yet.
const UNFINISHED: &str = "new";

/// Files that are copied.
#[derive(Debug)]
pub(super) struct Copied {
    from: PathBuf,
    to: PathBuf,
    files: Vec<Entry>,
}

impl Copied {
    pub(super) fn new(from: &Path, to: &Path) -> anyhow::Result<Self> {
        make_dir(to)?;
        Ok(Self {
            from: from.to_owned(),
            to: to.to_owned(),
            files: Vec::new(),
        })
    }

    /// Where a file goes; its directory is there then.
    pub(super) fn place(&self, name: &Path) -> anyhow::Result<PathBuf> {
        let to = self.to.join(name);
        make_dir(to.parent().unwrap_or(&self.to))?;
        Ok(to)
    }

    /// Copies one, if it is there.
    pub(super) fn file(&mut self, name: &Path) -> anyhow::Result<()> {
        let from = self.from.join(name);
        let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(&from);
        let source = match opened {
            Ok(source) => source,
            // It went meanwhile, as a whole.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot open `{}`", from.display()));
            }
        };
        let to = self.place(name)?;
        let (bytes, digest) =
            copy(source, &to).with_context(|| format!("cannot copy `{}`", from.display()))?;
        self.add(name, bytes, digest)
    }

    /// Removes one that was copied, if it was.
    pub(super) fn forget(&mut self, name: &Path) -> anyhow::Result<()> {
        self.files.retain(|entry| Path::new(&entry.path) != name);
        let to = self.to.join(name);
        match fs::remove_file(&to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove `{}`", to.display()))
            }
            _ => Ok(()),
        }
    }

    /// Remembers one that somebody else put in its place.
    pub(super) fn note(&mut self, name: &Path) -> anyhow::Result<()> {
        let to = self.to.join(name);
        let read = File::open(&to).and_then(|file| digest(file, &mut io::sink()));
        let (bytes, digest) = read.with_context(|| format!("cannot read `{}`", to.display()))?;
        self.add(name, bytes, digest)
    }

    /// Copies everything below a name.
    pub(super) fn tree(&mut self, name: &Path) -> anyhow::Result<()> {
        let mut open = vec![name.to_owned()];
        while let Some(name) = open.pop() {
            let path = self.from.join(&name);
            let kind = match fs::symlink_metadata(&path) {
                Ok(facts) => facts.file_type(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot look at `{}`", path.display()));
                }
            };
            if kind.is_dir() {
                make_dir(&self.to.join(&name))?;
                let entries = fs::read_dir(&path);
                for entry in entries.with_context(|| format!("cannot list `{}`", path.display()))? {
                    let entry =
                        entry.with_context(|| format!("cannot list `{}`", path.display()))?;
                    open.push(name.join(entry.file_name()));
                }
            } else if kind.is_file() {
                if name.file_name().is_some_and(|name| name != UNFINISHED) {
                    self.file(&name)?;
                }
            } else {
                bail!("`{}` is neither a file nor a directory", path.display());
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &Path, bytes: u64, sha256: Digest) -> anyhow::Result<()> {
        let Some(path) = name.to_str() else {
            bail!("`{}` has a name that is no text", name.display());
        };
        if self.files.len() >= MAX_FILES {
            bail!("there are more than {MAX_FILES} files");
        }
        self.files.push(Entry {
            path: path.to_owned(),
            bytes,
            sha256,
        });
        Ok(())
    }

    /// What was copied, all of it on disk.
    pub(super) fn finish(self) -> anyhow::Result<Vec<Entry>> {
        let dir = File::open(&self.to).context("cannot open the copy")?;
        rustix::fs::syncfs(dir).context("cannot sync the copy")?;
        Ok(self.files)
    }
}

/// Copies a file to a new one of this user's alone.
pub(super) fn copy(from: File, to: &Path) -> io::Result<(u64, Digest)> {
    let mut target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    digest(from, &mut target)
}

/// Reads a file to its end.
pub(super) fn digest(mut from: File, to: &mut impl io::Write) -> io::Result<(u64, Digest)> {
    let (mut hasher, mut bytes) = (Hasher::default(), 0);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer)?;
        let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else {
            to.flush()?;
            return Ok((bytes, hasher.finish()));
        };
        hasher.update(piece);
        to.write_all(piece)?;
        bytes += count as u64;
    }
}

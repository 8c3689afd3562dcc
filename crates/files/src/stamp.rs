//! Noticing that a file changed, at the cost of one system call.

use std::{
    fs::{File, Metadata},
    os::unix::fs::MetadataExt as _,
};

/// What of a file changes when it does. One that is edited in place, within one tick of the file system's clock, may keep
/// it; one that is replaced never does, while the old one is [`Pinned`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    owner: u32,
    mode: u32,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            owner: found.uid(),
            mode: found.mode(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// A file as it was read. While this lives no other file has its number.
#[derive(Debug)]
pub struct Pinned {
    stamp: Stamp,
    _file: File,
}

impl Pinned {
    pub(crate) const fn new(stamp: Stamp, file: File) -> Self {
        Self { stamp, _file: file }
    }

    /// Whether what was found is this file, unchanged as far as its stamp tells.
    #[must_use]
    pub fn is(&self, found: &Metadata) -> bool {
        self.stamp == Stamp::from(found)
    }
}

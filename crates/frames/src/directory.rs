//! A listed directory, as bytes on the program's standard output.

use crate::{
    FrameError,
    limits::MAX_ENTRIES,
    wire::{Fields, put_bytes},
};

/// What something in a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, socket or pipe.
    Other,
}

/// Something in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Its name.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Its size in bytes.
    pub bytes: u64,
    /// When its content last changed, in milliseconds since 1970.
    pub modified_ms: u64,
}

impl DirectoryEntry {
    /// Appends the entry to `out`.
    ///
    /// # Errors
    /// When the name is too long for any file system.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        out.push(match self.kind {
            EntryKind::File => 0,
            EntryKind::Directory => 1,
            EntryKind::Link => 2,
            EntryKind::Other => 3,
        });
        out.extend(self.bytes.to_le_bytes());
        out.extend(self.modified_ms.to_le_bytes());
        put_bytes(out, &self.name)
    }

    /// The entries of a whole listing.
    ///
    /// # Errors
    /// When `bytes` are not a listing, or of more than [`MAX_ENTRIES`] entries.
    pub fn decode(bytes: &[u8]) -> Result<Vec<Self>, FrameError> {
        let mut fields = Fields(bytes);
        let mut entries = Vec::new();
        while !fields.0.is_empty() {
            if entries.len() == MAX_ENTRIES {
                return Err(FrameError::Field("number of entries"));
            }
            let kind = match fields.u8()? {
                0 => EntryKind::File,
                1 => EntryKind::Directory,
                2 => EntryKind::Link,
                3 => EntryKind::Other,
                _ => return Err(FrameError::Field("kind of entry")),
            };
            let (bytes, modified_ms) = (fields.u64()?, fields.u64()?);
            entries.push(Self {
                name: fields.bytes()?.to_vec(),
                kind,
                bytes,
                modified_ms,
            });
        }
        Ok(entries)
    }
}

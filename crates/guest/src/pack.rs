//! The whole workspace as one stream, with a program's rights: what its own user may not read is not packed, and then nothing is.

use std::{
    collections::HashMap,
    ffi::CStr,
    io,
    os::fd::{AsFd, OwnedFd},
};

use casemate_frames::{
    FromGuest, MAX_ATTRIBUTES, MAX_CHUNK_BYTES, MAX_PATH_BYTES, MAX_PIECES, Moment, PACKED_END,
    Packed, PackedEntry,
};
use rustix::{
    fs::{
        AtFlags, Dir, FileType, Mode, OFlags, SeekFrom, Stat, fgetxattr, flistxattr, fstat, openat,
        readlinkat, seek, statat,
    },
    io::Errno,
};

use crate::{files::open, keeper::Keeper};

/// Linux takes no longer list of attributes and no longer value.
const MAX_ATTRIBUTE_BYTES: usize = 64 * 1024;

/// Whether an attribute is a program's own. Others are the kernel's, and made anew with the file.
pub(crate) fn is_kept(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_")
}

/// Says how long the stream is, once everything was found to be readable, and sends it. Nothing else runs in the session meanwhile.
pub(crate) fn pack(keeper: &Keeper) -> io::Result<()> {
    let tree = Tree::walk()?;
    keeper.send(&FromGuest::FileSize(tree.bytes))?;
    let mut out = Out {
        keeper,
        chunk: Vec::with_capacity(MAX_CHUNK_BYTES),
    };
    for entry in &tree.entries {
        out.put(&entry.encode()?)?;
        if let Packed::File { pieces, .. } = &entry.what
            && !pieces.is_empty()
        {
            let file = open(&entry.path, OFlags::RDONLY | OFlags::NONBLOCK)?;
            for (at, bytes) in pieces {
                out.copy(&file, *at, *bytes)?;
            }
        }
    }
    out.put(&PACKED_END)?;
    out.flush()
}

/// What the workspace holds, each directory before what is in it.
#[derive(Default)]
struct Tree {
    entries: Vec<PackedEntry>,
    /// How long the stream is.
    bytes: u64,
    /// The paths of files that have more than one name, by inode.
    named: HashMap<u64, Vec<u8>>,
    /// Room for an attribute.
    attribute: Vec<u8>,
}

impl Tree {
    fn walk() -> io::Result<Self> {
        let mut tree = Self {
            bytes: PACKED_END.len() as u64,
            attribute: vec![0; MAX_ATTRIBUTE_BYTES],
            ..Self::default()
        };
        let mut waiting = vec![Vec::new()];
        while let Some(path) = waiting.pop() {
            let directory = open(&path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            let stat = fstat(&directory)?;
            let attributes = tree.attributes(&directory)?;
            tree.add(entry(path.clone(), &stat, Packed::Directory, attributes))?;
            for listed in Dir::new(directory.try_clone()?)? {
                let listed = listed?;
                let name = listed.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                let path = joined(&path, name.to_bytes())?;
                let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    waiting.push(path);
                } else {
                    tree.other(&directory, name, path, &stat)?;
                }
            }
        }
        Ok(tree)
    }

    /// Anything but a directory. Sockets are left out: nobody is behind them any more.
    fn other(
        &mut self,
        directory: &OwnedFd,
        name: &CStr,
        path: Vec<u8>,
        stat: &Stat,
    ) -> io::Result<()> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.file(directory, name, path, stat),
            FileType::Symlink => {
                let target = readlinkat(directory, name, Vec::new())?.into_bytes();
                self.add(entry(path, stat, Packed::Link(target), Vec::new()))
            }
            FileType::Fifo => self.add(entry(path, stat, Packed::Pipe, Vec::new())),
            _ => Ok(()),
        }
    }

    fn file(
        &mut self,
        directory: &OwnedFd,
        name: &CStr,
        path: Vec<u8>,
        stat: &Stat,
    ) -> io::Result<()> {
        if stat.st_nlink > 1 {
            if let Some(first) = self.named.get(&stat.st_ino) {
                let same = Packed::Same(first.clone());
                return self.add(entry(path, stat, same, Vec::new()));
            }
            self.named.insert(stat.st_ino, path.clone());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(directory, name, flags, Mode::empty())?;
        let bytes = u64::try_from(stat.st_size).unwrap_or(0);
        let pieces = pieces(&file, bytes)?;
        let attributes = self.attributes(&file)?;
        self.add(entry(
            path,
            stat,
            Packed::File { bytes, pieces },
            attributes,
        ))
    }

    fn attributes(&mut self, file: &OwnedFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let length = match flistxattr(file, self.attribute.as_mut_slice()) {
            Ok(length) => length,
            // There are none on this file system.
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let names = self.attribute.get(..length).unwrap_or_default().to_vec();
        let mut attributes = Vec::new();
        for name in names.split(|byte| *byte == 0).filter(|name| is_kept(name)) {
            if attributes.len() == MAX_ATTRIBUTES {
                return Err(Errno::OVERFLOW.into());
            }
            let length = fgetxattr(file, name, self.attribute.as_mut_slice())?;
            let value = self.attribute.get(..length).unwrap_or_default();
            attributes.push((name.to_vec(), value.to_vec()));
        }
        Ok(attributes)
    }

    fn add(&mut self, entry: PackedEntry) -> io::Result<()> {
        // One that is too large for the protocol is found out here, before anything was sent.
        let encoded = entry.encode().map_err(|_| Errno::OVERFLOW)?;
        self.bytes = (self.bytes)
            .saturating_add(encoded.len() as u64)
            .saturating_add(entry.content_bytes());
        self.entries.push(entry);
        Ok(())
    }
}

fn joined(directory: &[u8], name: &[u8]) -> Result<Vec<u8>, Errno> {
    let path = match directory {
        [] => name.to_vec(),
        directory => [directory, b"/", name].concat(),
    };
    match path.len() <= MAX_PATH_BYTES {
        true => Ok(path),
        false => Err(Errno::NAMETOOLONG),
    }
}

fn entry(
    path: Vec<u8>,
    stat: &Stat,
    what: Packed,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
) -> PackedEntry {
    let moment = |seconds, nanoseconds: u64| Moment {
        seconds,
        nanoseconds: u32::try_from(nanoseconds).unwrap_or(0),
    };
    PackedEntry {
        path,
        mode: stat.st_mode & 0o7777,
        accessed: moment(stat.st_atime, stat.st_atime_nsec),
        modified: moment(stat.st_mtime, stat.st_mtime_nsec),
        attributes,
        what,
    }
}

/// What of a file is there: the rest are holes.
fn pieces(file: &impl AsFd, bytes: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < bytes {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // From here on it is a hole.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = seek(file, SeekFrom::Hole(start))?.min(bytes);
        if pieces.len() == MAX_PIECES {
            return Err(Errno::OVERFLOW.into());
        }
        pieces.push((start, end.saturating_sub(start)));
        at = end;
    }
    Ok(pieces)
}

/// The stream, in chunks as large as they may be.
struct Out<'a> {
    keeper: &'a Keeper,
    chunk: Vec<u8>,
}

impl Out<'_> {
    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = MAX_CHUNK_BYTES.saturating_sub(self.chunk.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.chunk.extend(now);
            bytes = later;
            if self.chunk.len() == MAX_CHUNK_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn copy(&mut self, file: &OwnedFd, mut at: u64, mut bytes: u64) -> io::Result<()> {
        let mut buffer = vec![0; MAX_CHUNK_BYTES];
        while bytes > 0 {
            let most = usize::try_from(bytes).map_or(buffer.len(), |most| most.min(buffer.len()));
            let room = buffer.get_mut(..most).unwrap_or_default();
            let count = match rustix::io::pread(file, room, at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            self.put(buffer.get(..count).unwrap_or_default())?;
            at += count as u64;
            bytes -= count as u64;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let next = Vec::with_capacity(MAX_CHUNK_BYTES);
        let chunk = std::mem::replace(&mut self.chunk, next);
        self.keeper.send(&FromGuest::Stdout(chunk))
    }
}

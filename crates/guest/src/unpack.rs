//! The files of another sandbox, put into this one's empty workspace with a program's rights.
//!
//! The stream was written in a sandbox, and is as hostile as anything from there: every path is opened below the workspace.

use std::{ffi::CString, io, os::fd::OwnedFd};

use casemate_frames::{FromGuest, MAX_PACKED_BYTES, Moment, Packed, PackedEntry, ToGuest};
use rustix::{
    fs::{
        AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags, fchmod, fsetxattr,
        ftruncate, futimens, linkat, mkdirat, mknodat, openat, symlinkat, unlinkat, utimensat,
    },
    io::Errno,
};

use crate::{
    files::{open, split},
    keeper::Keeper,
    pack::is_kept,
};

/// Puts what comes where it was. Directories are the last to get their permissions and times.
pub(crate) fn unpack(keeper: &mut Keeper) -> io::Result<()> {
    let root = open(b"", OFlags::RDONLY | OFlags::DIRECTORY)?;
    // There from the start, and perhaps not in the other one.
    match unlinkat(&root, c"out", AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    keeper.send(&FromGuest::Started)?;
    let mut stream = Stream {
        keeper,
        chunk: Vec::new(),
        used: 0,
    };
    let mut directories = Vec::new();
    while let Some(entry) = stream.entry()? {
        put(&mut stream, &entry)?;
        if entry.what == Packed::Directory {
            directories.push(entry);
        }
    }
    for entry in directories.iter().rev() {
        finish(
            &open(&entry.path, OFlags::RDONLY | OFlags::DIRECTORY)?,
            entry,
        )?;
    }
    stream.end()
}

fn put(stream: &mut Stream<'_>, entry: &PackedEntry) -> io::Result<()> {
    if entry.path.is_empty() {
        return match entry.what {
            Packed::Directory => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        };
    }
    let (parent, name) = split(&entry.path)?;
    let parent = open(parent, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let private = Mode::from_raw_mode(0o600);
    match &entry.what {
        Packed::Directory => mkdirat(&parent, &name, Mode::from_raw_mode(0o700))?,
        Packed::File { bytes, pieces } => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = openat(&parent, &name, flags | OFlags::NOFOLLOW, private)?;
            ftruncate(&file, *bytes)?;
            for (at, bytes) in pieces {
                stream.copy(&file, *at, *bytes)?;
            }
            finish(&file, entry)?;
        }
        Packed::Link(target) => {
            let target = CString::new(target.as_slice())?;
            symlinkat(&target, &parent, &name)?;
            utimensat(&parent, &name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Packed::Same(first) => {
            let (place, first) = split(first)?;
            let place = open(place, OFlags::PATH | OFlags::DIRECTORY)?;
            linkat(&place, &first, &parent, &name, AtFlags::empty())?;
        }
        Packed::Pipe => {
            mknodat(&parent, &name, FileType::Fifo, private, 0)?;
            let mode = Mode::from_raw_mode(entry.mode);
            rustix::fs::chmodat(&parent, &name, mode, AtFlags::empty())?;
            utimensat(&parent, &name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(())
}

/// Gives a file or directory its attributes, permissions and times.
fn finish(file: &OwnedFd, entry: &PackedEntry) -> io::Result<()> {
    for (name, value) in &entry.attributes {
        if !is_kept(name) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        fsetxattr(file, name.as_slice(), value, XattrFlags::empty())?;
    }
    fchmod(file, Mode::from_raw_mode(entry.mode))?;
    Ok(futimens(file, &times(entry))?)
}

fn times(entry: &PackedEntry) -> Timestamps {
    let time = |moment: Moment| Timespec {
        tv_sec: moment.seconds,
        tv_nsec: moment.nanoseconds.into(),
    };
    Timestamps {
        last_access: time(entry.accessed),
        last_modification: time(entry.modified),
    }
}

/// What comes on standard input.
struct Stream<'a> {
    keeper: &'a mut Keeper,
    chunk: Vec<u8>,
    used: usize,
}

impl Stream<'_> {
    /// At most so many of the next bytes; at least one.
    fn next(&mut self, most: usize) -> io::Result<&[u8]> {
        while self.used == self.chunk.len() {
            match self.keeper.wait()? {
                ToGuest::Stdin(chunk) => {
                    // The next one may come while this one is put away.
                    self.keeper.send(&FromGuest::StdinTaken)?;
                    (self.chunk, self.used) = (chunk, 0);
                }
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        let end = self.used.saturating_add(most).min(self.chunk.len());
        let bytes = self.chunk.get(self.used..end).unwrap_or_default();
        self.used = end;
        Ok(bytes)
    }

    fn exactly(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        let mut whole = Vec::with_capacity(bytes);
        while whole.len() < bytes {
            let missing = bytes - whole.len();
            whole.extend(self.next(missing)?);
        }
        Ok(whole)
    }

    /// The next entry; nothing at the end.
    fn entry(&mut self) -> io::Result<Option<PackedEntry>> {
        let header = self.exactly(4)?;
        let header = <[u8; 4]>::try_from(header).map_err(|_| io::ErrorKind::InvalidData)?;
        match usize::try_from(u32::from_le_bytes(header)) {
            Ok(0) => Ok(None),
            Ok(bytes) if bytes <= MAX_PACKED_BYTES => {
                Ok(Some(PackedEntry::decode(&self.exactly(bytes)?)?))
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn copy(&mut self, file: &OwnedFd, mut at: u64, mut bytes: u64) -> io::Result<()> {
        while bytes > 0 {
            let mut piece = self.next(usize::try_from(bytes).unwrap_or(usize::MAX))?;
            bytes -= piece.len() as u64;
            while !piece.is_empty() {
                match rustix::io::pwrite(file, piece, at) {
                    Ok(count) => {
                        piece = piece.get(count..).unwrap_or_default();
                        at += count as u64;
                    }
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Sees that nothing comes after the end.
    fn end(self) -> io::Result<()> {
        match self.keeper.wait()? {
            ToGuest::StdinClosed if self.used == self.chunk.len() => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

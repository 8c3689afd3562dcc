//! The head file: how far the log had got, so that a log that was cut shorter is found out.
//!
//! It is rewritten in place after each commit and fits into one disk sector, so that a crash leaves
//! the old text or the new one. It is not made durable: after a power cut it may be older than the
//! log, never newer, because the log is.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use tlog_tiles::EMPTY_HASH;

use crate::{
    LedgerError, LogKey,
    limits::{MAX_LOG_BYTES, MAX_NOTE_BYTES},
    note::{NoteError, PublicKey, Signed},
};

/// The first bytes of a head: the offset in decimal and a newline.
const MAX_OFFSET_BYTES: usize = 21;

/// A head whose checkpoint is signed.
#[derive(Debug, PartialEq)]
pub(crate) struct Head {
    /// Where the newest batch ends. Believe it only if the batch that ends there carries
    /// [`Head::note`].
    pub(crate) end: u64,
    /// How many records were signed.
    pub(crate) size: u64,
    /// The checkpoint of that batch.
    pub(crate) note: String,
}

/// Why there is no head.
#[derive(Debug)]
pub(crate) enum HeadError {
    Unreadable,
    Note(NoteError),
}

impl Head {
    /// The head in `text`.
    pub(crate) fn parse(text: &[u8], key: &PublicKey) -> Result<Self, HeadError> {
        let text = std::str::from_utf8(text).map_err(|_| HeadError::Unreadable)?;
        let (digits, note) = text.split_once('\n').ok_or(HeadError::Unreadable)?;
        let end = parse_end(digits).ok_or(HeadError::Unreadable)?;
        let Signed { size, root, .. } = key.open_own(note).map_err(HeadError::Note)?;
        if (end == 0) != (size == 0 && root == EMPTY_HASH) {
            return Err(HeadError::Note(NoteError::Checkpoint));
        }
        Ok(Self {
            end,
            size,
            note: note.to_owned(),
        })
    }

    fn text(end: u64, note: &str) -> String {
        format!("{end}\n{note}")
    }
}

/// Where the head in `dir` says that the log ends, for readers without a key. `None` when it cannot be read.
pub(crate) fn unverified_end(dir: &Path) -> Option<u64> {
    let text = File::open(path(dir)).and_then(|file| read(&file)).ok()?;
    let digits = text.split(|byte| *byte == b'\n').next()?;
    parse_end(std::str::from_utf8(digits).ok()?)
}

fn parse_end(digits: &str) -> Option<u64> {
    let end: u64 = digits.parse().ok()?;
    (end.to_string() == digits && end <= MAX_LOG_BYTES).then_some(end)
}

/// Where the head of the ledger in `dir` is.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join("head")
}

/// The bytes of a head file.
pub(crate) fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut text = vec![0; MAX_OFFSET_BYTES + MAX_NOTE_BYTES as usize];
    let mut filled = 0;
    while let Some(rest) = text.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    text.truncate(filled);
    Ok(text)
}

/// The head file of a writer.
#[derive(Debug)]
pub(crate) struct HeadFile {
    file: File,
}

impl HeadFile {
    /// Opens the head of the ledger in `dir`; an empty one, which is no head, if it was lost.
    pub(crate) fn open(dir: &Path) -> Result<Self, LedgerError> {
        let path = path(dir);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(LedgerError::file("open", path))?;
        Ok(Self { file })
    }

    /// The head, if there is one. Call with the ledger's lock held: a reader could see half a
    /// rewrite.
    pub(crate) fn read(&self, key: &PublicKey) -> Option<Head> {
        let text = read(&self.file).ok()?;
        Head::parse(&text, key).ok()
    }

    /// Rewrites the head after a commit.
    pub(crate) fn write(&self, end: u64, note: &str) -> io::Result<()> {
        let text = Head::text(end, note);
        self.file.write_all_at(text.as_bytes(), 0)?;
        // Offsets and sizes only grow, so the text does; anything longer was not ours.
        if self.file.metadata()?.len() > text.len() as u64 {
            self.file.set_len(text.len() as u64)?;
        }
        Ok(())
    }
}

/// Makes the head of an empty log, durable but for its directory entry.
pub(crate) fn create(dir: &Path, key: &LogKey) -> Result<(), LedgerError> {
    let text = Head::text(0, &key.sign(0, EMPTY_HASH, ""));
    create_whole(&path(dir), text.as_bytes(), 0o600)
}

/// Creates or replaces a file so that it is there with all of its bytes or not at all.
pub(crate) fn create_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<(), LedgerError> {
    let new = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&new)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&new, path));
    written.map_err(LedgerError::file("create", path))
}

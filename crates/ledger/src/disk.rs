//! What the ledger asks of its log file, so that a test can count it and make it fail.

use std::{
    fmt::Debug,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    sync::Arc,
};

/// The log file.
pub(crate) trait LogFile: Debug + Send + Sync {
    fn len(&self) -> io::Result<u64>;
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize>;
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    fn sync_data(&self) -> io::Result<()>;
    fn set_len(&self, len: u64) -> io::Result<()>;
}

impl LogFile for File {
    fn len(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, bytes, at)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, at)
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }
}

/// The first `len` bytes of a log: what others append meanwhile is not seen.
#[derive(Debug)]
pub(crate) struct Section {
    file: Arc<dyn LogFile>,
    at: u64,
    len: u64,
}

impl Section {
    pub(crate) const fn new(file: Arc<dyn LogFile>, len: u64) -> Self {
        Self { file, at: 0, len }
    }

    /// Fills `bytes` from offset `at`.
    pub(crate) fn read_exact_at(&mut self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.at = at;
        self.read_exact(bytes)
    }
}

impl Read for Section {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = bytes.len().min(left);
        let Some(bytes) = bytes.get_mut(..wanted) else {
            return Ok(0);
        };
        let read = self.file.read_at(bytes, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Section {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::Current(by) => self.at.saturating_add_signed(by),
            SeekFrom::End(by) => self.len.saturating_add_signed(by),
        };
        Ok(self.at)
    }
}

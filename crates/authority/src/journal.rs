//! The file of budgets, to append to.

use std::{fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use crate::{BudgetFailure, record};

/// An open file of records.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) file: Arc<File>,
    pub(crate) len: u64,
    /// The CRC of its last line.
    crc: u32,
    /// Room for a line.
    line: Vec<u8>,
}

/// Why a line is not in the file.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// It was taken back.
    Write(io::Error),
    /// It could not be taken back, or not wholly.
    Failed(BudgetFailure),
}

impl Journal {
    pub(crate) const fn new(file: Arc<File>, len: u64, crc: u32) -> Self {
        Self {
            file,
            len,
            crc,
            line: Vec::new(),
        }
    }

    /// Appends a record with one write.
    pub(crate) fn append(&mut self, json: &[u8]) -> Result<(), AppendError> {
        self.line.clear();
        let crc = record::line(&mut self.line, self.crc, json);
        let written = match self.file.write_at(&self.line, self.len) {
            Ok(written) if written == self.line.len() => {
                self.len += written as u64;
                self.crc = crc;
                return Ok(());
            }
            Ok(_) => io::ErrorKind::StorageFull.into(),
            Err(error) => error,
        };
        match self.file.set_len(self.len) {
            Ok(()) => Err(AppendError::Write(written)),
            Err(error) => Err(AppendError::Failed(BudgetFailure::TakeBack(error))),
        }
    }
}

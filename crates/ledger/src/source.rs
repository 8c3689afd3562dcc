//! Reads a log forward, one part of a batch after the other, without believing it.

use std::io::{BufReader, ErrorKind, Read as _, Seek as _, SeekFrom};

use tlog_tiles::Hash;

use crate::{
    VerifyError,
    disk::Section,
    layout::{BatchHead, HEAD_BYTES, RECORD_HEAD_BYTES, parse_record_head},
    limits::MAX_RECORD_BYTES,
};

const READ_BUFFER_BYTES: usize = 64 << 10;

/// A place in a log.
#[derive(Debug)]
pub(crate) struct Source {
    log: BufReader<Section>,
    at: u64,
    len: u64,
    batch: Batch,
}

/// The batch that is being read, for messages.
#[derive(Clone, Copy, Debug, Default)]
struct Batch {
    first: u64,
    offset: u64,
}

/// What stands where a record belongs.
#[derive(Debug)]
pub(crate) enum RawRecord {
    /// A record at `offset` with `stored` beside it; its bytes are in the buffer.
    Bytes { offset: u64, stored: Hash },
    /// A length that the batch or the limit does not allow.
    DoesNotFit { offset: u64, len: u64 },
}

impl Source {
    /// Reads the first `len` bytes of a log, from offset `at`.
    pub(crate) fn new(section: Section, at: u64, len: u64) -> Result<Self, VerifyError> {
        let mut source = Self {
            log: BufReader::with_capacity(READ_BUFFER_BYTES, section),
            at: 0,
            len,
            batch: Batch::default(),
        };
        source.go_to(at)?;
        Ok(source)
    }

    pub(crate) const fn at(&self) -> u64 {
        self.at
    }

    /// The end of what is read.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Goes to offset `at`.
    pub(crate) fn go_to(&mut self, at: u64) -> Result<(), VerifyError> {
        if at != self.at {
            self.log
                .seek(SeekFrom::Start(at))
                .map_err(|source| VerifyError::Read { offset: at, source })?;
            self.at = at;
        }
        Ok(())
    }

    /// The head of the batch that begins here and should begin with record `first`.
    pub(crate) fn head(&mut self, first: u64) -> Result<BatchHead, VerifyError> {
        let offset = self.at;
        self.batch = Batch { first, offset };
        let mut bytes = [0; HEAD_BYTES];
        self.fill(&mut bytes)?;
        BatchHead::parse(&bytes).map_err(|what| VerifyError::FrameChanged {
            first,
            offset,
            what,
        })
    }

    /// The record that begins here, into `buffer`. The records of its batch end at offset `end`.
    pub(crate) fn record(
        &mut self,
        buffer: &mut Vec<u8>,
        end: u64,
    ) -> Result<RawRecord, VerifyError> {
        let offset = self.at;
        let left = end.saturating_sub(offset);
        let Some(room) = left.checked_sub(RECORD_HEAD_BYTES as u64) else {
            return Ok(RawRecord::DoesNotFit { offset, len: left });
        };
        let mut bytes = [0; RECORD_HEAD_BYTES];
        self.fill(&mut bytes)?;
        let (len, stored) = parse_record_head(&bytes);
        if u64::from(len) > room || len as usize > MAX_RECORD_BYTES {
            let len = len.into();
            return Ok(RawRecord::DoesNotFit { offset, len });
        }
        buffer.resize(len as usize, 0);
        self.fill(buffer)?;
        Ok(RawRecord::Bytes { offset, stored })
    }

    /// The trailer of the batch with `head`, from here.
    pub(crate) fn trailer(&mut self, head: &BatchHead) -> Result<Vec<u8>, VerifyError> {
        let mut bytes = vec![0; head.trailer_len()];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), VerifyError> {
        let Batch { first, offset } = self.batch;
        self.log
            .read_exact(bytes)
            .map_err(|source| match source.kind() {
                ErrorKind::UnexpectedEof => VerifyError::BatchCut { first, offset },
                _ => VerifyError::Read {
                    offset: self.at,
                    source,
                },
            })?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

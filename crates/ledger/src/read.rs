//! Reading without the key: what the log says, in order. Whether it is genuine,
//! [`verify`](crate::verify) tells.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use casemate_model::{DecisionId, Digest};
use serde::{Deserialize, Serialize};
use tlog_tiles::record_hash;

use crate::{
    ReadError, Record, StoredEntry, VerifyError,
    disk::{LogFile, Section},
    head,
    layout::BatchHead,
    limits::MAX_SHOWN_RECORDS,
    resume::head_of_batch_ending_at,
    source::{RawRecord, Source},
    writer::log_path,
};

/// The records of a log as it was when the reading began. Ends at the first error.
#[derive(Debug)]
pub struct Reader {
    /// `None` before the first record is asked for.
    opened: Option<Opened>,
    dir: PathBuf,
    /// Where to begin, and whether to end where the log is known to be durable.
    from: Option<Place>,
    ended: bool,
}

/// A place between two records of a log, from which reading can go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Where the batch of the next record begins, in bytes.
    offset: u64,
    /// The records before that batch.
    first: u64,
    /// The next record.
    next: u64,
}

impl Place {
    /// How many bytes of the log lie before the batch of the next record.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) const fn in_batch(offset: u64, first: u64, next: u64) -> Self {
        Self {
            offset,
            first,
            next,
        }
    }
}

/// The records of the ledger in `dir` from `place` on, oldest first, as far as they are known to be durable: nobody is told of
/// a record that a power cut could undo. Errors come with the first record.
#[must_use]
pub fn read_from(dir: &Path, place: Place) -> Reader {
    Reader {
        opened: None,
        dir: dir.to_owned(),
        from: Some(place),
        ended: false,
    }
}

/// The end of the ledger in `dir`, as far as it is known to be durable.
///
/// # Errors
/// When there is no log, or its end cannot be read.
pub fn end_of(dir: &Path) -> Result<Place, ReadError> {
    let mut opened = Opened::new(dir, Some(Place::default()))?;
    opened.go_back(1).map_err(ReadError::Damaged)?;
    while opened.next().map_err(ReadError::Damaged)?.is_some() {}
    Ok(opened.place())
}

/// The records of the ledger in `dir`, oldest first. Errors come with the first record.
#[must_use]
pub fn read(dir: &Path) -> Reader {
    Reader {
        opened: None,
        dir: dir.to_owned(),
        from: None,
        ended: false,
    }
}

/// The last `count` records of the ledger in `dir`, oldest first; at most [`MAX_SHOWN_RECORDS`].
/// Reads no more of the log than that.
///
/// # Errors
/// When there is no log, or those records cannot be read.
pub fn tail(dir: &Path, count: usize) -> Result<Vec<Record>, ReadError> {
    let count = count.min(MAX_SHOWN_RECORDS);
    let mut opened = Opened::new(dir, None)?;
    opened.go_back(count).map_err(ReadError::Damaged)?;
    let mut last = VecDeque::with_capacity(count);
    while let Some(record) = opened.next().map_err(ReadError::Damaged)? {
        if last.len() == count {
            last.pop_front();
        }
        last.push_back(record);
    }
    last.truncate(count);
    Ok(last.into())
}

/// The records of one decision, oldest first; at most [`MAX_SHOWN_RECORDS`].
///
/// # Errors
/// When there is no log, or it cannot be read.
pub fn find(dir: &Path, decision: DecisionId) -> Result<Vec<Record>, ReadError> {
    read(dir)
        .filter(|record| {
            record
                .as_ref()
                .map_or(true, |record| record.entry.decision == decision)
        })
        .take(MAX_SHOWN_RECORDS)
        .collect()
}

/// The log in `dir`, and its length.
pub(crate) fn open_log(dir: &Path) -> Result<(Arc<dyn LogFile>, u64), ReadError> {
    let path = log_path(dir);
    let opened = File::open(&path).and_then(|file| Ok((LogFile::len(&file)?, file)));
    let (len, file) = opened.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ReadError::NoLog { path: path.clone() },
        _ => ReadError::Open { path, source },
    })?;
    Ok((Arc::new(file), len))
}

impl Iterator for Reader {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.read_next().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

impl Reader {
    fn read_next(&mut self) -> Result<Option<Record>, ReadError> {
        let opened = match &mut self.opened {
            Some(opened) => opened,
            None => self.opened.insert(Opened::new(&self.dir, self.from)?),
        };
        opened.next().map_err(ReadError::Damaged)
    }

    /// The place after the last record that was read.
    #[must_use]
    pub fn place(&self) -> Place {
        match &self.opened {
            Some(opened) => opened.place(),
            None => self.from.unwrap_or_default(),
        }
    }
}

/// A log that is being read.
#[derive(Debug)]
struct Opened {
    log: Arc<dyn LogFile>,
    source: Source,
    /// Up to here the log was acknowledged, as far as its head tells.
    settled: u64,
    /// The records of the current batch that are still to come.
    batch: Option<Rest>,
    size: u64,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Rest {
    start: u64,
    next: u64,
    size: u64,
    records_end: u64,
    end: u64,
}

impl Opened {
    /// With a place: from there on, and no further than the log is known to be durable.
    fn new(dir: &Path, from: Option<Place>) -> Result<Self, ReadError> {
        // Before the log's length is read: the log only grows.
        let settled = head::unverified_end(dir);
        let (log, len) = open_log(dir)?;
        let Some(place) = from else {
            let settled = settled.unwrap_or(0);
            return Self::over(log, len, settled).map_err(ReadError::Damaged);
        };
        let settled = settled.ok_or_else(|| ReadError::NoHead {
            path: head::path(dir),
        })?;
        let mut opened = Self::over(log, len.min(settled), settled).map_err(ReadError::Damaged)?;
        match opened.go_to(place).map_err(ReadError::Damaged)? {
            true => Ok(opened),
            false => Err(ReadError::Beyond {
                path: log_path(dir),
                next: place.next,
            }),
        }
    }

    /// Goes to a place of this log, and says whether the log has come to it. Of another log, the next batch is found not to
    /// belong there.
    fn go_to(&mut self, place: Place) -> Result<bool, VerifyError> {
        if place.offset > self.source.len() {
            return Ok(false);
        }
        self.source.go_to(place.offset)?;
        self.size = place.first;
        if place.next == place.first {
            return Ok(true);
        }
        // Another batch's record is not looked for: a place that somebody made up does not lead through the whole log.
        match self.next_batch()? {
            Some(batch) if (batch.next..batch.size).contains(&place.next) => {
                self.batch = Some(batch)
            }
            _ => return Ok(false),
        }
        while self.size_read() < place.next {
            if self.next()?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many records were read, or lie before where the reading began.
    fn size_read(&self) -> u64 {
        self.batch.as_ref().map_or(self.size, |rest| rest.next)
    }

    fn place(&self) -> Place {
        let offset = match &self.batch {
            Some(rest) => rest.start,
            None => self.source.at(),
        };
        Place {
            offset,
            first: self.size,
            next: self.size_read(),
        }
    }

    fn over(log: Arc<dyn LogFile>, len: u64, settled: u64) -> Result<Self, VerifyError> {
        Ok(Self {
            source: Source::new(Section::new(Arc::clone(&log), len), 0, len)?,
            log,
            settled,
            batch: None,
            size: 0,
            buffer: Vec::new(),
        })
    }

    /// Goes to the batch from which at least `count` records follow.
    fn go_back(&mut self, count: usize) -> Result<(), VerifyError> {
        let len = self.source.len();
        let mut section = Section::new(Arc::clone(&self.log), len);
        // An append that is not finished, or not yet, hides the end of the log; the head knows an
        // older one.
        let mut head = head_of_batch_ending_at(&mut section, len)?;
        if head.is_none() && self.settled < len {
            head = head_of_batch_ending_at(&mut section, self.settled)?;
        }
        let mut found = 0;
        while let Some(batch) = head {
            found += batch.count as usize;
            self.size = batch.first;
            self.source.go_to(batch.start)?;
            if found >= count {
                break;
            }
            head = head_of_batch_ending_at(&mut section, batch.start)?;
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Record>, VerifyError> {
        let rest = match self.batch.take() {
            Some(rest) => rest,
            None => match self.next_batch()? {
                Some(rest) => rest,
                None => return Ok(None),
            },
        };
        let index = rest.next;
        let (offset, stored) = match self.source.record(&mut self.buffer, rest.records_end)? {
            RawRecord::Bytes { offset, stored } => (offset, stored),
            RawRecord::DoesNotFit { offset, len } => {
                return Err(VerifyError::RecordLength { index, len, offset });
            }
        };
        let entry: StoredEntry = serde_json::from_slice(&self.buffer).map_err(|source| {
            VerifyError::RecordUnreadable {
                index,
                offset,
                source,
            }
        })?;
        let leaf = record_hash(&self.buffer);
        if leaf != stored {
            let decision = Some(entry.decision);
            return Err(VerifyError::RecordChanged {
                index,
                decision,
                offset,
            });
        }
        if entry.index != index {
            let found = entry.index;
            return Err(VerifyError::RecordMoved {
                index,
                found,
                offset,
            });
        }
        if index + 1 < rest.size {
            let next = index + 1;
            self.batch = Some(Rest { next, ..rest });
        } else {
            self.size = rest.size;
            self.source.go_to(rest.end)?;
        }
        Ok(Some(Record {
            index,
            entry,
            leaf: Digest::from_bytes(leaf.0),
        }))
    }

    /// The next batch that is complete, if there is one.
    fn next_batch(&mut self) -> Result<Option<Rest>, VerifyError> {
        let start = self.source.at();
        if start >= self.source.len() {
            return Ok(None);
        }
        match self.whole_batch(start) {
            Ok(head) => Ok(Some(Rest {
                start,
                next: head.first,
                size: head.size(),
                records_end: start + head.frontier_at(),
                end: start + head.batch_len(),
            })),
            // An append that is not finished: nobody was told of it.
            Err(VerifyError::FrameChanged { .. } | VerifyError::BatchCut { .. })
                if start >= self.settled =>
            {
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    fn whole_batch(&mut self, start: u64) -> Result<BatchHead, VerifyError> {
        let cut = VerifyError::BatchCut {
            first: self.size,
            offset: start,
        };
        let head = self.source.head(self.size)?;
        let end = start + head.batch_len();
        if end > self.source.len() || head.start != start || head.first != self.size {
            return Err(cut);
        }
        let mut section = Section::new(Arc::clone(&self.log), self.source.len());
        match head_of_batch_ending_at(&mut section, end)? {
            Some(same) if same == head => Ok(head),
            _ => Err(cut),
        }
    }
}

#[cfg(test)]
mod tests;

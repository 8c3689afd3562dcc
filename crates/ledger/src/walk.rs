//! Checks a log forward, batch by batch, in memory that does not grow with it.

use std::sync::Arc;

use crate::{
    VerifyError,
    disk::{LogFile, Section},
    judge::{Checked, Records, judge},
    layout::{BatchHead, MAX_WHOLE_BATCH_BYTES},
    note::PublicKey,
    resume::batch_ending_at,
    source::{RawRecord, Source},
    state::State,
    trailer::Trailer,
};

/// A walk along a log.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    log: Arc<dyn LogFile>,
    source: Source,
    key: &'a PublicKey,
    state: State,
    buffer: Vec<u8>,
}

/// What was found after the last batch.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Another batch, and it is genuine.
    Batch,
    /// The end of the log.
    End,
    /// An append that was cut short by a crash, up to the end of the log. It was never
    /// acknowledged.
    Unfinished,
}

impl<'a> Walk<'a> {
    /// Walks along the first `len` bytes of `log`, from `state`.
    pub(crate) fn new(
        log: &Arc<dyn LogFile>,
        len: u64,
        key: &'a PublicKey,
        state: State,
    ) -> Result<Self, VerifyError> {
        let section = Section::new(Arc::clone(log), len);
        Ok(Self {
            log: Arc::clone(log),
            source: Source::new(section, state.end, len)?,
            key,
            state,
            buffer: Vec::new(),
        })
    }

    pub(crate) const fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn into_state(self) -> State {
        self.state
    }

    /// Checks the next batch. Up to offset `settled` every fault is an error; behind it, an append
    /// that nobody was told of may have been cut short.
    pub(crate) fn step(&mut self, settled: u64) -> Result<Step, VerifyError> {
        if self.state.end >= self.source.len() {
            return Ok(Step::End);
        }
        match self.examine() {
            Ok(checked) => self.accept(checked).map(|()| Step::Batch),
            Err(fault) if self.state.end < settled => Err(fault),
            Err(fault @ (VerifyError::Read { .. } | VerifyError::Tree(_))) => Err(fault),
            Err(_) if self.is_unfinished() => Ok(Step::Unfinished),
            Err(fault) => Err(fault),
        }
    }

    /// Whether what follows can be one append cut short: not longer than a batch, and nothing after
    /// it.
    fn is_unfinished(&mut self) -> bool {
        let (start, len) = (self.state.end, self.source.len());
        let genuine_later =
            batch_ending_at(&self.log, len, self.key).is_ok_and(|(head, _)| head.start != start);
        let ends_before_len = self.source.go_to(start).is_ok()
            && self
                .source
                .head(self.state.size())
                .is_ok_and(|head| start + head.batch_len() < len);
        len - start <= MAX_WHOLE_BATCH_BYTES && !genuine_later && !ends_before_len
    }

    fn examine(&mut self) -> Result<Checked, VerifyError> {
        let (offset, first) = (self.state.end, self.state.size());
        self.source.go_to(offset)?;
        let head = self.source.head(first)?;
        let records_end = offset + head.frontier_at();
        let records = self.records(&head, records_end)?;
        if offset + head.batch_len() > self.source.len() {
            let cut = VerifyError::BatchCut { first, offset };
            return Err(records.blame(cut));
        }
        self.source.go_to(records_end)?;
        let bytes = self.source.trailer(&head)?;
        let trailer = Trailer::authenticate(&head, &bytes, self.key, (first, offset));
        judge(&head, records, trailer, (first, offset))
    }

    /// Hashes the records of the batch with `head`, which end at offset `end`.
    fn records(&mut self, head: &BatchHead, end: u64) -> Result<Records, VerifyError> {
        let mut records = Records::new(head, &self.state);
        for index in head.first..head.size() {
            match self.source.record(&mut self.buffer, end) {
                Ok(RawRecord::Bytes { offset, stored }) => {
                    records.add(index, offset, stored, &self.buffer)?;
                }
                Ok(RawRecord::DoesNotFit { offset, len }) if offset < end => {
                    records.misfit(VerifyError::RecordLength { index, len, offset });
                    return Ok(records);
                }
                Ok(RawRecord::DoesNotFit { .. }) => break,
                Err(fault) => return Err(records.blame(fault)),
            }
        }
        if records.size() != head.size() || self.source.at() != end {
            records.misfit(VerifyError::FrameChanged {
                first: self.state.size(),
                offset: self.state.end,
                what: "its records are not as many, or not as long, as its head says",
            });
        }
        Ok(records)
    }

    /// Goes behind a checked batch.
    fn accept(&mut self, checked: Checked) -> Result<(), VerifyError> {
        let (first, offset) = (self.state.size(), self.state.end);
        for (offset, effect) in checked.effects {
            self.state.open.apply(effect, offset);
        }
        if self.state.open.offsets() != checked.trailer.open {
            return Err(VerifyError::FrameChanged {
                first,
                offset,
                what: "its list of open decisions is not that of the records",
            });
        }
        self.state.end = checked.end;
        self.state.frontier = checked.frontier;
        self.state.note = checked.trailer.note;
        Ok(())
    }
}

#[cfg(test)]
mod tests;

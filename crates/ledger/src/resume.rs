//! Goes on after a batch from its trailer alone: O(log n + open decisions), whatever came before.

use std::sync::Arc;

use tlog_tiles::record_hash;

use crate::{
    OpenDecision, VerifyError,
    disk::{LogFile, Section},
    entry::{Effect, StoredEntry},
    layout::{BatchHead, HEAD_BYTES, RECORD_HEAD_BYTES, TAIL_BYTES, parse_record_head, parse_tail},
    limits::MAX_RECORD_BYTES,
    note::PublicKey,
    open_set::OpenSet,
    state::State,
    trailer::Trailer,
};

/// The batch that ends at `end`, if its frame is genuine: where it begins, its head and its
/// trailer.
pub(crate) fn batch_ending_at(
    log: &Arc<dyn LogFile>,
    end: u64,
    key: &PublicKey,
) -> Result<(BatchHead, Trailer), VerifyError> {
    let not_an_end = |offset| VerifyError::FrameChanged {
        first: 0,
        offset,
        what: "no batch ends where one should",
    };
    let mut section = Section::new(Arc::clone(log), end);
    let head = head_of_batch_ending_at(&mut section, end)?.ok_or(not_an_end(end))?;
    let trailer_at = head.start + head.frontier_at();
    let bytes = read(&mut section, trailer_at, head.trailer_len())?;
    let trailer = Trailer::authenticate(&head, &bytes, key, (head.first, head.start))?;
    Ok((head, trailer))
}

/// The head of the batch that ends at `end`, if the frame there adds up.
pub(crate) fn head_of_batch_ending_at(
    section: &mut Section,
    end: u64,
) -> Result<Option<BatchHead>, VerifyError> {
    let Some(tail_at) = end.checked_sub(TAIL_BYTES as u64) else {
        return Ok(None);
    };
    let tail = read(section, tail_at, TAIL_BYTES)?;
    let start = parse_tail(&tail).and_then(|len| end.checked_sub(len));
    let Some(start) = start.filter(|start| end - start >= HEAD_BYTES as u64) else {
        return Ok(None);
    };
    let bytes = read(section, start, HEAD_BYTES)?;
    let head = bytes
        .first_chunk::<HEAD_BYTES>()
        .and_then(|bytes| BatchHead::parse(bytes).ok());
    Ok(head.filter(|head| head.start == start && start + head.batch_len() == end))
}

/// The state after the batch that ends at `end`. `known` are open decisions that need not be read
/// again.
pub(crate) fn resume(
    log: &Arc<dyn LogFile>,
    end: u64,
    key: &PublicKey,
    known: OpenSet,
) -> Result<State, VerifyError> {
    let (head, trailer) = batch_ending_at(log, end, key)?;
    if trailer.frontier.root().map_err(VerifyError::Tree)? != trailer.root {
        return Err(VerifyError::FrameChanged {
            first: head.first,
            offset: head.start,
            what: "its frontier does not have the root that its checkpoint signs",
        });
    }
    let mut known = known.into_by_offset();
    let mut open = OpenSet::default();
    let mut section = Section::new(Arc::clone(log), end);
    for offset in trailer.open {
        let decision = match known.remove(&offset) {
            Some(decision) => decision,
            None => open_decision_at(&mut section, offset, &head)?,
        };
        open.apply(Effect::Opens(decision), offset);
    }
    Ok(State {
        end,
        frontier: trailer.frontier,
        open,
        note: trailer.note,
    })
}

fn open_decision_at(
    section: &mut Section,
    offset: u64,
    head: &BatchHead,
) -> Result<OpenDecision, VerifyError> {
    let changed = VerifyError::FrameChanged {
        first: head.first,
        offset: head.start,
        what: "a decision on its list of open decisions cannot be read",
    };
    let bytes = read(section, offset, RECORD_HEAD_BYTES)?;
    let Some(record_head) = bytes.first_chunk::<RECORD_HEAD_BYTES>() else {
        return Err(changed);
    };
    let (len, stored) = parse_record_head(record_head);
    if len as usize > MAX_RECORD_BYTES {
        return Err(changed);
    }
    let bytes = read(section, offset + RECORD_HEAD_BYTES as u64, len as usize)?;
    if record_hash(&bytes) != stored {
        return Err(changed);
    }
    match serde_json::from_slice::<StoredEntry>(&bytes).map(|entry| Effect::of(&entry)) {
        Ok(Effect::Opens(open)) => Ok(open),
        _ => Err(changed),
    }
}

fn read(section: &mut Section, offset: u64, len: usize) -> Result<Vec<u8>, VerifyError> {
    let mut bytes = vec![0; len];
    section
        .read_exact_at(&mut bytes, offset)
        .map_err(|source| VerifyError::Read { offset, source })?;
    Ok(bytes)
}

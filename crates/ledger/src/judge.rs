//! What the parts of a batch amount to: a genuine batch, or which fault.

use tlog_tiles::{Hash, record_hash};

use crate::{
    VerifyError,
    entry::{Effect, StoredEntry},
    frontier::Frontier,
    layout::BatchHead,
    state::State,
    trailer::Trailer,
};

/// A batch that is genuine and in its place.
#[derive(Debug)]
pub(crate) struct Checked {
    /// Where it ends.
    pub(crate) end: u64,
    /// The tree after it.
    pub(crate) frontier: Frontier,
    /// What its records do to the open decisions, with their offsets.
    pub(crate) effects: Vec<(u64, Effect)>,
    pub(crate) trailer: Trailer,
}

/// The records of a batch, hashed.
#[derive(Debug)]
pub(crate) struct Records {
    /// The tree that the records make.
    by_content: Frontier,
    /// The tree that the stored hashes make, once it differs.
    by_stored: Option<Frontier>,
    effects: Vec<(u64, Effect)>,
    /// Whether the head says that they belong here. If not, what is odd about them says nothing.
    in_place: bool,
    /// The first thing that is odd.
    suspicion: Option<VerifyError>,
    /// Whether the records do not fill their batch, so that what follows the first odd thing is
    /// garbage.
    misfit: bool,
}

impl Records {
    /// No records yet of the batch with `head`, which follows `state`.
    pub(crate) fn new(head: &BatchHead, state: &State) -> Self {
        Self {
            by_content: state.frontier.clone(),
            by_stored: None,
            effects: Vec::new(),
            in_place: head.start == state.end && head.first == state.size(),
            suspicion: None,
            misfit: false,
        }
    }

    /// How many records the log has with these.
    pub(crate) const fn size(&self) -> u64 {
        self.by_content.size()
    }

    fn suspect(&mut self, fault: VerifyError) {
        self.suspicion.get_or_insert(fault);
    }

    /// What is wrong with a batch that has `fault` in its frame: a suspicious record says it
    /// better.
    pub(crate) fn blame(self, fault: VerifyError) -> VerifyError {
        self.suspicion.filter(|_| self.in_place).unwrap_or(fault)
    }

    /// Notes that the records do not fill their batch as its head says.
    pub(crate) fn misfit(&mut self, fault: VerifyError) {
        self.misfit = true;
        self.suspect(fault);
    }

    /// Hashes the record `index`, which stands at `offset` with the hash `stored`.
    pub(crate) fn add(
        &mut self,
        index: u64,
        offset: u64,
        stored: Hash,
        bytes: &[u8],
    ) -> Result<(), VerifyError> {
        let leaf = record_hash(bytes);
        let entry = serde_json::from_slice::<StoredEntry>(bytes);
        if leaf != stored {
            self.by_stored
                .get_or_insert_with(|| self.by_content.clone());
            self.suspect(VerifyError::RecordChanged {
                index,
                decision: entry.as_ref().ok().map(|entry| entry.decision),
                offset,
            });
        }
        self.by_content.push(leaf).map_err(VerifyError::Tree)?;
        if let Some(by_stored) = &mut self.by_stored {
            by_stored.push(stored).map_err(VerifyError::Tree)?;
        }
        match entry {
            Ok(entry) => {
                if entry.index != index {
                    self.suspect(VerifyError::RecordMoved {
                        index,
                        found: entry.index,
                        offset,
                    });
                }
                self.effects.push((offset, Effect::of(&entry)));
            }
            Err(source) => self.suspect(VerifyError::RecordUnreadable {
                index,
                offset,
                source,
            }),
        }
        Ok(())
    }
}

/// Decides what the parts of the batch at `offset` amount to, where record `size` comes next.
pub(crate) fn judge(
    head: &BatchHead,
    records: Records,
    trailer: Result<Trailer, VerifyError>,
    (size, offset): (u64, u64),
) -> Result<Checked, VerifyError> {
    let trailer = match trailer {
        Ok(trailer) if records.in_place => trailer,
        Ok(_) => return Err(misplaced(head, size, offset)),
        Err(fault) => return Err(records.blame(fault)),
    };
    let signed = |tree: &Frontier| tree.root().map(|root| root == trailer.root);
    let content_signed = signed(&records.by_content).map_err(VerifyError::Tree)?;
    let stored_signed = records.by_stored.as_ref().map(signed).transpose();
    let stored_signed = stored_signed.map_err(VerifyError::Tree)?;
    match records.suspicion {
        Some(VerifyError::RecordChanged { index, offset, .. }) if content_signed => {
            return Err(VerifyError::LeafChanged { index, offset });
        }
        Some(VerifyError::RecordChanged { .. })
            if stored_signed == Some(false) && !records.misfit => {}
        Some(suspicion) => return Err(suspicion),
        None => {}
    }
    if !content_signed {
        return Err(VerifyError::RecordsReplaced {
            first: head.first,
            last: head.size() - 1,
            offset,
        });
    }
    if records.by_content != trailer.frontier {
        return Err(VerifyError::FrameChanged {
            first: size,
            offset,
            what: "its frontier is not that of the records",
        });
    }
    Ok(Checked {
        end: offset + head.batch_len(),
        frontier: records.by_content,
        effects: records.effects,
        trailer,
    })
}

/// A genuine batch where another belongs.
fn misplaced(head: &BatchHead, size: u64, offset: u64) -> VerifyError {
    if head.first > size {
        VerifyError::RecordsMissing {
            first: size,
            last: head.first - 1,
            found: head.first,
            offset,
        }
    } else {
        VerifyError::BatchMoved {
            first: head.first,
            last: head.size() - 1,
            start: head.start,
            offset,
        }
    }
}

//! Verifying a log offline, with nothing but its public key.

use std::{fs::File, io, path::Path, sync::Arc, thread, time::Duration};

use casemate_model::Digest;

use crate::{
    VerifyError,
    disk::LogFile,
    head::{self, Head, HeadError},
    limits::MAX_TRUSTED_NOTE_BYTES,
    note::{NoteError, PublicKey, Signed},
    state::State,
    walk::{Step, Walk},
    writer::log_path,
};

/// A reader may see half of a head that is being rewritten; another look shows the whole.
const HEAD_LOOKS: u32 = 5;
const HEAD_LOOK_PAUSE: Duration = Duration::from_millis(1);

/// What was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many records the log has.
    pub size: u64,
    /// The root of the Merkle tree over them.
    pub root: Digest,
    /// How many records were read, which is all of them.
    pub records: u64,
    /// How many batches they were written in, each with one fdatasync.
    pub batches: u64,
    /// How many bytes they take.
    pub bytes: u64,
    /// How many allowed decisions have no outcome.
    pub open_decisions: u64,
    /// The newest signed checkpoint; empty for an empty log. Keep it elsewhere to find a later
    /// rollback.
    pub checkpoint: String,
    /// Bytes after the last batch that a crash left, or that are being written right now. Nobody
    /// was told that they are recorded.
    pub unfinished_bytes: u64,
}

/// Reads the whole log in `dir`, in memory that does not grow with it, and checks that every record
/// is what the holder of `key` signed, in its place, and that none is missing.
///
/// `trusted` is a signed checkpoint that was kept elsewhere, such as a receipt's: without one, a
/// log and a head that were *both* put back to an older state look like the log at that time.
///
/// # Errors
/// The first fault, with its place.
pub fn verify(dir: &Path, key: &PublicKey, trusted: Option<&str>) -> Result<Verified, VerifyError> {
    let trusted = trusted.map(|note| open_trusted(note, key)).transpose()?;
    // Read before the log's length is: the log only grows.
    let head = read_head(&head::path(dir), key);
    let path = log_path(dir);
    let opened = File::open(&path).and_then(|file| Ok((LogFile::len(&file)?, file)));
    let (len, file) = opened.map_err(|source| VerifyError::Open { path, source })?;
    verify_log(
        &(Arc::new(file) as Arc<dyn LogFile>),
        len,
        key,
        head,
        trusted.as_ref(),
    )
}

fn verify_log(
    log: &Arc<dyn LogFile>,
    len: u64,
    key: &PublicKey,
    head: Result<Head, VerifyError>,
    trusted: Option<&Signed>,
) -> Result<Verified, VerifyError> {
    // Without a head nothing can be taken for an append that nobody was told of.
    let settled = head.as_ref().map_or(u64::MAX, |head| head.end);
    let mut checks = Checks {
        head: head.as_ref().ok(),
        trusted,
    };
    let mut walk = Walk::new(log, len, key, State::default())?;
    let mut batches = 0;
    let end = loop {
        checks.at(walk.state())?;
        match walk.step(settled) {
            Ok(Step::Batch) => batches += 1,
            Ok(end) => break end,
            Err(VerifyError::BatchCut { .. }) if checks.head.is_some_and(|head| head.end > len) => {
                break Step::End;
            }
            Err(fault) => return Err(fault),
        }
    };
    let state = walk.state();
    checks.at_end(state)?;
    head?;
    let root = state.frontier.root().map_err(VerifyError::Tree)?;
    Ok(Verified {
        size: state.size(),
        root: Digest::from_bytes(root.0),
        records: state.size(),
        batches,
        bytes: state.end,
        open_decisions: state.open.decisions().count() as u64,
        checkpoint: state.note.clone(),
        unfinished_bytes: match end {
            Step::Unfinished => len - state.end,
            _ => 0,
        },
    })
}

/// What else the log has to agree with.
struct Checks<'a> {
    head: Option<&'a Head>,
    trusted: Option<&'a Signed>,
}

impl Checks<'_> {
    /// After each batch: the head and the trusted checkpoint, if they are of here.
    fn at(&mut self, state: &State) -> Result<(), VerifyError> {
        if let Some(head) = self.head.filter(|head| head.end <= state.end) {
            if head.end != state.end || (head.end > 0 && head.note != state.note) {
                return Err(VerifyError::HeadDisagrees { offset: head.end });
            }
            self.head = None;
        }
        if let Some(trusted) = self.trusted.filter(|trusted| trusted.size <= state.size()) {
            let root = state.frontier.root().map_err(VerifyError::Tree)?;
            if trusted.size != state.size() || trusted.root != root {
                return Err(VerifyError::Forked {
                    trusted: trusted.size,
                });
            }
            self.trusted = None;
        }
        Ok(())
    }

    /// After the last batch: nothing may be left to agree with.
    fn at_end(&self, state: &State) -> Result<(), VerifyError> {
        let size = state.size();
        match (self.head, self.trusted) {
            (Some(head), _) if head.size > size => Err(VerifyError::Truncated {
                first: size,
                last: head.size - 1,
                offset: state.end,
            }),
            (Some(head), _) => Err(VerifyError::HeadDisagrees { offset: head.end }),
            (None, Some(trusted)) => Err(VerifyError::RolledBack {
                size,
                trusted: trusted.size,
            }),
            (None, None) => Ok(()),
        }
    }
}

fn open_trusted(note: &str, key: &PublicKey) -> Result<Signed, VerifyError> {
    if note.len() > MAX_TRUSTED_NOTE_BYTES {
        return Err(VerifyError::Trusted(NoteError::Malformed));
    }
    key.open(note).map_err(VerifyError::Trusted)
}

fn read_head(path: &Path, key: &PublicKey) -> Result<Head, VerifyError> {
    let mut looks = 1;
    loop {
        let text = File::open(path).and_then(|file| head::read(&file));
        let fault = match text.map(|text| Head::parse(&text, key)) {
            Ok(Ok(head)) => return Ok(head),
            Ok(Err(HeadError::Note(fault))) => VerifyError::Head(fault),
            Ok(Err(HeadError::Unreadable)) => VerifyError::HeadMissing {
                path: path.to_owned(),
            },
            Err(source) if source.kind() == io::ErrorKind::NotFound => VerifyError::HeadMissing {
                path: path.to_owned(),
            },
            Err(source) => VerifyError::Open {
                path: path.to_owned(),
                source,
            },
        };
        if looks == HEAD_LOOKS {
            return Err(fault);
        }
        looks += 1;
        thread::sleep(HEAD_LOOK_PAUSE);
    }
}

#[cfg(test)]
mod tests;

//! Which files of containers clients brought, as long as somebody remembers: all others were made by programs.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use casemate_model::SessionId;

use crate::limits::MAX_OPENAI_UPLOADS;

/// The newest uploads, by where they are.
#[derive(Debug, Default)]
pub(crate) struct Uploads(Mutex<BTreeSet<(SessionId, Vec<u8>)>>);

impl Uploads {
    /// A client brought this file. Those of the oldest sessions are forgotten first: ids grow with time.
    pub(super) fn note(&self, session: SessionId, path: &[u8]) {
        let mut uploads = self.lock();
        uploads.insert((session, path.to_vec()));
        if uploads.len() > MAX_OPENAI_UPLOADS {
            uploads.pop_first();
        }
    }

    /// It is there no more.
    pub(super) fn forget(&self, session: SessionId, path: &[u8]) {
        self.lock().remove(&(session, path.to_vec()));
    }

    /// Who made a file, in the words of OpenAI.
    pub(super) fn source(&self, session: SessionId, path: &[u8]) -> &'static str {
        match self.lock().contains(&(session, path.to_vec())) {
            true => "user",
            false => "assistant",
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(SessionId, Vec<u8>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_when_there_are_too_many() {
        let uploads = Uploads::default();
        let session = |number: usize| format!("ses_{number:032x}").parse::<SessionId>().unwrap();
        for number in 0..=MAX_OPENAI_UPLOADS {
            uploads.note(session(number), b"a");
        }
        assert_eq!(uploads.source(session(0), b"a"), "assistant");
        assert_eq!(uploads.source(session(MAX_OPENAI_UPLOADS), b"a"), "user");
        assert_eq!(
            uploads.source(session(MAX_OPENAI_UPLOADS), b"b"),
            "assistant"
        );
        uploads.forget(session(1), b"a");
        assert_eq!(uploads.lock().len(), MAX_OPENAI_UPLOADS - 1);
    }
}

//! Reports of sources that were looked at before: the same source is not read twice.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use casemate_model::{Digest, Hasher};

use crate::{Language, Report};

/// The most reports that are kept; of those the one that was used last the longest ago makes room.
const MAX_SEEN: usize = 256;

/// Of which tenant, language and source: nobody learns from the time that it takes what others run.
type Key = Digest;

/// Reports that were made before.
#[derive(Debug, Default)]
pub struct Seen(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    reports: HashMap<Key, (u64, Report)>,
    uses: u64,
}

impl Seen {
    /// The report on this source; made by `read` if it is not there.
    pub fn report(
        &self,
        tenant: &str,
        language: Language,
        source: &[u8],
        read: impl FnOnce(Language, &[u8]) -> Report,
    ) -> Report {
        let key = key(tenant, language, source);
        if let Some(report) = self.known(key) {
            return report;
        }
        // Not under the lock: others' sources are not waited for.
        let report = read(language, source);
        self.keep(key, report.clone());
        report
    }

    fn known(&self, key: Key) -> Option<Report> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let uses = kept.uses;
        let (used, report) = kept.reports.get_mut(&key)?;
        *used = uses;
        Some(report.clone())
    }

    fn keep(&self, key: Key, report: Report) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.reports.len() >= MAX_SEEN && !kept.reports.contains_key(&key) {
            let oldest = kept.reports.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                kept.reports.remove(&oldest);
            }
        }
        let uses = kept.uses;
        kept.reports.insert(key, (uses, report));
    }
}

fn key(tenant: &str, language: Language, source: &[u8]) -> Key {
    let mut hasher = Hasher::default();
    for part in [tenant.as_bytes(), language.as_str().as_bytes(), source] {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// R209: the same source is read once; another one, and that of another tenant, is read.
    #[test]
    fn the_same_source_is_read_once() {
        let (seen, read) = (Seen::default(), Cell::new(0));
        let look = |tenant: &str, source: &str| {
            seen.report(
                tenant,
                Language::Python,
                source.as_bytes(),
                |language, source| {
                    read.set(read.get() + 1);
                    crate::scan(language, source)
                },
            )
        };
        let first = look("a", "import socket");
        assert_eq!(look("a", "import socket"), first);
        assert_eq!(read.get(), 1);
        assert_ne!(look("a", "import os"), first);
        look("b", "import socket");
        assert_eq!(read.get(), 3);
        // The one that is used stays, whatever comes.
        for number in 0..2 * MAX_SEEN {
            look("a", &number.to_string());
            look("a", "import socket");
        }
        assert_eq!(read.get(), 3 + 2 * MAX_SEEN);
        assert_eq!(seen.0.lock().unwrap().reports.len(), MAX_SEEN);
    }
}

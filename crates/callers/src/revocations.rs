//! Which envelopes no longer count.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    KeptError, Refusal,
    caller::check_names,
    kept::{BadLine, Kept},
    limits::{MAX_ENVELOPE_TTL_MS, MAX_REVOCATION_FILE_BYTES, MAX_REVOCATIONS},
    lines,
};

/// A file of the names of what was revoked, looked at for each use.
#[derive(Debug)]
pub(crate) struct Revocations(Kept<BTreeMap<String, Entry>>);

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    at_ms: u64,
}

impl Revocations {
    pub(crate) fn open(path: &Path) -> Result<Self, KeptError> {
        Kept::open(path, MAX_REVOCATION_FILE_BYTES, parse).map(Self)
    }

    /// Revokes `id`. What is forgotten here is older than any envelope that could still be alive.
    pub(crate) fn revoke(&self, id: &str, now_ms: u64) -> Result<(), Refusal> {
        let id = id.to_owned();
        check_names("id", [&id])?;
        self.0.update(|entries| {
            let mut entries = entries.clone();
            // Twice as long: the clock may have been set back meanwhile.
            entries.retain(|_, entry| entry.at_ms.saturating_add(2 * MAX_ENVELOPE_TTL_MS) > now_ms);
            if entries.len() >= MAX_REVOCATIONS {
                let (path, max) = (self.0.path().to_owned(), MAX_REVOCATIONS);
                return Err(KeptError::Full { path, max }.into());
            }
            let at_ms = now_ms;
            entries.insert(id.clone(), Entry { id, at_ms });
            Ok((lines::render(entries.values())?, ()))
        })
    }

    /// Refuses if one of `ids` was revoked, or if it cannot be told.
    pub(crate) fn check<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> Result<(), Refusal> {
        let revoked = self.0.get()?;
        match ids.into_iter().any(|id| revoked.contains_key(id)) {
            true => Err(Refusal::Revoked),
            false => Ok(()),
        }
    }
}

fn parse(content: &[u8]) -> Result<BTreeMap<String, Entry>, BadLine> {
    let entries: Vec<Entry> = lines::parse(content, MAX_REVOCATIONS)?;
    Ok(entries
        .into_iter()
        .map(|entry| (entry.id.clone(), entry))
        .collect())
}

//! Which envelopes no longer count.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    KeptError, Refusal,
    caller::check_names,
    kept::{BadLine, Kept},
    limits::{
        MAX_ENVELOPE_TTL_MS, MAX_REVOCATION_FILE_BYTES, MAX_REVOCATIONS, MAX_TENANT_REVOCATIONS,
    },
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
    /// The tenant whose envelope it is, if it was revoked by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
}

impl Revocations {
    pub(crate) fn open(path: &Path) -> Result<Self, KeptError> {
        Kept::open(path, MAX_REVOCATION_FILE_BYTES, parse).map(Self)
    }

    /// Revokes `id`, of a tenant if there may be only so many of it. What is forgotten here is older than any envelope that
    /// could still be alive.
    pub(crate) fn revoke(
        &self,
        id: &str,
        tenant: Option<&str>,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let id = id.to_owned();
        check_names("id", [&id])?;
        self.0.update(|entries| {
            let mut entries = entries.clone();
            // Twice as long: the clock may have been set back meanwhile.
            entries.retain(|_, entry| entry.at_ms.saturating_add(2 * MAX_ENVELOPE_TTL_MS) > now_ms);
            // What was revoked takes no more room.
            let before = entries.remove(&id);
            if before.is_none() && entries.len() >= MAX_REVOCATIONS {
                let (path, max) = (self.0.path().to_owned(), MAX_REVOCATIONS);
                return Err(KeptError::Full { path, max }.into());
            }
            let of_tenant = entries.values().filter(|entry| entry.tenant.is_some());
            let of_tenant = of_tenant.filter(|entry| entry.tenant.as_deref() == tenant);
            if before.is_none() && of_tenant.count() >= MAX_TENANT_REVOCATIONS {
                let (what, max) = ("revoked envelopes", MAX_TENANT_REVOCATIONS);
                return Err(Refusal::Quota { what, max });
            }
            let (at_ms, tenant) = (now_ms, tenant.map(str::to_owned));
            entries.insert(id.clone(), Entry { id, at_ms, tenant });
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
